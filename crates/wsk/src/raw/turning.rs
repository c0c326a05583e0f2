//! One buffer that goes round a connection: received into, looked at, sent or not, received into again, without a task.
//!
//! All that a turn needs lies together in one block: a DPC of its own, the state, what the IRP carries, the provider's functions,
//! the buffer and the owner's closure. The completion routine counts the return of the IRP and queues the DPC (L36); the DPC takes
//! the turns until the IRP is out again. The awaiting task is woken by the end alone. Who owns what when is said in
//! [`wsk_lifecycle::turns`].
//!
//! A run is *inside* the socket (L23), and while the IRP is out it is not: the close then brings the IRP back, as it does for every
//! other operation. The image is kept as the executor's tasks keep it: a turn is due only for an IRP that came back before its
//! socket's close did, and what is queued then is flushed with the executor's own DPCs (L31).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::alloc::Layout;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use wdk_sys::{DEVICE_OBJECT, IRP, KDPC, NTSTATUS};
use wsk_lifecycle::turns::{Asked, Came, MOST_TURNS, Mind, Runner, TurnState, Waited, Wish};
use wsk_sys::{WSK_BUF, WSK_FLAG_NODELAY};

use super::binding::Shell;
use super::calls::Call;
use super::calls::transfers::{Stay, Transfers};
use super::op::Owner;
use super::parked::Parked;
use super::socket::{ACTIVE, Socket};
use super::{Buffer, Irp, NtStatus};
use crate::Detached;
use crate::sync::{DpcCell, Lane, Node, OutOfMemory, Pool, Shared, prefetch, tag};

type TurningPool = Pool<{ tag(b"WskO") }>;

/// What has been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Went {
    /// Bytes have come: they are in the buffer.
    In,
    /// What was filled of the buffer has been sent.
    Out,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// Send what is filled of the buffer.
    Send,
    /// Receive.
    Receive,
    /// End.
    Stop,
}

/// Why there are no more turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Over {
    /// The peer will send no more.
    Finished,
    /// By [`Turn::Stop`].
    Stopped,
    /// The socket, or the binding, is at its end.
    Detached,
    /// A transfer has failed.
    Failed(NtStatus),
}

/// What came of the turns, with the buffer unless it is parked.
pub(crate) struct Outcome {
    pub(crate) over: Over,
    pub(crate) buffer: Option<Buffer>,
}

/// How many runs its DPC makes before it asks whether others have to run. A question for each would cost as much as a run.
const RUNS: u8 = 8;

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    Begin,
    Receiving,
    Sending,
}

/// Where it stands.
struct Stand {
    phase: Phase,
    /// Runs of the DPC since it asked whether others have to run.
    runs: u8,
}

/// What goes round, and who looks at it.
#[repr(C)]
struct Lap<F> {
    buffer: Buffer,
    turn: F,
}

/// # Invariants
/// The cells are the runner's, the asker's or the future's as the state says, and the completion routine touches none of them. The
/// DPC is initialised. `lap` is there until the outcome is, and longer if it is parked.
///
/// The order is that of use: the DPC's line is the kernel's, then come those of a turn, then what is seldom needed.
#[repr(C, align(64))]
struct Turning<F> {
    dpc: DpcCell,
    state: TurnState,
    stand: UnsafeCell<Stand>,
    /// WSK_FLAG_NODELAY, or nothing.
    no_delay: bool,
    socket: Shared<Socket>,
    shell: Shared<Shell>,
    irp: UnsafeCell<Irp>,
    description: UnsafeCell<WSK_BUF>,
    transfers: Transfers,
    lap: UnsafeCell<Option<Lap<F>>>,
    outcome: UnsafeCell<Option<Outcome>>,
    node: Node,
    parked: Parked,
}

/// What the turns are asked, and what came of them: the future's side. Dropping it ends them.
///
/// # Invariants
/// It points to live turns, and is one of their holders.
pub(crate) struct Turns<F: Looking>(NonNull<Turning<F>>);

/// The owner's closure.
pub(crate) trait Looking: FnMut(Went, &mut Buffer) -> Turn + Send + 'static {}

impl<F: FnMut(Went, &mut Buffer) -> Turn + Send + 'static> Looking for F {}

