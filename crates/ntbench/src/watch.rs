//! What the registrar and the framework tell, as events of the trace, violations and marks on threads.

use nmr::Side;

use crate::callout::Kind as Inside;
use crate::trace::{self, Kind};
use crate::{fault, thread, verifier, wsk};

/// Sets everything that the two crates can call.
pub(crate) fn install(config: nmr::Config) {
    nmr::configure(config);
    nmr::observe(registrar);
    nmr::faults(fault::status);
    kmdf_lite::observe(framework);
    kmdf_lite::faults(fault::status);
}

fn side(side: Side) -> trace::Side {
    match side {
        Side::Client => trace::Side::Client,
        Side::Provider => trace::Side::Provider,
    }
}

fn registrar(event: &nmr::Event) {
    mark(event);
    if let nmr::Kind::Violation { rule, text } = event.kind {
        let who = format!("{:?} {:#x}, binding {:#x}", event.side, event.registration, event.binding);
        verifier::violation(rule, format!("{text} ({who})"));
        return;
    }
    trace::emit(translate(event));
    wsk::nmr_event(event);
}

/// Marks the thread as inside the client while a callback of its runs.
fn mark(event: &nmr::Event) {
    if event.side != Side::Client {
        return;
    }
    match event.kind {
        nmr::Kind::AttachCall => thread::slot().push(Inside::Other, event.characteristics),
        nmr::Kind::DetachCall => thread::slot().push(Inside::Nmr, event.characteristics),
        nmr::Kind::AttachReturn { .. } | nmr::Kind::DetachReturn { .. } => thread::slot().pop(),
        _ => {}
    }
}

fn translate(event: &nmr::Event) -> Kind {
    let (side, registration, binding) = (side(event.side), event.registration, event.binding);
    match event.kind {
        nmr::Kind::Register { status } if event.side == Side::Provider => Kind::ProviderRegister { registration, status },
        nmr::Kind::Register { status } => Kind::NmrRegister { side, registration, status },
        nmr::Kind::AttachCall => Kind::AttachCall { side, binding },
        nmr::Kind::AttachReturn { status } => Kind::AttachReturn { side, binding, status },
        nmr::Kind::DeregisterCall => Kind::DeregisterCall { side, registration },
        nmr::Kind::Deregister { status } => Kind::Deregister { side, registration, status },
        nmr::Kind::DetachCall => Kind::DetachCall { side, binding },
        nmr::Kind::DetachReturn { status } => Kind::DetachReturn { side, binding, status },
        nmr::Kind::DetachComplete => Kind::DetachComplete { side, binding },
        nmr::Kind::Cleanup => Kind::Cleanup { side, binding },
        nmr::Kind::WaitBegin => Kind::WaitBegin { side, registration },
        nmr::Kind::WaitReturn { status } => Kind::WaitReturn { side, registration, status },
        nmr::Kind::Violation { rule, text } => Kind::Violation { rule, text: text.into() },
    }
}

fn framework(event: &kmdf_lite::Event) {
    match event.kind {
        kmdf_lite::Kind::Violation { function, text } => verifier::violation("wdf", format!("{function}: {text}")),
        kmdf_lite::Kind::NotThere { function } => {
            verifier::fatal("wdf", format!("{function} is called, which kmdf-lite does not have"));
        }
        kind if trace::io() => {
            trace::emit(Kind::Io { what: "Framework", object: event.object, detail: format!("{kind:?}") });
        }
        _ => {}
    }
}
