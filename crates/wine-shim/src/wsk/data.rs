//! Receiving and sending: one of each is with Wine at a time, through memory of ours.

#![allow(unsafe_code)] // Functions that the driver calls, and Wine's.

use nt_abi::wsk::{WSK_BUF, WSK_SOCKET};
use nt_abi::{IRP, NtStatus};

use super::block::Block;
use super::buffer::{copy_in, copy_out};
use super::inner::{Finish, Inner, call};
use super::irp::Taken;
use super::queue::Wish;
use super::socket::{Data, RECEIVE, SEND, SENDING, Socket, State};
use super::tables::{Kind, function};

/// As much as Wine is asked for at a time.
const MOST: usize = 64 << 10;

/// The driver's request, which waits its turn.
///
/// # Safety
/// Socket, buffer and IRP are the driver's.
unsafe fn submit(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, irp: *mut IRP, lane: usize, serve: fn(&Socket)) -> NtStatus {
    // SAFETY: the caller's promise.
    let socket = unsafe { Socket::of(socket) };
    // SAFETY: as above.
    let (taken, buffer) = unsafe { (socket.take(irp), *buffer) };
    let reference = socket.refer();
    if buffer.Length == 0 {
        socket.answer(taken, NtStatus::SUCCESS, 0);
    } else if socket.queue(taken, lane, buffer) {
        serve(socket);
    }
    // SAFETY: just taken: the IRP may have been the last that kept the socket.
    unsafe { Socket::release(reference) };
    NtStatus::PENDING
}

pub(super) unsafe extern "win64" fn receive(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, _flags: u32, irp: *mut IRP) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { submit(socket, buffer, irp, RECEIVE, serve_receive) }
}

pub(super) unsafe extern "win64" fn send(socket: *mut WSK_SOCKET, buffer: *mut WSK_BUF, _flags: u32, irp: *mut IRP) -> NtStatus {
    // SAFETY: the driver's arguments.
    unsafe { submit(socket, buffer, irp, SEND, serve_send) }
}

/// A call with memory for that many bytes.
fn prepare(socket: &Socket, name: &'static str, length: usize, finish: Finish) -> Option<Block<Inner>> {
    let mut made = Inner::new(name, finish)?;
    if !made.with_bytes(length) {
        return None;
    }
    made.socket = socket.refer();
    Some(made)
}

/// What is to be done next for those who wait.
enum Next {
    Answer(Taken, NtStatus, usize),
    Ask(usize),
    Nothing,
}

/// Gives the first who waits what has come, or what it has come to.
fn next_receive(state: &mut State) -> Next {
    if state.queues[RECEIVE].is_empty() || state.closing {
        return Next::Nothing;
    }
    if state.data.is_none() && state.ended.is_none() {
        let ask = !state.receiving;
        state.receiving = true;
        return if ask { Next::Ask(MOST) } else { Next::Nothing };
    }
    let Some(irp) = state.queues[RECEIVE].pop() else { return Next::Nothing };
    match &mut state.data {
        Some(data) => {
            let taken = data.give(irp);
            if data.from == data.to {
                state.data = None;
            }
            Next::Answer(irp, NtStatus::SUCCESS, taken)
        }
        None => Next::Answer(irp, state.ended.unwrap_or(NtStatus::UNSUCCESSFUL), 0),
    }
}

impl Data {
    /// Copies as much as there is room for.
    fn give(&mut self, irp: Taken) -> usize {
        let buffer = Wish::of(irp).buffer;
        let length = (self.to - self.from).min(buffer.Length);
        let to = self.to;
        let bytes = &self.call.bytes(to)[self.from..self.from + length];
        // SAFETY: the IRP has not been completed, so the driver still lends its buffer.
        unsafe { copy_in(bytes, &buffer) };
        self.from += length;
        length
    }
}

fn serve_receive(socket: &Socket) {
    loop {
        let next = next_receive(&mut socket.state());
        match next {
            Next::Answer(irp, status, taken) => socket.answer(irp, status, taken),
            Next::Ask(most) => return ask_receive(socket, most),
            Next::Nothing => return,
        }
    }
}

