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
    let driver = entry::driver().ok_or(NtStatus::INVALID_DEVICE_STATE)?;
    if let Command::Events(asked) = &command {
        events::wait(passive, io, asked)?;
    }
    dispatch(passive, &driver, command, &mut io.output(room)?)
}

fn dispatch(passive: Passive, driver: &Driver, command: Command, output: &mut Output<'_>) -> Answer {
    match command {
        Command::NoOp => Ok(0),
        Command::Version => version::answer(output),
        Command::State => output.one(&driver.state()),
        Command::Deactivate => Ok(driver.deactivate(passive).map(|()| 0)?),
        Command::Activate => Ok(driver.activate(passive).map(|()| 0)?),
        Command::Events(asked) => events::answer(&asked, output),
        _ => Err(NtStatus::NOT_SUPPORTED.into()),
    }
}
