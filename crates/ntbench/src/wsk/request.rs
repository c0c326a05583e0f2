//! [`Request`]: an IRP that a client gave to a function of ours, until it is completed.
//!
//! # Invariants
//! - A `Request` is the only right to complete its IRP; whoever has it may complete it once, and then it is gone.
//! - It holds its owner (a socket or a client), so that the owner outlives it.
//! - While it waits in a list of its socket with a cancel routine set, the cancel routine may take it from there;
//!   [`Request::claim`] decides between the two. Lists are changed under the socket's lock only.
//! - No request is completed or dropped under a socket's lock, for both can end in the driver.

#![allow(unsafe_code)] // It works on IRPs, which are shared with drivers by pointer.

use std::collections::VecDeque;
use std::time::Duration;

use nt_abi::{DEVICE_OBJECT, IRP, NtStatus, SL_PENDING_RETURNED};

use super::client::ClientHold;
use super::faults::{Function, Moment};
use super::socket::Hold;
use crate::io;
use crate::ke::irql;

/// What keeps a request's owner.
pub(super) enum Owner {
    Client(ClientHold),
    Socket(Hold),
}

impl Owner {
    fn arc_shared(&self) -> std::sync::Arc<super::Shared> {
        match self {
            Owner::Client(client) => std::sync::Arc::clone(&client.shared),
            Owner::Socket(socket) => std::sync::Arc::clone(&socket.shared),
        }
    }

    fn shared(&self) -> &super::Shared {
        match self {
            Owner::Client(client) => &client.shared,
            Owner::Socket(socket) => &socket.shared,
        }
    }

    /// For the cancel routine: an address, odd for a client.
    fn mark(&self) -> usize {
        match self {
            Owner::Client(client) => client.address() | 1,
            Owner::Socket(socket) => socket.address(),
        }
    }
}

/// See the module.
#[must_use = "an IRP that is not completed is lost to its driver"]
pub(super) struct Request {
    irp: *mut IRP,
    pub(super) owner: Owner,
    pub(super) function: Function,
    /// Set by a fault: the completion waits for so long, and comes from another thread.
    pub(super) late: Option<Duration>,
}

// SAFETY: the IRP may be completed from any thread, and only by whoever has the request.
unsafe impl Send for Request {}

/// How a function of ours went on: done, to be completed before it returns, or pending.
pub(super) enum Outcome {
    Done(Request, NtStatus, usize),
    Pending,
}

impl Request {
    /// Takes the IRP over. None if it is in no state to be taken, which has then been reported.
    ///
    /// # Safety
    /// `irp` is null or points to an IRP.
    pub(super) unsafe fn take(irp: *mut IRP, owner: Owner, function: Function) -> Option<Self> {
        if irp.is_null() {
            crate::verifier::violation("WSK-IRP", format!("{} was called without an IRP", function.name()));
            return None;
        }
        // SAFETY: as the caller promises.
        if !unsafe { io::irp::accept(irp) } {
            return None;
        }
        if let Owner::Client(client) = &owner {
            client.gives();
        }
        Some(Self { irp, owner, function, late: None })
    }

    /// Makes it a request of a socket's that was a client's.
    pub(super) fn belong_to(&mut self, socket: Hold) {
        if let Owner::Client(client) = std::mem::replace(&mut self.owner, Owner::Socket(socket)) {
            client.has_back();
        }
    }

    /// Marks the IRP pending. From here on the function returns STATUS_PENDING.
    pub(super) fn pend(&self) {
        // SAFETY: we have the IRP, so its current stack location is ours.
        unsafe { (*(*self.irp).CurrentStackLocation).Control |= SL_PENDING_RETURNED };
    }

    /// Takes the mark back, for a request that ends before its function returns after all.
    pub(super) fn unpend(&self) {
        // SAFETY: as in `pend`.
        unsafe { (*(*self.irp).CurrentStackLocation).Control &= !SL_PENDING_RETURNED };
    }

    /// The IRP, to be told from others.
    pub(super) fn irp(&self) -> *mut IRP {
        self.irp
    }

    /// Makes the request cancellable while it waits in a list. False: it is cancelled already and must be completed.
    pub(super) fn await_cancel(&self) -> bool {
        self.pend();
        // SAFETY: we have the IRP; DriverContext is for whoever has it.
        unsafe { (*self.irp).DriverContext[0] = self.owner.mark() as *mut _ };
        // SAFETY: we have the IRP.
        unsafe { io::irp::set_cancel_routine(self.irp, Some(cancel)) };
        // SAFETY: the owner of an IRP keeps it until it is completed, which a cancel routine cannot have done yet: its
        // request is not in a list that is unlocked.
        !(unsafe { io::irp::is_cancelled(self.irp) } && self.claim())
    }

    /// Takes the right to complete back from the cancel routine. False: it runs, or will, and completes the IRP.
    pub(super) fn claim(&self) -> bool {
        Self::claim_irp(self.irp)
    }

    /// The same, for the IRP of a request that waits.
    pub(super) fn claim_irp(irp: *mut IRP) -> bool {
        // SAFETY: the request waits in a list that is locked, so its IRP is with us.
        unsafe { io::irp::set_cancel_routine(irp, None) }.is_some()
    }

    /// Gives the IRP back to its driver. Called with no lock held.
    pub(super) fn complete(mut self, status: NtStatus, information: usize) {
        if let Some(delay) = self.late.take() {
            let transport = std::sync::Arc::clone(&self.owner.shared().transport);
            transport.later(delay, Box::new(move || self.complete(status, information)));
            return;
        }
        let Request { irp, owner, function, .. } = self;
        let shared = owner.arc_shared();
        shared.faults.step(function, Moment::Complete);
        if crate::trace::io() {
            super::trace_io(function.name(), irp as usize, format!("completes: {status}, {information}"));
        }
        if let Owner::Client(client) = &owner {
            client.has_back();
        }
        // Often what a close held goes before the way out of its completion routine (L31).
        let owner = Some(owner).filter(|_| function != Function::Close || crate::rng::chance(0.5));
        // SAFETY: we have the IRP, and give it up here.
        irql::at_random(|| unsafe { io::irp::complete(irp, status, information) });
        drop(owner);
        shared.faults.step(function, Moment::Completed);
    }
}

/// Lets the entry that was just put at the end of a list wait there; it comes back if it is cancelled already.
pub(super) fn wait_in<T>(list: &mut VecDeque<T>, request: impl Fn(&T) -> &Request) -> Option<T> {
    if list.back().is_some_and(|one| request(one).await_cancel()) {
        return None;
    }
    let one = list.pop_back()?;
    request(&one).unpend();
    Some(one)
}

/// The cancel routine of every request that waits.
///
/// # Safety
/// Called by IoCancelIrp for an IRP that `await_cancel` prepared, with the cancel spin lock held.
unsafe extern "win64" fn cancel(_device: *mut DEVICE_OBJECT, irp: *mut IRP) {
    // SAFETY: the IRP stays ours until we complete it.
    let (irql, mark) = unsafe { ((*irp).CancelIrql, (*irp).DriverContext[0] as usize) };
    io::cancel::release(irql);
    let request = if mark & 1 == 1 {
        // SAFETY: the request that waits holds its client.
        unsafe { super::client::Client::unpark(mark & !1, irp) }
    } else {
        // SAFETY: the request that waits holds its socket.
        unsafe { super::socket::Socket::unpark(mark, irp) }
    };
    if let Some((request, (status, information))) = request {
        request.complete(status, information);
    }
}
