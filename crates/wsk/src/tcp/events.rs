//! The events of a connection: switched on, switched off, and what they tell.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::poll_fn;
use core::task::Poll;

use wsk_sys::{WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_SEND_BACKLOG};

use super::{TcpStream, WriteHalf, finish};
use crate::error::IoError;
use crate::raw::calls::{Call, control, events};
use crate::raw::socket::{BACKLOG, CLOSING, EVENTS, GONE, Socket};
use crate::sync::Shared;

/// What a connection can tell without being asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// There is something to receive
    /// ([`WskReceiveEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_event)).
    Receive,
    /// The peer has ended the stream
    /// ([`WskDisconnectEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_disconnect_event)).
    Disconnect,
    /// The ideal send backlog has changed
    /// ([`WskSendBacklogEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_backlog_event)).
    SendBacklog,
}

/// How the switching off of an event went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disabling {
    /// It is off.
    Done,
    /// It goes off when the callbacks that are under way have returned (STATUS_EVENT_PENDING).
    UnderWay,
}

impl Event {
    const fn mask(self) -> u32 {
        match self {
            Self::Receive => WSK_EVENT_RECEIVE,
            Self::Disconnect => WSK_EVENT_DISCONNECT,
            Self::SendBacklog => WSK_EVENT_SEND_BACKLOG,
        }
    }
}

/// Switches events on, unless they are on for all sockets. `false` if the provider does not have them.
pub(super) fn enable(socket: &Shared<Socket>, mask: u32) -> Result<bool, IoError> {
    let call = Call::begin(socket)?;
    let left = mask & !socket.shell().static_events();
    Ok(left == 0 || events::enable(&call, left).is_ok())
}

impl TcpStream {
    /// Has the provider tell when there is something to receive, so that waiting takes no buffer. `false` if the provider
    /// has no such events.
    /// [`SO_WSK_EVENT_CALLBACK`](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-event-callback)
    ///
    /// # Errors
    /// [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn enable_events(&mut self) -> Result<bool, IoError> {
        let enabled = enable(self.socket(), WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT)?;
        if enabled {
            self.socket().mark(EVENTS);
        }
        Ok(enabled)
    }

    /// Has the provider tell when the ideal send backlog changes, for [`WriteHalf::backlog_changed`]. `false` if the provider
    /// has no such event.
    /// [`WskSendBacklogEvent`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_backlog_event)
    ///
    /// # Errors
    /// [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn enable_backlog_event(&mut self) -> Result<bool, IoError> {
        enable(self.socket(), WSK_EVENT_SEND_BACKLOG)
    }

    /// Switches an event off, and waits until no callback of it is under way. One that is on for all sockets stays on.
    /// [`SO_WSK_EVENT_CALLBACK`](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-event-callback)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn disable_event(&mut self, event: Event) -> Result<(), IoError> {
        self.forget_event(event);
        finish(self.socket(), events::disable(Call::begin(self.socket())?, event.mask())).await.map(|_| ())
    }

    /// Switches an event off without waiting. One that is on for all sockets stays on.
    /// [`SO_WSK_EVENT_CALLBACK`](https://learn.microsoft.com/windows-hardware/drivers/network/so-wsk-event-callback)
    ///
    /// # Errors
    /// [`IoError::Detached`]; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn begin_disable_event(&mut self, event: Event) -> Result<Disabling, IoError> {
        let call = Call::begin(self.socket())?;
        self.forget_event(event);
        let done = events::begin_disable(&call, event.mask())?;
        Ok(if done { Disabling::Done } else { Disabling::UnderWay })
    }

    /// Without the receive event, waiting means receiving.
    fn forget_event(&self, event: Event) {
        if event == Event::Receive && self.socket().shell().static_events() & WSK_EVENT_RECEIVE == 0 {
            self.socket().take_flags(EVENTS);
        }
    }

    /// How many bytes should be on their way, in sends that are not complete, so that the connection never waits for more.
    /// [`SIO_WSK_QUERY_IDEAL_SEND_BACKLOG`](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-query-ideal-send-backlog)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn ideal_send_backlog(&self) -> Result<usize, IoError> {
        self.ask_size(control::QUERY_IDEAL_SEND_BACKLOG).await
    }

    /// How many bytes have come that nobody has received yet.
    /// [`SIO_WSK_QUERY_RECEIVE_BACKLOG`](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-query-receive-backlog)
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_backlog(&self) -> Result<usize, IoError> {
        self.ask_size(control::QUERY_RECEIVE_BACKLOG).await
    }

    async fn ask_size(&self, code: u32) -> Result<usize, IoError> {
        finish(self.socket(), control::ask_size(Call::begin(self.socket())?, code)).await.map(|asked| asked.0)
    }

    /// See [`WriteHalf::backlog_changed`].
    ///
    /// # Errors
    /// As there.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn backlog_changed(&mut self) -> Result<usize, IoError> {
        self.writer.backlog_changed().await
    }

    /// Ends the connection without a word to the peer: nothing more is sent, not even a reset
    /// ([SIO_WSK_SET_TCP_SILENT_MODE](https://learn.microsoft.com/windows-hardware/drivers/network/sio-wsk-set-tcp-silent-mode)),
    /// and the socket is closed.
    ///
    /// # Errors
    /// [`IoError::Detached`]; no memory; the provider's status: it does not have it, or not on this connection. The socket
    /// is closed all the same, which resets the connection.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn silence(self) -> Result<(), IoError> {
        let started = control::command(Call::begin(self.socket())?, control::SET_TCP_SILENT_MODE);
        finish(self.socket(), started).await.map(|_| ())
    }
}

impl WriteHalf {
    /// Waits until the ideal send backlog has changed since the last time, and says what it is, in bytes. The event has to
    /// be [on](TcpStream::enable_backlog_event).
    ///
    /// # Errors
    /// [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn backlog_changed(&mut self) -> Result<usize, IoError> {
        let socket = &*self.socket;
        poll_fn(|context| {
            socket.writer.register(context.waker());
            match socket.take_flags(BACKLOG) | socket.flags() {
                flags if flags & (CLOSING | GONE) != 0 => Poll::Ready(Err(IoError::Detached)),
                flags if flags & BACKLOG != 0 => Poll::Ready(Ok(socket.ideal_backlog())),
                _ => Poll::Pending,
            }
        })
        .await
    }
}