fn ask_receive(socket: &Socket, most: usize) {
    let Some(made) = prepare(socket, "WskReceive", most, finish_receive) else {
        let waiting = {
            let mut state = socket.state();
            state.receiving = false;
            state.queues[RECEIVE].pop()
        };
        return waiting.into_iter().for_each(|irp| socket.answer(irp, NtStatus::INSUFFICIENT_RESOURCES, 0));
    };
    let (wine, is_stream) = (socket.wine(), socket.kind == Kind::Stream);
    call(made, |call, irp| {
        let function = match is_stream {
            true => function!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskReceive),
            false => function!(wine, WSK_PROVIDER_CONNECTION_DISPATCH, WskReceive),
        };
        match function {
            // SAFETY: Wine's socket; the buffer is the call's, which stays until it is over.
            Some(receive) => unsafe { receive(wine, &mut call.buffer, 0, irp) },
            None => NtStatus::NOT_IMPLEMENTED,
        }
    });
}

fn finish_receive(call: Block<Inner>, status: NtStatus, information: usize) {
    let socket = call.socket;
    // SAFETY: the call's reference.
    let it = unsafe { &*socket };
    {
        let mut state = it.state();
        state.receiving = false;
        if status.is_failure() || information == 0 {
            state.ended = Some(status);
        } else {
            let to = information.min(call.buffer.Length);
            state.data = Some(Data { call, from: 0, to });
        }
    }
    serve_receive(it);
    // SAFETY: as above.
    unsafe { Socket::release(socket) };
}

/// The send whose turn it is, which is with Wine from here on.
fn next_send(socket: &Socket) -> Option<(Block<Inner>, usize)> {
    loop {
        let irp = {
            let mut state = socket.state();
            if state.sending || state.closing {
                return None;
            }
            let irp = state.queues[SEND].pop()?;
            state.sending = true;
            irp
        };
        let wish = Wish::of(irp);
        let length = wish.buffer.Length;
        let Some(mut made) = prepare(socket, "WskSend", length, finish_send) else {
            socket.state().sending = false;
            socket.answer(irp, NtStatus::INSUFFICIENT_RESOURCES, 0);
            continue;
        };
        // SAFETY: the IRP has not been completed, so the driver still lends its buffer.
        unsafe { copy_out(&wish.buffer, made.bytes(length)) };
        if socket.queue(irp, SENDING, wish.buffer) {
            return Some((made, length));
        }
        socket.state().sending = false;
        // SAFETY: what `prepare` took.
        unsafe { Socket::release(made.socket) };
    }
}

fn serve_send(socket: &Socket) {
    while let Some((made, _)) = next_send(socket) {
        send_on(socket, made);
    }
}

/// Sends what is left of a call's bytes.
fn send_on(socket: &Socket, made: Block<Inner>) {
    let (wine, is_stream) = (socket.wine(), socket.kind == Kind::Stream);
    call(made, |call, irp| {
        let function = match is_stream {
            true => function!(wine, WSK_PROVIDER_STREAM_DISPATCH, WskSend),
            false => function!(wine, WSK_PROVIDER_CONNECTION_DISPATCH, WskSend),
        };
        match function {
            // SAFETY: Wine's socket; the buffer is the call's, which stays until it is over.
            Some(send) => unsafe { send(wine, &mut call.buffer, 0, irp) },
            None => NtStatus::NOT_IMPLEMENTED,
        }
    });
}

fn finish_send(call: Block<Inner>, status: NtStatus, information: usize) {
    let socket = call.socket;
    drop(call);
    // SAFETY: the call's reference.
    let it = unsafe { &*socket };
    let waiting = {
        let mut state = it.state();
        state.sending = false;
        state.queues[SENDING].pop()
    };
    if let Some(irp) = waiting {
        it.answer(irp, status, information);
    }
    serve_send(it);
    // SAFETY: as above.
    unsafe { Socket::release(socket) };
}
