//! The control device: what tools talk to, and what keeps the image while completion routines run (L31).
//!
//! [`device`] is the device object, [`io`] one request and its buffers; what is asked for is in a file of its own each. Every
//! field of a request is checked by `control-abi` before anything here sees it.
//!
//! Requests come at PASSIVE_LEVEL, several at a time, so that the state can be asked for while a deactivation waits. While
//! a handle is open the I/O manager does not unload the driver (L38).
//!
//! # IRQL
//! `PASSIVE_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // the framework's callback

mod device;
mod events;
mod io;
mod resolve;
mod services;
mod sockets;
mod state;
mod traffic;
mod version;

use control_abi::{Command, Refusal, parse};
use wdk_sys::{ULONG, WDFQUEUE, WDFREQUEST};
use wsk::{NtStatus, Passive};

use crate::driver::Driver;
use crate::entry;
use crate::log;
pub(crate) use device::ControlDevice;
use io::{Answer, Io, Output};

/// [`EvtIoDeviceControl`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdfio/nc-wdfio-evt_wdf_io_queue_io_device_control)
///
/// # Safety
/// Called by the framework; the request is this function's to complete.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
unsafe extern "C" fn on_device_control(_queue: WDFQUEUE, request: WDFREQUEST, room: usize, length: usize, code: ULONG) {
    // SAFETY: as the caller promises.
    let mut io = unsafe { Io::new(request) };
    // SAFETY: the device's attributes ask for PASSIVE_LEVEL.
    let passive = unsafe { Passive::assume() };
    let answer = answer(passive, &mut io, code, length, room);
    io.complete(answer);
}

/// Checks what is asked, and does it.
fn answer(passive: Passive, io: &mut Io, code: u32, length: usize, room: usize) -> Answer {
    let command = parse(code, io.input(length)?, room).inspect_err(|refusal| {
        if let Refusal::Version { .. } = refusal {
            log!("control: {refusal}");
        }
    })?;
    let callback = entry::driver().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
    match &command {
        Command::Events(asked) => events::wait(passive, io, asked)?,
        Command::Resolve(asked) => {
            let resolved = resolve::ask(passive, callback.lasting(), io, asked)?;
            return io.output(room)?.one(&resolved);
        }
        _ => {}
    }
    dispatch(passive, callback.lasting(), command, &mut io.output(room)?)
}

fn dispatch(passive: Passive, driver: &'static Driver, command: Command, output: &mut Output<'_>) -> Answer {
    match command {
        Command::NoOp => Ok(0),
        Command::Version => version::answer(output),
        Command::State => output.one(&state::of(driver)),
        Command::Deactivate => Ok(driver.deactivate(passive).map(|()| 0)?),
        Command::Activate => Ok(driver.activate(passive).map(|()| 0)?),
        Command::Sockets(from) => sockets::answer(driver, from, output),
        Command::Services(after) => services::list(&driver.services, after, output),
        Command::ServiceStart(named) => services::start(&driver.services, &named),
        Command::ServiceStop(named) => services::stop(&driver.services, &named),
        Command::ServiceSave(named) => services::save(driver, &named),
        Command::ServiceSet(set) => services::set(&driver.services, &set),
        Command::ServiceRemove(named) => services::remove(driver, &named),
        Command::Events(asked) => events::answer(&asked, output),
        Command::TrafficStart(wanted) => traffic::start(driver, wanted, output),
        Command::TrafficAsk { id, renew } => traffic::ask(driver, id, renew, output),
        Command::TrafficCancel(id) => traffic::cancel(driver, id),
        Command::TrafficList(after) => traffic::list(driver, after, output),
        _ => Err(NtStatus::NOT_SUPPORTED.into()),
    }
}
