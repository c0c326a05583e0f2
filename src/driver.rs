//! What exists once per load: the executor, the registration with WSK, the services.
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // what is written once, before it is shared

use core::cell::UnsafeCell;
use core::time::Duration;

use control_abi::Totals;
use control_abi::traffic::End;
use wdk_sys::{GUID, WDFDRIVER};
use wsk::sync::{Event as Flag, SpinLock};
use wsk::{Binding, Client, Device, Handler, Instant, NtStatus, Passive, Runtime, Trace};

use crate::log;
use crate::parameters::{self, Parameters};
use crate::services::Services;
use crate::sockets::{kind_of, protocol_of, reason_of};
use crate::trace::{Event, tell};
use crate::traffic::Traffic;

/// The driver's name in the NMR.
const MODULE_ID: GUID =
    GUID { Data1: 0x6d1f_3a52, Data2: 0x90c4, Data3: 0x4e0b, Data4: [0x8f, 0x27, 0x5b, 0xd3, 0x1e, 0x66, 0xa9, 0x04] };

/// The grace at system shutdown is no longer than this, whatever `StopGraceMs` says. The pages of the notification name no
/// limit; this is what Windows grants its services as a rule before it goes on without them.
const SHUTDOWN_MOST: Duration = Duration::from_secs(5);

/// The driver.
///
/// # Invariants
/// `running` is written by [`start`](Self::start) before the device's callbacks are admitted, and by [`stop`](Self::stop)
/// when they are no more; in between it is only read.
pub(crate) struct Driver {
    pub(crate) services: Services,
    pub(crate) traffic: Traffic,
    stop_grace: Duration,
    /// The framework's driver object.
    framework: WDFDRIVER,
    /// When it was loaded.
    pub(crate) loaded: Instant,
    /// What services had done when the newest binding was attached.
    pub(crate) at_attach: SpinLock<Totals>,
    running: UnsafeCell<Option<Running>>,
    /// Set by the last callback of the device that is in here when the driver goes; see [`entry::driver`](crate::entry::driver).
    pub(crate) left: Flag,
}

struct Running {
    runtime: Runtime,
    client: Client,
}

// SAFETY: `running` is synchronised as its invariant says, and the framework's handle has no thread; the rest is shared in its own
// right.
unsafe impl Sync for Driver {}
// SAFETY: as above.
unsafe impl Send for Driver {}