// SAFETY: what is in the cells is handed from thread to thread by the state, one at a time.
unsafe impl<F: Looking> Send for Turns<F> {}
// SAFETY: nothing can be done with a reference that is shared.
unsafe impl<F: Looking> Sync for Turns<F> {}

/// Why turns did not begin.
pub(crate) enum Refused {
    Detached,
    OutOfMemory,
}

impl From<OutOfMemory> for Refused {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl<F: Looking> Turns<F> {
    /// Begins, with a receive.
    ///
    /// # Errors
    /// [`Refused`]; the buffer comes back.
    pub(crate) fn begin(socket: &Shared<Socket>, buffer: Buffer, send_flags: u32, turn: F) -> Result<Self, (Refused, Buffer)> {
        let transfers = match Call::begin(socket) {
            Ok(call) => Transfers::of(&call),
            Err(Detached) => return Err((Refused::Detached, buffer)),
        };
        let place = TurningPool::default().allocate(Layout::new::<Turning<F>>());
        let (Ok(place), Ok(irp)) = (place, Irp::new()) else {
            if let Ok(place) = place {
                // SAFETY: just allocated, with this layout.
                unsafe { TurningPool::default().deallocate(place.cast(), Layout::new::<Turning<F>>()) };
            }
            return Err((Refused::OutOfMemory, buffer));
        };
        let turning = Turning {
            dpc: DpcCell::new(),
            state: TurnState::new(),
            stand: UnsafeCell::new(Stand { phase: Phase::Begin, runs: 0 }),
            no_delay: send_flags & WSK_FLAG_NODELAY != 0,
            socket: socket.clone(),
            shell: socket.shell().clone(),
            irp: UnsafeCell::new(irp),
            description: UnsafeCell::new(buffer.room()),
            transfers,
            lap: UnsafeCell::new(Some(Lap { buffer, turn })),
            outcome: UnsafeCell::new(None),
            node: Node::new(run_on_thread::<F>),
            parked: Parked::new(claim_parked::<F>, free_parked::<F>),
        };
        let place = place.cast::<Turning<F>>();
        // SAFETY: the allocation fits the type and is ours.
        unsafe { place.write(turning) };
        socket.take_off();
        // SAFETY: in its place, and new.
        unsafe { start(place) };
        // INVARIANT: just made, with the future for a holder.
        Ok(Self(place))
    }

    /// What came of them, once.
    pub(crate) fn outcome(&mut self) -> Option<Outcome> {
        let turning = self.turning();
        if !turning.state.is_told() {
            return None;
        }
        // SAFETY: told, so it is the future's.
        unsafe { (*turning.outcome.get()).take() }
    }

    /// If a receive is waited for, it is not any more. A look at turns that are being taken does nothing.
    pub(crate) fn nudge(&mut self) {
        self.ask(Wish::Look);
    }

    /// No receive is waited for any more.
    pub(crate) fn stop(&mut self) {
        self.ask(Wish::Stop);
    }

    fn ask(&mut self, wish: Wish) {
        let turning = self.turning();
        if turning.state.ask(wish) != Asked::Ours {
            return;
        }
        // SAFETY: the asker's until he settles.
        if wish == Wish::End || unsafe { &*turning.stand.get() }.phase == Phase::Receiving {
            // SAFETY: as above; the IRP stays meanwhile (L37).
            unsafe { &*turning.irp.get() }.cancel();
        }
        if turning.state.settle() {
            turning.queue();
        }
    }

