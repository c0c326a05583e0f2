//! The one place where it is told what happens: to those who ask for events, to Event Tracing for Windows, and to a kernel
//! debugger.
//!
//! [`event`] is what can happen, [`mod@ring`] remembers it, [`etw`] writes it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.
#![allow(unsafe_code)] // what is told goes to memory that exists from `begin` to `end`

mod etw;
mod event;
mod ring;

use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, Ordering};

use allocator_api2::boxed::Box;
use wsk::sync::{OutOfMemory, Pool, tag};

use crate::log;
pub(crate) use etw::{register, unregister};
pub(crate) use event::{Event, Who, status_of};
pub(crate) use ring::{Found, Ring};

type TracePool = Pool<{ tag(b"WskM") }>;

/// What is remembered, from [`begin`] to [`end`].
static TRACE: AtomicPtr<Trace> = AtomicPtr::new(null_mut());

/// What is remembered.
struct Trace {
    /// Everything but the events of sockets: those are so many that nothing else would be remembered.
    some: Ring,
    /// Everything.
    all: Ring,
}

/// Begins to remember.
///
/// # Errors
/// No memory.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn begin() -> Result<(), OutOfMemory> {
    let trace = Box::try_new_in(Trace { some: Ring::new()?, all: Ring::new()? }, TracePool::default())?;
    TRACE.store(Box::into_raw(trace), Ordering::Release);
    Ok(())
}

/// Forgets everything. Nobody tells anything any more, and nobody asks.
///
/// # IRQL
/// `PASSIVE_LEVEL`.
pub(crate) fn end() {
    let trace = TRACE.swap(null_mut(), Ordering::AcqRel);
    if !trace.is_null() {
        // SAFETY: made by `begin`, and taken out once.
        drop(unsafe { Box::from_raw_in(trace, TracePool::default()) });
    }
}

/// Tells what happened.
pub(crate) fn tell(event: Event) {
    etw::write(&event);
    match event {
        Event::SocketOpened { .. } | Event::SocketClosed { .. } => {}
        Event::AttachFailed { .. } | Event::ServiceFailed { .. } | Event::LimitHit { .. } => log!(Warning, "{event}"),
        Event::Fault { .. } => log!(Error, "{event}"),
        _ => log!("{event}"),
    }
    if let Some(trace) = trace() {
        let wire = event.to_wire();
        if !event.is_of_socket() {
            trace.some.push(&wire);
        }
        trace.all.push(&wire);
    }
}

/// The events that are remembered: with those of sockets, or without.
pub(crate) fn ring(with_sockets: bool) -> Option<&'static Ring> {
    trace().map(|trace| if with_sockets { &trace.all } else { &trace.some })
}

fn trace() -> Option<&'static Trace> {
    // SAFETY: there from `begin` to `end`; who tells or asks has ended before that.
    unsafe { TRACE.load(Ordering::Acquire).as_ref() }
}
