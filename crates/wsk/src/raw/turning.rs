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
use core::ptr::NonNull;

use allocator_api2::alloc::Allocator;
use wsk_lifecycle::turns::{Asked, TurnState, Wish};
use wsk_sys::{WSK_BUF, WSK_FLAG_NODELAY};

mod run;

use run::{claim_parked, free_parked, run, run_on_thread};

use super::binding::Shell;
use super::calls::Call;
use super::calls::transfers::Transfers;
use super::parked::Parked;
use super::socket::Socket;
use super::{Buffer, Irp, NtStatus};
use crate::Detached;
use crate::sync::{DpcCell, Node, OutOfMemory, Pool, Shared, tag};

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