    fn turning(&self) -> &Turning<F> {
        // SAFETY: live by the invariant.
        unsafe { self.0.as_ref() }
    }
}

impl<F: Looking> Drop for Turns<F> {
    fn drop(&mut self) {
        self.ask(Wish::End);
        // SAFETY: the future's hold ends here.
        unsafe { leave(self.0) };
    }
}

/// # Safety
/// New, and where it will stay.
unsafe fn start<F: Looking>(turning: NonNull<Turning<F>>) {
    // SAFETY: live, as the caller promises.
    let dpc = unsafe { &(*turning.as_ptr()).dpc };
    // SAFETY: in nonpaged pool, where it stays until nothing is due any more.
    unsafe { dpc.initialize(Some(run::<F>), turning.as_ptr().cast()) };
    // SAFETY: just initialised; the first turn is due.
    unsafe { dpc.queue() };
}

/// A holder goes; the last one frees it all.
///
/// # Safety
/// The caller is a holder, and does not use it afterwards.
unsafe fn leave<F: Looking>(turning: NonNull<Turning<F>>) {
    // SAFETY: live through that hold.
    if !unsafe { &(*turning.as_ptr()).state }.leave() {
        return;
    }
    // SAFETY: nobody else holds it.
    unsafe { turning.drop_in_place() };
    // SAFETY: allocated in `begin` from the same pool with the same layout.
    unsafe { TurningPool::default().deallocate(turning.cast(), Layout::new::<Turning<F>>()) };
}

/// The completion routine: counts, and has a turn taken (L36).
///
/// # Safety
/// `context` is the IRP's turns, which stay until it is through.
unsafe extern "C" fn came<F: Looking>(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NTSTATUS {
    let turning = context.cast::<Turning<F>>();
    // SAFETY: as the caller promises.
    match unsafe { &(*turning).state }.came() {
        Came::Left => {}
        // SAFETY: the turn that is due keeps it all.
        Came::Run => unsafe { &*turning }.queue(),
        // SAFETY: parked, and back.
        Came::Unpark => unsafe { unpark(turning) },
    }
    NtStatus::MORE_PROCESSING_REQUIRED.0
}

/// # Safety
/// The state has just said so to the completion routine.
#[cold]
unsafe fn unpark<F: Looking>(turning: *mut Turning<F>) {
    // SAFETY: the list holds it.
    let turning = unsafe { NonNull::new_unchecked(turning) };
    // SAFETY: as above.
    unsafe { &(*turning.as_ptr()).socket }.parked().remove(link(turning));
    // SAFETY: for the list, which it is not in any more.
    unsafe { leave(turning) };
}

/// # Safety
/// `context` is the turns that the DPC is part of.
///
/// # IRQL
/// `DISPATCH_LEVEL`.
unsafe extern "C" fn run<F: Looking>(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: as the caller promises.
    let turning = unsafe { NonNull::new_unchecked(context.cast::<Turning<F>>()) };
    // SAFETY: the turn that is due keeps it all.
    let this = unsafe { &*turning.as_ptr() };
    // SAFETY: the runner's.
    let runs = &mut unsafe { &mut *this.stand.get() }.runs;
    *runs = (*runs + 1) % RUNS;
    if *runs == 0 && !this.shell.executor.spend(RUNS.into()) {
        // SAFETY: the queued DPC was this run.
        return unsafe { pass_on(turning) };
    }
    // SAFETY: as above.
    unsafe { take_turns(turning) };
}

/// Others have to run: the turns go on on the passive thread.
///
/// # Safety
/// The caller is the run that is due.
#[cold]
unsafe fn pass_on<F: Looking>(turning: NonNull<Turning<F>>) {
    // SAFETY: inside the block, by a pointer that is good for all of it.
    let node = unsafe { NonNull::new_unchecked(&raw mut (*turning.as_ptr()).node) };
    // SAFETY: the turn that is due keeps it all.
    let executor = &unsafe { &(*turning.as_ptr()).shell }.executor;
    // SAFETY: in no queue, for there is one run at a time; it stays until it has run.
    unsafe { executor.push(Lane::Passive, node) };
}

/// # Safety
/// The node is part of turns of which a run is due.
unsafe fn run_on_thread<F: Looking>(node: NonNull<Node>) {
    // SAFETY: as the caller promises.
    unsafe { take_turns(node.byte_sub(offset_of!(Turning<F>, node)).cast::<Turning<F>>()) };
}

/// Takes turns until the IRP is out, or there are no more.
///
/// # Safety
/// The caller is the run that is due.
#[inline]
unsafe fn take_turns<F: Looking>(turning: NonNull<Turning<F>>) {
    // SAFETY: the turn that is due keeps it all, until the last step below, which touches it no more.
    let this = unsafe { &*turning.as_ptr() };
    let mut runner = this.state.begin();
    let mut turns = 0;
    let over = 'over: loop {
        let Ok(stay) = Stay::begin(&this.socket, &this.shell) else { break Over::Detached };
        this.socket.mark(ACTIVE);
        loop {
            turns += 1;
            // SAFETY: the runner's, with the IRP back.
            let status = match unsafe { this.turn(&stay) } {
                Ok(status) => status,
                Err(over) => break 'over over,
            };
            if !this.state.is_back(&mut runner) {
                if status.is_success() {
                    break;
                }
                // SAFETY: the runner's.
                if unsafe { park(turning, &mut runner, status) } {
                    return;
                }
            }
            if turns >= MOST_TURNS {
                drop(stay);
                // SAFETY: the runner's, with a turn due.
                return unsafe { hand_over(turning, runner) };
            }
        }
        drop(stay);
        match this.state.wait(&mut runner, this.mind()) {
            Waited::Waiting => return,
            Waited::Back => {}
            // SAFETY: the runner's.
            Waited::Asked => match unsafe { this.cancel(&mut runner) } {
                Waited::Waiting => return,
                _ => {}
            },
        }
    };
    // SAFETY: the runner's, with no IRP out.
    unsafe { end(turning, over) };
}

impl<F: Looking> Turning<F> {
    /// Queues the DPC, and has come what that will touch.
    #[inline]
    fn queue(&self) {
        self.socket.prefetch();
        self.shell.prefetch();
        prefetch(self.lap.get());
        // SAFETY: initialised by the invariant.
        unsafe { self.dpc.queue() };
    }

