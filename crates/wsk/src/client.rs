//! The registration with WSK as a driver sees it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::fmt;
use core::sync::atomic::Ordering;
use core::time::Duration;

use wsk_lifecycle::registration::State;
use wsk_lifecycle::rundown::Phase;
use wsk_sys::{WSK_EVENT_ACCEPT, WSK_EVENT_DISCONNECT, WSK_EVENT_RECEIVE, WSK_EVENT_RECEIVE_FROM, WSK_EVENT_SEND_BACKLOG};

use crate::raw::binding::Shell;
use crate::raw::client::Registration;
use crate::raw::{Device, NtStatus};
use crate::signal::Wait;
use crate::sync::{Executor, OutOfMemory, Passive, Shared};
use crate::sockets::{CloseReason, SocketId, SocketKind};
use crate::tcp::Nudge;

/// What a driver does with its bindings.
pub trait Handler: Send + Sync + 'static {
    /// WSK is there: start the services, by spawning tasks. Called for each binding, from the executor's passive thread; it
    /// must not wait.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn attached(&self, passive: Passive, binding: Binding);

    /// The events that are to be on for every socket. Asked once, when the [`Client`] is made. Where the provider does not have
    /// them, they are switched on socket by socket like any other.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    fn static_events(&self, passive: Passive) -> StaticEvents {
        let _ = passive;
        StaticEvents::default()
    }

    /// Something happened in the lifecycle.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    fn trace(&self, trace: Trace) {
        let _ = trace;
    }
}

/// What happens in the lifecycle of a client, in order; what happens to its sockets beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trace {
    /// A provider of these versions (major * 256 + minor) is offered.
    Attaching {
        /// The lowest.
        lowest: u16,
        /// The highest.
        highest: u16,
    },
    /// It was declined, or declined us.
    AttachFailed {
        /// Why.
        status: NtStatus,
    },
    /// It is attached.
    Attached {
        /// Counts the attachments.
        generation: u64,
    },
    /// The NMR wants the binding back.
    DetachBegun {
        /// Which.
        generation: u64,
        /// Whether there is work, so that its end will be reported.
        pending: bool,
        /// Calls in flight.
        in_flight: u32,
        /// Sockets and resources to give back.
        sockets: u32,
    },
    /// The last work is gone, and the NMR is told.
    DetachCompleted {
        /// Which.
        generation: u64,
    },
    /// The binding's memory is free.
    CleanedUp {
        /// Which.
        generation: u64,
    },
    /// A socket is open.
    SocketOpened {
        /// The binding's.
        generation: u64,
        /// Which.
        id: SocketId,
        /// What it is for.
        kind: SocketKind,
    },
    /// A socket's close is back.
    SocketClosed {
        /// The binding's.
        generation: u64,
        /// Which.
        id: SocketId,
        /// Why it was closed.
        reason: CloseReason,
    },
}

/// Events that are on for every socket of a client, for good: that costs less than to switch them on for each.
/// [WSK_SET_STATIC_EVENT_CALLBACKS](https://learn.microsoft.com/windows-hardware/drivers/network/wsk-set-static-event-callbacks)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StaticEvents {
    /// Connections tell when there is something to receive, and when the peer has ended the stream.
    pub receive: bool,
    /// Connections tell when their ideal send backlog changes.
    pub send_backlog: bool,
    /// Listeners take connections by an event; see [`ListenOptions::by_event`](crate::ListenOptions::by_event).
    pub accept: bool,
    /// Datagram sockets tell when something comes.
    pub receive_from: bool,
}

impl StaticEvents {
    fn mask(self) -> u32 {
        let events = [
            (self.receive, WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT),
            (self.send_backlog, WSK_EVENT_SEND_BACKLOG),
            (self.accept, WSK_EVENT_ACCEPT),
            (self.receive_from, WSK_EVENT_RECEIVE_FROM),
        ];
        events.into_iter().filter(|(on, _)| *on).fold(0, |mask, (_, event)| mask | event)
    }
}

/// A client of WSK. It can be deregistered and registered any number of times (L33). It goes before the
/// [`Runtime`](crate::Runtime) whose executor it has. Dropping it is [`shutdown`](Self::shutdown), unless it is out
/// already, and stops the system if that is not at PASSIVE_LEVEL.
pub struct Client(Shared<Registration>);

impl Drop for Client {
    fn drop(&mut self) {
        if self.state() != State::Out {
            self.shutdown(Passive::demand());
        }
    }
}

impl Client {
    /// Prepares a client; [`register`](Self::register) makes it known. `module` names the driver in the NMR.
    ///
    /// # Errors
    /// [`OutOfMemory`].
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub fn new(
        passive: Passive,
        module: wdk_sys::GUID,
        handler: &'static dyn Handler,
        executor: Executor,
        device: Device,
    ) -> Result<Self, OutOfMemory> {
        Registration::new(module, handler, executor, device, handler.static_events(passive).mask()).map(Self)
    }

