//! The turns themselves: what the completion routine, the DPC and, if others have to run, the passive thread do.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr::NonNull;

use wdk_sys::{DEVICE_OBJECT, IRP, KDPC, NTSTATUS};
use wsk_lifecycle::turns::{Came, MOST_TURNS, Mind, Runner, Waited};
use wsk_sys::WSK_FLAG_NODELAY;

use super::{Looking, Outcome, Over, Phase, RUNS, Turn, Turning, Went, leave};
use crate::raw::NtStatus;
use crate::raw::calls::transfers::Stay;
use crate::raw::op::Owner;
use crate::raw::parked::Parked;
use crate::raw::socket::ACTIVE;
use crate::sync::{Lane, Node, prefetch};

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
pub(super) unsafe extern "C" fn run<F: Looking>(_dpc: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
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
pub(super) unsafe fn run_on_thread<F: Looking>(node: NonNull<Node>) {
    // SAFETY: as the caller promises.
    unsafe { take_turns(node.byte_sub(offset_of!(Turning<F>, node)).cast::<Turning<F>>()) };
}

/// Takes turns until the IRP is out, or there are no more.
///
/// # Safety
/// The caller is the run that is due.
#[inline]
unsafe fn take_turns<F: Looking>(turning: NonNull<Turning<F>>) {
    // SAFETY: the turn that is due keeps it all, until the last step of each way out, which touches it no more.
    let this = unsafe { &*turning.as_ptr() };
    let mut runner = this.state.begin();
    let mut left = MOST_TURNS;
    loop {
        // SAFETY: the runner's.
        let waited = match unsafe { turns_inside(turning, &mut runner, &mut left) } {
            Inside::Out => this.state.wait(&mut runner, this.mind()),
            // SAFETY: the runner's, with no IRP out.
            Inside::Over(over) => return unsafe { end(turning, over) },
            // SAFETY: the runner's, with a turn due.
            Inside::Due => return unsafe { hand_over(turning, runner) },
            Inside::Parked(status) => {
                // SAFETY: the runner's until it is told; nothing is used afterwards.
                return unsafe { tell(turning, Outcome { over: Over::Failed(status), buffer: None }) };
            }
        };
        match waited {
            Waited::Waiting => return,
            Waited::Back => {}
            // SAFETY: the runner's.
            Waited::Asked => match unsafe { this.cancel(&mut runner) } {
                Waited::Waiting => return,
                _ => {}
            },
        }
    }
}

/// Where the turns inside the socket have led to.
enum Inside {
    /// The IRP is out.
    Out,
    /// A turn is due, and others have to run.
    Due,
    /// There are no more.
    Over(Over),
    /// A call has failed, and the rest is the list's.
    Parked(NtStatus),
}

/// Takes turns inside the socket (L23), as long as the IRP comes back within the call.
///
/// # Safety
/// The caller is the runner.
#[inline]
unsafe fn turns_inside<F: Looking>(turning: NonNull<Turning<F>>, runner: &mut Runner, left: &mut u32) -> Inside {
    // SAFETY: the runs hold it, beyond the end of the stay.
    let this = unsafe { &*turning.as_ptr() };
    let Ok(stay) = Stay::begin(&this.socket, &this.shell) else { return Inside::Over(Over::Detached) };
    this.socket.mark(ACTIVE);
    loop {
        let Some(fewer) = left.checked_sub(1) else { return Inside::Due };
        *left = fewer;
        // SAFETY: the runner's, with the IRP back.
        let status = match unsafe { this.turn(&stay) } {
            Ok(status) => status,
            Err(over) => return Inside::Over(over),
        };
        if this.state.is_back(runner) {
            continue;
        }
        if status.is_success() {
            return Inside::Out;
        }
        // SAFETY: the runner's, inside.
        if unsafe { park(turning, runner) } {
            return Inside::Parked(status);
        }
    }
}

impl<F: Looking> Turning<F> {
    /// Queues the DPC, and has come what that will touch.
    #[inline]
    pub(super) fn queue(&self) {
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
            match went {
                Went::In => self.socket.count_received(information),
                Went::Out => self.socket.count_sent(information),
            }
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

/// A call has failed. `true` if its IRP is not back (L35): from now on it is the list's, and the future is still to be told.
///
/// # Safety
/// The caller is the runner, and inside the socket, so that its close, which reclaims what is listed, is still to come.
#[cold]
unsafe fn park<F: Looking>(turning: NonNull<Turning<F>>, runner: &mut Runner) -> bool {
    // SAFETY: the runs hold it.
    let this = unsafe { &*turning.as_ptr() };
    let parked = this.socket.parked();
    // Listed before it can be parked: a completion that finds it parked finds it in the list.
    // SAFETY: in no list; it is removed here, by its completion, or claimed.
    unsafe { parked.add(link(turning)) };
    let is_parked = this.state.park(runner);
    if !is_parked {
        parked.remove(link(turning));
    }
    is_parked
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
pub(super) unsafe fn claim_parked<F: Looking>(parked: NonNull<Parked>) -> bool {
    // SAFETY: as the caller promises.
    let turning = unsafe { turning_of::<F>(parked) };
    // SAFETY: as above.
    unsafe { &(*turning.as_ptr()).state }.reclaim()
}

/// # Safety
/// `parked` is part of turns that were claimed.
pub(super) unsafe fn free_parked<F: Looking>(parked: NonNull<Parked>) {
    // SAFETY: claimed, so that its completion will not leave for the list.
    unsafe { leave(turning_of::<F>(parked)) };
}