    /// What has come or gone is looked at, and the IRP is sent again; the status of that call.
    ///
    /// # Errors
    /// [`Over`]: the IRP is not out.
    ///
    /// # Safety
    /// The caller is the runner, and the IRP is back.
    #[inline]
    unsafe fn turn(&self, stay: &Stay<'_>) -> Result<NtStatus, Over> {
        // SAFETY: the runner's, as are the other cells.
        let Some(lap) = (unsafe { &mut *self.lap.get() }) else { return Err(Over::Detached) };
        // SAFETY: as above.
        let irp = unsafe { &mut *self.irp.get() };
        // SAFETY: as above.
        let phase = &mut unsafe { &mut *self.stand.get() }.phase;
        let next = if *phase == Phase::Begin {
            Turn::Receive
        } else {
            // SAFETY: it is back.
            let (status, information) = unsafe { irp.outcome() };
            status.ok().map_err(Over::Failed)?;
            if self.state.is_unwanted() {
                return Err(Over::Stopped);
            }
            let went = if *phase == Phase::Sending { Went::Out } else { Went::In };
            if went == Went::In {
                // SAFETY: the provider says that it has written so many bytes.
                unsafe { lap.buffer.received(information) };
                if information == 0 {
                    return Err(Over::Finished);
                }
            }
            (lap.turn)(went, &mut lap.buffer)
        };
        if next == Turn::Stop {
            return Err(Over::Stopped);
        }
        irp.reuse();
        let context: *const Self = self;
        // SAFETY: not in flight; the turns stay until its completion routine is through.
        unsafe { irp.arm(Some(came::<F>), context.cast_mut().cast()) };
        let (irp, described) = (irp.as_ptr(), self.description.get());
        if next == Turn::Receive {
            *phase = Phase::Receiving;
            // SAFETY: the runner's.
            unsafe { *described = lap.buffer.room() };
            // SAFETY: of this socket, armed; buffer and description stay with the turns.
            return Ok(unsafe { self.transfers.receive(stay, described, irp) });
        }
        *phase = Phase::Sending;
        // SAFETY: the runner's.
        unsafe { *described = lap.buffer.content() };
        let flags = if self.no_delay { WSK_FLAG_NODELAY } else { 0 };
        // SAFETY: as above.
        Ok(unsafe { self.transfers.send(stay, described, flags, irp) })
    }

    /// What the runner minds before he waits: sends are not given up by a stop.
    ///
    /// # Safety (of the phase's cell)
    /// Called by the runner alone.
    #[inline]
    fn mind(&self) -> Mind {
        // SAFETY: the runner's.
        if unsafe { &*self.stand.get() }.phase == Phase::Receiving { Mind::Stop } else { Mind::End }
    }