    /// Registers with the NMR, unless it is registered. [`NmrRegisterClient`](https://learn.microsoft.com/windows-hardware/drivers/ddi/netioddk/nf-netioddk-nmrregisterclient)
    ///
    /// # Errors
    /// STATUS_DELETE_PENDING after a shutdown; the NMR's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub fn register(&self, passive: Passive) -> Result<(), NtStatus> {
        self.0.register(passive)
    }

    /// Deregisters, and returns when every binding is gone. [`NmrDeregisterClient`](https://learn.microsoft.com/windows-hardware/drivers/ddi/netioddk/nf-netioddk-nmrderegisterclient)
    ///
    /// # Errors
    /// The NMR's status; the client counts as registered still, and can be deregistered again.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held, in no callback of the NMR or of WSK.
    pub fn deregister(&self, passive: Passive) -> Result<(), NtStatus> {
        self.0.deregister(passive, false)
    }

    /// Deregisters for good. After it no callback of the NMR or of WSK comes any more. A failure of the NMR's stops the
    /// system (L29).
    ///
    /// # IRQL
    /// As for [`deregister`](Self::deregister).
    pub fn shutdown(&self, passive: Passive) {
        // It stops the system rather than to fail.
        let _ = self.0.deregister(passive, true);
    }

    /// The lowest and the highest version (major * 256 + minor) that a provider offered last; `None` if none ever did.
    ///
    /// # IRQL
    /// Any.
    pub fn offered_versions(&self) -> Option<(u16, u16)> {
        self.0.offered()
    }

    /// The most sockets that one binding ever had open.
    ///
    /// # IRQL
    /// Any.
    pub fn most_sockets(&self) -> u32 {
        self.0.most_sockets()
    }

    /// Where the registration stands.
    ///
    /// # IRQL
    /// Any.
    pub fn state(&self) -> State {
        self.0.state()
    }

    /// The binding that is being taken away, while it drains.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn leaving(&self) -> Option<Binding> {
        self.0.leaving_binding().map(Binding::new)
    }

    /// The binding for new work, if there is one. With [`StaticEvents`] it is there once they have been switched on, just before
    /// [`Handler::attached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn binding(&self) -> Option<Binding> {
        self.0.open_binding().filter(|shell| shell.is_prepared()).map(Binding::new)
    }
}

/// One attachment to WSK, and on whose behalf it is used. A handle may outlive the attachment: what is asked of it then is
/// refused.
#[derive(Clone)]
pub struct Binding(pub(crate) Shared<Shell>, pub(crate) u64);

/// What a binding is busy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Where it stands.
    pub phase: Phase,
    /// Calls in flight.
    pub in_flight: u32,
    /// Functions of its sockets that are being entered.
    pub inside: u32,
    /// Open sockets, and other things to give back.
    pub sockets: u32,
}

impl Binding {
    pub(crate) fn new(shell: Shared<Shell>) -> Self {
        Self(shell, 0)
    }

    /// The executor of the client.
    ///
    /// # IRQL
    /// Any.
    pub fn executor(&self) -> &Executor {
        &self.0.executor
    }

    /// Counts the attachments of the client, from 1.
    ///
    /// # IRQL
    /// Any.
    pub fn generation(&self) -> u64 {
        self.0.generation
    }

    /// How long ago it was attached.
    ///
    /// # IRQL
    /// Any.
    pub fn age(&self) -> Duration {
        self.0.born.elapsed()
    }

    /// The version of WSK that was negotiated, major * 256 + minor.
    ///
    /// # IRQL
    /// Any.
    pub fn version(&self) -> u16 {
        self.0.version.load(Ordering::Relaxed)
    }

    /// Whether new work is admitted.
    ///
    /// # IRQL
    /// Any.
    pub fn is_open(&self) -> bool {
        self.0.is_open()
    }

    /// Waits until the binding is being taken away.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn ended(&self) -> Wait<'_> {
        self.0.ended.wait()
    }

    /// Asks the services on this binding to end, for good; see [`stopping`](Self::stopping). Streams are told by
    /// [`Nudge::Stop`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn stop(&self) {
        self.0.stopping.fire();
    }

    /// Waits until the services on this binding are to end: after [`stop`](Self::stop), and when it is being taken away.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn stopping(&self) -> Wait<'_> {
        self.0.stopping.wait()
    }

    /// Whether they are.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn is_stopping(&self) -> bool {
        self.0.stopping.is_fired()
    }

    /// What it is busy with now.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn work(&self) -> Work {
        let (mut inside, mut in_flight) = (0, 0);
        self.0.each_socket(|socket| {
            let (entered, flying) = socket.work();
            inside += entered;
            in_flight += flying;
        });
        let (phase, own, sockets) = self.0.work();
        Work { phase, in_flight: in_flight + own, inside, sockets }
    }

    /// Nudges every stream of the binding; see [`Nudge`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn nudge(&self, nudge: Nudge) {
        self.0.each_socket(|socket| nudge.apply(socket));
    }
}

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", self.0.generation)
    }
}
