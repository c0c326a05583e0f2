//! WskSend and WskDisconnect: what the endpoint takes at once goes at once, the rest when there is room.

use nt_abi::NtStatus;
use nt_abi::wsk::{WSK_FLAG_ABORTIVE, WSK_FLAG_NODELAY};

use super::buffer::Buffers;
use super::faults::Function;
use super::pump::Step;
use super::request::{Outcome, Request, wait_in};
use super::socket::Socket;
use super::state::{Ended, Inner, Transfer};

impl Socket {
    /// WskSend.
    pub(super) fn send(&self, request: Request, buffers: Buffers, flags: u32) -> Outcome {
        if flags & !WSK_FLAG_NODELAY != 0 {
            return Outcome::Done(request, NtStatus::NOT_SUPPORTED, 0);
        }
        let mut transfer = Transfer::new(request, buffers, flags);
        let mut inner = self.lock();
        if let Some(status) = inner.unsendable() {
            return Outcome::Done(transfer.request, status, 0);
        }
        inner.link.set_no_delay(flags & WSK_FLAG_NODELAY != 0);
        let first = inner.sends.is_empty();
        if first && let Some((status, information)) = self.advance_send(&mut inner, &mut transfer) {
            return Outcome::Done(transfer.request, status, information);
        }
        inner.sends.push_back(transfer);
        match wait_in(&mut inner.sends, |one| &one.request) {
            None => Outcome::Pending,
            Some(one) => Outcome::Done(one.request, NtStatus::CANCELLED, 0),
        }
    }

    /// Sends what there is room for; how the request ends, if it does.
    fn advance_send(&self, inner: &mut Inner, one: &mut Transfer) -> Option<Ended> {
        let before = one.done;
        while one.buffers.len() > 0 && inner.link.failure.is_none() {
            let Some(count) = inner.link.send(&one.buffers) else { break };
            one.buffers.advance(count);
            one.done += count;
        }
        self.shared.counters.sent(one.done - before);
        if one.buffers.len() == 0 {
            return Some((NtStatus::SUCCESS, one.done));
        }
        inner.link.failure.map(|status| (status, one.done))
    }

    pub(super) fn send_step(&self, inner: &mut Inner) -> Option<Step> {
        loop {
            let Some(at) = inner.sends.iter().position(|one| one.lost.is_none()) else {
                return self.disconnect_step(inner);
            };
            if !inner.link.ready.writable && inner.link.failure.is_none() {
                return None;
            }
            let mut one = inner.sends.remove(at)?;
            let ended = self.advance_send(inner, &mut one);
            match ended {
                Some((status, information)) if one.request.claim() => {
                    return Some(Step::Complete(one.request, status, information));
                }
                Some(_) => {
                    one.lost = ended;
                    inner.sends.insert(at, one);
                }
                None => {
                    inner.sends.insert(at, one);
                    return None;
                }
            }
        }
    }

    /// WskDisconnect.
    pub(super) fn disconnect(&self, request: Request, buffers: Buffers, flags: u32) -> Outcome {
        if let Some(status) = self.shared.faults.current().and_then(|faults| faults.refuse_disconnect) {
            return Outcome::Done(request, status, 0);
        }
        if flags & !WSK_FLAG_ABORTIVE != 0 {
            return Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0);
        }
        if flags & WSK_FLAG_ABORTIVE != 0 {
            return self.abort(request, buffers);
        }
        let mut transfer = Transfer::new(request, buffers, flags);
        let mut inner = self.lock();
        if let Some(status) = inner.unsendable() {
            return Outcome::Done(transfer.request, status, 0);
        }
        let first = inner.sends.is_empty();
        if first && let Some((status, information)) = self.advance_disconnect(&mut inner, &mut transfer) {
            return Outcome::Done(transfer.request, status, information);
        }
        inner.disconnect = Some(transfer);
        let waits = inner.disconnect.as_ref().is_some_and(|one| one.request.await_cancel());
        match inner.disconnect.take_if(|_| !waits) {
            None => Outcome::Pending,
            Some(one) => {
                one.request.unpend();
                Outcome::Done(one.request, NtStatus::CANCELLED, 0)
            }
        }
    }

    /// The last bytes, then the end of the stream.
    fn advance_disconnect(&self, inner: &mut Inner, one: &mut Transfer) -> Option<Ended> {
        let (status, _) = self.advance_send(inner, one)?;
        if status.is_failure() {
            return Some((status, 0));
        }
        inner.link.finished = true;
        let result = inner.link.endpoint.as_ref().map(|endpoint| endpoint.finish());
        Some(match result {
            Some(Err(error)) => (super::address::status(&error), 0),
            _ => (NtStatus::SUCCESS, 0),
        })
    }

    fn disconnect_step(&self, inner: &mut Inner) -> Option<Step> {
        if inner.disconnect.as_ref()?.lost.is_some() {
            return None;
        }
        let mut one = inner.disconnect.take()?;
        match self.advance_disconnect(inner, &mut one) {
            Some((status, information)) if one.request.claim() => Some(Step::Complete(one.request, status, information)),
            ended => {
                one.lost = ended;
                inner.disconnect = Some(one);
                None
            }
        }
    }

    /// An abortive disconnect: what waits is cancelled, and the peer sees a reset.
    fn abort(&self, request: Request, buffers: Buffers) -> Outcome {
        if buffers.len() != 0 {
            self.complain("WSK-ARG", Function::Disconnect, "an abortive disconnect takes no buffer");
            return Outcome::Done(request, NtStatus::INVALID_PARAMETER, 0);
        }
        let (waiting, endpoint) = {
            let mut inner = self.lock();
            if !matches!(inner.phase, super::state::Phase::Connected) || inner.silent {
                let status = inner.unconnected().unwrap_or(NtStatus::INVALID_DEVICE_STATE);
                return Outcome::Done(request, status, 0);
            }
            (inner.drain(), inner.let_go())
        };
        if let Some(endpoint) = endpoint {
            endpoint.reset_on_drop();
            endpoint.unwatch();
        }
        for (other, (status, information)) in waiting {
            other.complete(status, information);
        }
        Outcome::Done(request, NtStatus::SUCCESS, 0)
    }
}

impl Inner {
    /// The status of a function that sends, if it cannot.
    fn unsendable(&self) -> Option<NtStatus> {
        let closed = self.link.finished || self.disconnect.is_some();
        self.unconnected().or(closed.then_some(NtStatus::LOCAL_DISCONNECT))
    }
}
