//! What is printed of the lifecycle, in the words of the bench's trace.

#![allow(unsafe_code)] // Reads the driver's registry path.

use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering};

use nmr::Side;
use nt_abi::UNICODE_STRING;

use crate::kernel;
use crate::kernel::lock::Locked;
use crate::print::say;

/// The driver's service: as much of its name as fits.
struct Service {
    name: [u8; 64],
    length: usize,
}

static SERVICE: Locked<Service> = Locked::new(Service { name: [0; 64], length: 0 });

/// Rules that were broken.
static VIOLATIONS: AtomicUsize = AtomicUsize::new(0);

/// Has the registrar and the framework tell what they do.
pub(crate) fn install() {
    nmr::observe(registrar);
    kmdf_lite::observe(framework);
}

/// A driver is being loaded: this is its path.
///
/// # Safety
/// The path is null or a string.
pub(crate) unsafe fn load(path: *const UNICODE_STRING) {
    // SAFETY: the caller's promise.
    let units = unsafe { path.as_ref() }.map_or(&[][..], |path| {
        // SAFETY: as above.
        unsafe { core::slice::from_raw_parts(path.Buffer, usize::from(path.Length) / 2) }
    });
    let start = units.iter().rposition(|unit| *unit == u16::from(b'\\')).map_or(0, |at| at + 1);
    {
        let mut service = SERVICE.lock();
        service.length = 0;
        for unit in units[start..].iter().take(64) {
            let at = service.length;
            service.name[at] = u8::try_from(*unit).unwrap_or(b'?');
            service.length += 1;
        }
    }
    VIOLATIONS.store(0, Ordering::Relaxed);
    say!("LoadBegin {}", Name);
}

/// The service's name.
struct Name;

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let service = SERVICE.lock();
        f.write_str(core::str::from_utf8(&service.name[..service.length]).unwrap_or("?"))
    }
}

/// Says what the driver has left.
pub(crate) fn verdict() {
    let mut modules = 0;
    nmr::census(&mut |_| modules += 1);
    kernel::verdict(modules, VIOLATIONS.load(Ordering::Relaxed));
}

fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Provider => "provider",
    }
}

fn registrar(event: &nmr::Event) {
    let side = side(event.side);
    match event.kind {
        nmr::Kind::Register { status } if event.side == Side::Provider => say!("ProviderRegister {:08x}", status.0),
        nmr::Kind::Register { status } => say!("NmrRegister {side} {:08x}", status.0),
        nmr::Kind::AttachCall => say!("AttachCall {side}"),
        nmr::Kind::AttachReturn { status } => say!("AttachReturn {side} {:08x}", status.0),
        nmr::Kind::DeregisterCall => say!("DeregisterCall {side}"),
        nmr::Kind::Deregister { status } => say!("Deregister {side} {:08x}", status.0),
        nmr::Kind::DetachCall => say!("DetachCall {side}"),
        nmr::Kind::DetachReturn { status } => say!("DetachReturn {side} {:08x}", status.0),
        nmr::Kind::DetachComplete => say!("DetachComplete {side}"),
        nmr::Kind::Cleanup => say!("Cleanup {side}"),
        nmr::Kind::WaitBegin => say!("WaitBegin {side}"),
        nmr::Kind::WaitReturn { status } => say!("WaitReturn {side} {:08x}", status.0),
        nmr::Kind::Violation { rule, text } => violation(format_args!("{rule}: {text}")),
    }
}

fn framework(event: &kmdf_lite::Event) {
    match event.kind {
        kmdf_lite::Kind::UnloadCall => say!("UnloadBegin {}", Name),
        kmdf_lite::Kind::UnloadReturn => say!("EvtDriverUnload has returned"),
        kmdf_lite::Kind::UnloadDone => say!("UnloadReturn {}", Name),
        kmdf_lite::Kind::Violation { function, text } => violation(format_args!("{function}: {text}")),
        kmdf_lite::Kind::NotThere { function } => violation(format_args!("{function} is not in kmdf-lite")),
        _ => {}
    }
}

/// Says that a rule was broken, and counts it for the verdict.
pub(crate) fn violation(text: fmt::Arguments<'_>) {
    VIOLATIONS.fetch_add(1, Ordering::Relaxed);
    say!("violation: {text}");
}