impl Driver {
    /// Prepares it.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(framework: WDFDRIVER, parameters: &Parameters) -> Result<Self, NtStatus> {
        let services = Services::new(&parameters.services)?;
        let traffic = Traffic::new()?;
        let left = Flag::notification(false)?;
        Ok(Self {
            services,
            traffic,
            stop_grace: parameters.stop_grace,
            framework,
            loaded: Instant::now(),
            at_attach: SpinLock::new(Totals::default()),
            running: UnsafeCell::new(None),
            left,
        })
    }

    /// Starts the executor and registers with the NMR (L01). It does not wait for WSK (L05).
    ///
    /// # Errors
    /// What failed; nothing runs then.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn start(&'static self, passive: Passive, device: Device) -> Result<(), NtStatus> {
        let runtime = Runtime::start(passive)?;
        let client = match self.register(passive, &runtime, device) {
            Ok(client) => client,
            Err(status) => {
                self.services.end();
                runtime.stop(passive);
                return Err(status);
            }
        };
        // SAFETY: nobody reads it before callbacks are admitted.
        unsafe { *self.running.get() = Some(Running { runtime, client }) };
        Ok(())
    }

    fn register(&'static self, passive: Passive, runtime: &Runtime, device: Device) -> Result<Client, NtStatus> {
        self.services.keep(&runtime.executor())?;
        let client = Client::new(passive, MODULE_ID, self, runtime.executor(), device)?;
        client.register(passive)?;
        Ok(client)
    }

    /// Stops everything: gracefully for as long as `StopGraceMs` grants (L26), then at once. Returns when nothing runs.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`, with no lock held.
    pub(crate) fn stop(&self, passive: Passive) {
        // SAFETY: callbacks are not admitted any more, so nobody else reads it.
        let Some(running) = (unsafe { (*self.running.get()).take() }) else { return };
        self.traffic.leave(Some(End::Shutdown));
        self.services.stop(passive, running.client.binding(), self.stop_grace);
        running.client.shutdown(passive);
        drop(running.client);
        self.services.end();
        running.runtime.stop(passive);
        self.services.tell();
    }

    /// The binding for new work, if there is one.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn binding(&self) -> Option<Binding> {
        self.client().and_then(Client::binding)
    }

    pub(crate) fn client(&self) -> Option<&Client> {
        // SAFETY: only read while callbacks are admitted.
        unsafe { &*self.running.get() }.as_ref().map(|running| &running.client)
    }

    /// Writes a service to the registry.
    ///
    /// # Errors
    /// There is none of that name; the registry's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn save_service(&self, name: &str) -> Result<(), NtStatus> {
        let (settings, others) = self.services.to_save(name)?;
        parameters::save(self.framework, &settings, others.iter())?;
        self.services.saved(name)
    }

    /// Stops a service and forgets it, for good if `in_registry`.
    ///
    /// # Errors
    /// There is none of that name; the registry's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn remove_service(&self, name: &str, in_registry: bool) -> Result<(), NtStatus> {
        if in_registry {
            let (settings, _) = self.services.to_save(name)?;
            parameters::forget(self.framework, &settings)?;
        }
        self.services.remove_one(name)
    }

    /// Ends all connections and leaves WSK, without unloading (L33).
    ///
    /// # Errors
    /// The NMR's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn deactivate(&self, passive: Passive) -> Result<(), NtStatus> {
        let client = self.client().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        tell(Event::Deactivated);
        self.traffic.leave(Some(End::Deactivated));
        client.deregister(passive).inspect_err(|_| self.traffic.leave(None))
    }

    /// Comes back to WSK (L33).
    ///
    /// # Errors
    /// The NMR's status.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn activate(&self, passive: Passive) -> Result<(), NtStatus> {
        let client = self.client().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
        tell(Event::Activated);
        self.traffic.leave(None);
        client.register(passive)
    }

    /// The system is going down: as at unload, but the driver stays, and the grace is no longer than [`SHUTDOWN_MOST`].
    /// Should the system not go down after all, [`activate`](Self::activate) brings the services back.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn system_shutdown(&self, passive: Passive) {
        let Some(client) = self.client() else { return };
        self.traffic.leave(Some(End::Shutdown));
        self.services.stop(passive, client.binding(), self.stop_grace.min(SHUTDOWN_MOST));
        self.services.tell();
        if let Err(status) = client.deregister(passive) {
            log!(Error, "system shutdown: deregistering from WSK: {status}");
        }
    }
}

impl Handler for Driver {
    fn attached(&self, _: Passive, binding: Binding) {
        let totals = self.services.totals();
        self.at_attach.with(|before| *before = totals);
        self.services.attached(binding);
    }

    fn trace(&self, trace: Trace) {
        tell(match trace {
            Trace::Attaching { lowest, highest } => Event::Attaching { lowest, highest },
            Trace::AttachFailed { status } => Event::AttachFailed { status },
            Trace::Attached { generation } => Event::Attached { binding: generation },
            Trace::DetachBegun { generation, pending, in_flight, sockets } => {
                Event::DetachBegun { binding: generation, pending, in_flight, sockets }
            }
            Trace::DetachCompleted { generation } => Event::DetachCompleted { binding: generation },
            Trace::CleanedUp { generation } => Event::CleanedUp { binding: generation },
            Trace::SocketOpened { generation, id, kind } => Event::SocketOpened {
                socket: id.0,
                binding: generation,
                kind: kind_of(kind),
                protocol: protocol_of(kind),
            },
            Trace::SocketClosed { generation, id, reason } => {
                Event::SocketClosed { socket: id.0, binding: generation, reason: reason_of(reason) }
            }
        });
    }
}
