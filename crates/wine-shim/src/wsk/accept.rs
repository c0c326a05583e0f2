//! Accepting: one accept is with Wine at a time, for as long as somebody waits for a connection.

#![allow(unsafe_code)] // Functions that the driver calls, and Wine's.

use core::ffi::c_void;
use core::ptr::{null, null_mut};

use nt_abi::wsk::{SOCKADDR, WSK_BUF, WSK_CLIENT_CONNECTION_DISPATCH, WSK_SOCKET};
use nt_abi::{IRP, NtStatus};

use super::block::Block;
use super::inner::{Inner, call};
use super::irp::Taken;
use super::queue::Wish;
use super::socket::{ACCEPT, Socket, Spare};
use super::tables::{Kind, function};

pub(super) unsafe extern "win64" fn accept(
    socket: *mut WSK_SOCKET,
    _flags: u32,
    _context: *mut c_void,
    _dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    irp: *mut IRP,
) -> NtStatus {
    // SAFETY: a socket of the driver's.
    let socket = unsafe { Socket::of(socket) };
    // SAFETY: the driver's IRP.
    let taken = unsafe { socket.take(irp) };
    // The two addresses, where a request for data has its buffer.
    let wanted = WSK_BUF { Mdl: local.cast(), Offset: 0, Length: remote as usize };
    let reference = socket.refer();
    if socket.queue(taken, ACCEPT, wanted) {
        serve(socket);
    }
    // SAFETY: just taken: the IRP may have been the last that kept the socket.
    unsafe { Socket::release(reference) };
    NtStatus::PENDING
}

/// What is to be done next for those who wait.
enum Next {
    Give(Taken, Spare),
    Ask,
    Nothing,
}

fn next(listener: &Socket) -> Next {
    let mut state = listener.state();
    if state.queues[ACCEPT].is_empty() || state.closing {
        return Next::Nothing;
    }
    if state.spare.is_none() {
        let ask = !state.accepting;
        state.accepting = true;
        return if ask { Next::Ask } else { Next::Nothing };
    }
    match (state.queues[ACCEPT].pop(), state.spare.take()) {
        (Some(irp), Some(spare)) => Next::Give(irp, spare),
        (_, spare) => {
            state.spare = spare;
            Next::Nothing
        }
    }
}

fn serve(listener: &Socket) {
    loop {
        match next(listener) {
            Next::Give(irp, spare) => give(listener, irp, spare),
            Next::Ask => return ask(listener),
            Next::Nothing => return,
        }
    }
}

fn give(listener: &Socket, irp: Taken, Spare(mut call, accepted): Spare) {
    let WSK_BUF { Mdl: local, Length: remote, .. } = Wish::of(irp).buffer;
    // SAFETY: what the driver gave for them.
    unsafe { call.local.give(local.cast()) };
    // SAFETY: as above.
    unsafe { call.remote.give(remote as *mut SOCKADDR) };
    drop(call);
    listener.answer(irp, NtStatus::SUCCESS, accepted.addr());
}

fn ask(listener: &Socket) {
    let (socket, made) = (Socket::new(listener.binding, Kind::Connection), Inner::new("WskAccept", finish));
    let (Some(socket), Some(mut made)) = (socket, made) else { return fail(listener, NtStatus::INSUFFICIENT_RESOURCES) };
    made.socket = listener.refer();
    made.result = socket.into_raw().cast();
    let (wine, is_stream) = (listener.wine(), listener.kind == Kind::Stream);
    call(made, |call, irp| {
        let (local, remote) = (call.local.as_ptr(), call.remote.as_ptr());
        let function = match is_stream {
            true => function!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskAccept),
            false => function!(wine, WSK_PROVIDER_LISTEN_DISPATCH, WskAccept),
        };
        match function {
            // SAFETY: Wine's socket; the addresses are the call's, which stays until it is over.
            Some(accept) => unsafe { accept(wine, 0, null_mut(), null(), local, remote, irp) },
            None => NtStatus::NOT_IMPLEMENTED,
        }
    });
}

fn finish(call: Block<Inner>, status: NtStatus, information: usize) {
    let listener = call.socket;
    // SAFETY: let go by `ask`.
    let socket = unsafe { Block::from_raw(call.result.cast::<Socket>()) };
    // SAFETY: the call's reference.
    let it = unsafe { &*listener };
    if status.is_failure() || information == 0 {
        super::tell(call.name(), status);
        drop((call, socket));
        fail(it, if status.is_failure() { status } else { NtStatus::UNSUCCESSFUL });
    } else {
        // SAFETY: the listener is open, so its binding is there.
        let accepted = unsafe { Socket::open(socket, information as *mut _) };
        accepted_one(it, Spare(call, accepted));
    }
    // SAFETY: as above.
    unsafe { Socket::release(listener) };
}

fn accepted_one(listener: &Socket, spare: Spare) {
    let unwanted = {
        let mut state = listener.state();
        state.accepting = false;
        if state.closing {
            Some(spare)
        } else {
            state.spare = Some(spare);
            None
        }
    };
    match unwanted {
        // SAFETY: nobody has seen it.
        Some(Spare(_, accepted)) => unsafe { (*accepted).close(null_mut()) },
        None => serve(listener),
    }
}

/// Tells one of those who wait that it has failed. The next tries again.
fn fail(listener: &Socket, status: NtStatus) {
    let waiting = {
        let mut state = listener.state();
        state.accepting = false;
        state.queues[ACCEPT].pop()
    };
    if let Some(irp) = waiting {
        listener.answer(irp, status, 0);
        serve(listener);
    }
}
