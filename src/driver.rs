//! What exists once per load: the executor, the registration with WSK, the services.
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // what is written once, before it is shared

use core::cell::UnsafeCell;
use core::time::Duration;

use control_abi::{Gate, Registration, State};
use wdk_sys::GUID;
use wsk::sync::Event as Flag;
use wsk::{Binding, Client, Device, Handler, NtStatus, Passive, Runtime, Trace};

use crate::log;
use crate::parameters::Parameters;
use crate::services::Services;
use crate::trace::{Event, tell};

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
    services: Services,
    stop_grace: Duration,
    running: UnsafeCell<Option<Running>>,
    /// Set by the last callback of the device that is in here when the driver goes; see [`entry::driver`](crate::entry::driver).
    pub(crate) left: Flag,
}

struct Running {
    runtime: Runtime,
    client: Client,
}

// SAFETY: `running` is synchronised as its invariant says; the rest is shared in its own right.
unsafe impl Sync for Driver {}

impl Driver {
    /// Prepares it.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn new(parameters: &Parameters) -> Result<Self, NtStatus> {
        let services = Services::new(&parameters.services)?;
        let left = Flag::notification(false)?;
        Ok(Self { services, stop_grace: parameters.stop_grace, running: UnsafeCell::new(None), left })
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
        self.services.stop(passive, running.client.binding(), self.stop_grace);
        running.client.shutdown(passive);
        drop(running.client);
        self.services.end();
        running.runtime.stop(passive);
        self.services.tell();
    }

    fn client(&self) -> Option<&Client> {
        // SAFETY: only read while callbacks are admitted.
        unsafe { &*self.running.get() }.as_ref().map(|running| &running.client)
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
        client.deregister(passive)
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
        client.register(passive)
    }

    /// The system is going down: as at unload, but the driver stays, and the grace is no longer than [`SHUTDOWN_MOST`].
    /// Should the system not go down after all, [`activate`](Self::activate) brings the services back.
    ///
    /// # IRQL
    /// `PASSIVE_LEVEL`.
    pub(crate) fn system_shutdown(&self, passive: Passive) {
        let Some(client) = self.client() else { return };
        self.services.stop(passive, client.binding(), self.stop_grace.min(SHUTDOWN_MOST));
        self.services.tell();
        if let Err(status) = client.deregister(passive) {
            log!(Error, "system shutdown: deregistering from WSK: {status}");
        }
    }

    /// The state, for tools.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn state(&self) -> State {
        let mut state = State { version: control_abi::VERSION, totals: self.services.totals(), ..State::default() };
        let Some(client) = self.client() else { return state };
        state.registration = match client.state() {
            wsk::State::Out => Registration::Out,
            wsk::State::Registering => Registration::Registering,
            wsk::State::In => Registration::In,
            wsk::State::Leaving => Registration::Leaving,
        } as u32;
        let Some(binding) = client.binding().or_else(|| client.leaving()) else { return state };
        let work = binding.work();
        state.gate = if binding.is_open() { Gate::Open } else { Gate::Shut } as u32;
        state.in_flight = work.in_flight;
        state.inside = work.inside;
        state.sockets = work.sockets;
        state.generation = binding.generation();
        state
    }
}

impl Handler for Driver {
    fn attached(&self, _: Passive, binding: Binding) {
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
        });
    }
}