    /// Does what the future has asked for, and waits.
    ///
    /// # Safety
    /// The caller is the runner, and the IRP is out.
    #[cold]
    unsafe fn cancel(&self, runner: &mut Runner) -> Waited {
        // SAFETY: the runner's, whose turn the return of the IRP waits for (L37).
        unsafe { &*self.irp.get() }.cancel();
        self.state.wait(runner, Mind::Nothing)
    }
}

/// The turn that is due is another run's.
///
/// # Safety
/// The caller is the runner, and does not use it afterwards.
#[cold]
unsafe fn hand_over<F: Looking>(turning: NonNull<Turning<F>>, runner: Runner) {
    // SAFETY: the turn that is due keeps it all.
    let this = unsafe { &*turning.as_ptr() };
    this.state.hand_over(runner);
    this.queue();
}

/// Leaves what came of it to the future, and wakes that.
///
/// # Safety
/// The caller is the runner, with no IRP out, and does not use it afterwards.
#[cold]
unsafe fn end<F: Looking>(turning: NonNull<Turning<F>>, over: Over) {
    // SAFETY: the runs hold it.
    let this = unsafe { &*turning.as_ptr() };
    // SAFETY: the runner's. The closure goes here: what it has to say is said before the end is told.
    let buffer = unsafe { &mut *this.lap.get() }.take().map(|lap| lap.buffer);
    // SAFETY: the runner's until it is told.
    unsafe { tell(turning, Outcome { over, buffer }) };
}

/// A call has failed. `true` if its IRP is not back (L35): the future is told, and the rest is the list's.
///
/// # Safety
/// The caller is the runner, who does not use it afterwards if so.
#[cold]
unsafe fn park<F: Looking>(turning: NonNull<Turning<F>>, runner: &mut Runner, status: NtStatus) -> bool {
    // SAFETY: the runs hold it.
    let this = unsafe { &*turning.as_ptr() };
    let parked = this.socket.parked();
    // Listed before it can be parked: a completion that finds it parked finds it in the list.
    // SAFETY: in no list; it is removed here, by its completion, or claimed.
    unsafe { parked.add(link(turning)) };
    if !this.state.park(runner) {
        parked.remove(link(turning));
        return false;
    }
    // SAFETY: the runner's until it is told.
    unsafe { tell(turning, Outcome { over: Over::Failed(status), buffer: None }) };
    true
}

/// # Safety
/// As for [`end`].
unsafe fn tell<F: Looking>(turning: NonNull<Turning<F>>, outcome: Outcome) {
    // SAFETY: the runs hold it.
    let this = unsafe { &*turning.as_ptr() };
    // SAFETY: the runner's until it is told.
    unsafe { *this.outcome.get() = Some(outcome) };
    this.socket.leave_flight();
    this.state.tell();
    this.socket.reader.wake();
    // SAFETY: for the runs.
    unsafe { leave(turning) };
}

fn link<F: Looking>(turning: NonNull<Turning<F>>) -> NonNull<Parked> {
    // SAFETY: inside the block, by a pointer that is good for all of it.
    unsafe { NonNull::new_unchecked(&raw mut (*turning.as_ptr()).parked) }
}

/// # Safety
/// `parked` is part of live turns.
unsafe fn turning_of<F: Looking>(parked: NonNull<Parked>) -> NonNull<Turning<F>> {
    // SAFETY: as the caller promises.
    unsafe { parked.byte_sub(offset_of!(Turning<F>, parked)).cast() }
}

/// # Safety
/// `parked` is part of live turns.
unsafe fn claim_parked<F: Looking>(parked: NonNull<Parked>) -> bool {
    // SAFETY: as the caller promises.
    let turning = unsafe { turning_of::<F>(parked) };
    // SAFETY: as above.
    unsafe { &(*turning.as_ptr()).state }.reclaim()
}

/// # Safety
/// `parked` is part of turns that were claimed.
unsafe fn free_parked<F: Looking>(parked: NonNull<Parked>) {
    // SAFETY: claimed, so that its completion will not leave for the list.
    unsafe { leave(turning_of::<F>(parked)) };
}
