//! From what a function came to, to what it returns and what becomes of its IRP, with the faults in between.

#![allow(unsafe_code)] // An IRP that was given for an object that is gone.

use std::sync::{Mutex, mpsc};
use std::time::Duration;

use nt_abi::ke::DISPATCH_LEVEL;
use nt_abi::{IRP, NtStatus};

use super::client::Await;
use super::faults::Action;
use super::request::{Outcome, Owner, Request};
use super::socket::Hold;
use crate::io;
use crate::ke::{irql, processor};

/// The outcome of a function that has its result at once.
pub(super) fn answer(request: Request, result: Result<usize, NtStatus>) -> Outcome {
    match result {
        Ok(information) => Outcome::Done(request, NtStatus::SUCCESS, information),
        Err(status) => Outcome::Done(request, status, 0),
    }
}

/// Does a function's work as the plan has it; what the function returns.
pub(super) fn perform(plan: Option<Action>, mut request: Request, work: impl FnOnce(Request) -> Outcome) -> NtStatus {
    match plan {
        None => {}
        Some(Action::Fail(status)) => {
            request.complete(status, 0);
            return status;
        }
        Some(Action::FailLater(status)) => {
            request.late = Some(Duration::ZERO);
            return later(Outcome::Done(request, status, 0));
        }
        Some(Action::Never) => return later(park(request)),
        Some(Action::Late(delay)) => request.late = Some(request.late.unwrap_or_default() + delay),
        Some(Action::Pending) => return later(work(request)),
        Some(Action::BeforeReturn) => return elsewhere(work(request)),
        Some(Action::CompleteAndReturn(status)) => {
            let _ = now(work(request));
            return status;
        }
        Some(Action::Abandon(_)) => {}
    }
    let is_late = request.late.is_some();
    let outcome = work(request);
    if is_late { later(outcome) } else { now(outcome) }
}

/// Completes before the function returns the same status.
fn now(outcome: Outcome) -> NtStatus {
    match outcome {
        Outcome::Pending => NtStatus::PENDING,
        Outcome::Done(request, status, information) => {
            request.complete(status, information);
            status
        }
    }
}

/// Completes now or when it is due; the function returns STATUS_PENDING.
fn later(outcome: Outcome) -> NtStatus {
    if let Outcome::Done(request, status, information) = outcome {
        request.pend();
        request.complete(status, information);
    }
    NtStatus::PENDING
}

/// One at a time: each keeps a processor while it waits for a thread that needs another one.
static ELSEWHERE: Mutex<()> = Mutex::new(());

/// Another thread completes while this one waits; the function returns STATUS_PENDING. Where no processor is left for the
/// other thread, the request completes as in [`later`].
fn elsewhere(outcome: Outcome) -> NtStatus {
    let turn = ELSEWHERE.try_lock();
    if turn.is_err() || (processor::count() == 1 && irql::current() == DISPATCH_LEVEL) {
        return later(outcome);
    }
    if let Outcome::Done(request, status, information) = outcome {
        request.pend();
        let (done, wait) = mpsc::channel::<()>();
        let body = move || {
            processor::adopt(crate::rng::below(64) as u32);
            request.complete(status, information);
            drop(done);
        };
        if std::thread::Builder::new().name(String::from("completer")).spawn(body).is_ok() {
            let _ = wait.recv();
        }
    }
    NtStatus::PENDING
}

/// Keeps a request until it is cancelled or its socket closed.
fn park(request: Request) -> Outcome {
    let at = match &request.owner {
        Owner::Client(client) => {
            let client = client.arc();
            return client.park(request, Await::Cancel);
        }
        Owner::Socket(socket) => socket.hold(),
    };
    match at {
        Some(socket) => park_at(&socket, request),
        None => Outcome::Done(request, NtStatus::CANCELLED, 0),
    }
}

fn park_at(socket: &Hold, request: Request) -> Outcome {
    let mut inner = socket.lock();
    inner.parked.push(request);
    let waits = inner.parked.last().is_some_and(Request::await_cancel);
    match inner.parked.pop_if(|_| !waits) {
        None => Outcome::Pending,
        Some(request) => {
            request.unpend();
            Outcome::Done(request, NtStatus::CANCELLED, 0)
        }
    }
}

/// Gives an IRP back whose object is gone, which has been reported.
pub(super) fn refuse(irp: *mut IRP) -> NtStatus {
    // SAFETY: what a driver gave; it is completed once, here.
    unsafe {
        if !irp.is_null() && io::irp::accept(irp) {
            io::irp::complete(irp, NtStatus::FILE_CLOSED, 0);
        }
    }
    NtStatus::FILE_CLOSED
}
