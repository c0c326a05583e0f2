//! Detaching and cleaning up (rules N4, N6, N7).

#![allow(unsafe_code)] // Calls the modules' callbacks and follows pointers into the registry.

use core::ffi::c_void;
use core::ptr::NonNull;

use nt_abi::NtStatus;

use crate::attach::violation;
use crate::characteristics::Characteristics;
use crate::config::{DISPATCH, PROVIDER_FIRST};
use crate::event::{Event, emit};
use crate::kernel::{at_dispatch, irql, thread};
use crate::registry::{Binding, lock, retire};
use crate::state::{AfterDetach, Misuse};
use crate::{Kind, Side};

/// Calls detach on both sides. The caller has taken the binding to `Detaching`, so nobody else does.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn call_both(binding: NonNull<Binding>) {
    for side in order() {
        // Until both sides have been called the binding cannot finish, so it is still there for the second.
        if call_one(binding, side) == AfterDetach::Cleanup {
            return clean_up(binding);
        }
    }
}

fn order() -> [Side; 2] {
    if PROVIDER_FIRST.decide() { [Side::Provider, Side::Client] } else { [Side::Client, Side::Provider] }
}

/// What calling a detach or cleanup callback takes.
struct Call<F> {
    callback: F,
    context: *mut c_void,
    event: Event,
}

type DetachFn = unsafe extern "win64" fn(*mut c_void) -> NtStatus;
type CleanupFn = unsafe extern "win64" fn(*mut c_void);

fn call_one(mut binding: NonNull<Binding>, side: Side) -> AfterDetach {
    let Some(call) = begin_call(binding, side) else { return AfterDetach::Wait };
    emit(&call.event);
    let status = at_dispatch(DISPATCH.decide(), || {
        let level = irql();
        // SAFETY: the side's own callback with the context that it gave this binding.
        let status = unsafe { (call.callback)(call.context) };
        check_level(&call.event, level, "a detach callback returned at another IRQL than it was called at");
        status
    });
    emit(&Event { kind: Kind::DetachReturn { status }, ..call.event });
    if status != NtStatus::SUCCESS && status != NtStatus::PENDING {
        violation(&call.event, "N4", "a detach callback returned neither STATUS_SUCCESS nor STATUS_PENDING");
    }
    let (after, misuse) = {
        let _registry = lock();
        // SAFETY: this side is not finished before the next line, so the binding is not freed; the lock is held.
        let it = unsafe { binding.as_mut() };
        it.end(side).thread = 0;
        it.state.end_detach_call(side, status == NtStatus::PENDING)
    };
    if let Some(Misuse { rule, text }) = misuse {
        violation(&call.event, rule, text);
    }
    after
}

fn check_level(event: &Event, level: u8, text: &'static str) {
    if irql() != level {
        violation(event, "IRQL", text);
    }
}

fn begin_call(mut binding: NonNull<Binding>, side: Side) -> Option<Call<DetachFn>> {
    let _registry = lock();
    // SAFETY: not finished, so not freed; the lock is held.
    let it = unsafe { binding.as_mut() };
    if !it.state.begin_detach_call(side) {
        return None;
    }
    it.end(side).thread = thread();
    let callback = match it.module(side).snapshot.characteristics {
        Characteristics::Client(copy, _) => copy.ClientDetachProvider,
        Characteristics::Provider(copy, _) => copy.ProviderDetachClient,
    }?;
    Some(Call { callback, context: it.end(side).context, event: it.event(Kind::DetachCall, side) })
}

/// Calls cleanup on both sides and forgets the binding. The caller has taken it to `Cleaning`, so nobody else does.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn clean_up(binding: NonNull<Binding>) {
    for side in order() {
        if let Some(call) = begin_cleanup(binding, side) {
            cleanup_one(&call);
        }
    }
    retire(binding);
}

fn cleanup_one(call: &Call<Option<CleanupFn>>) {
    emit(&call.event);
    let Some(callback) = call.callback else { return };
    at_dispatch(DISPATCH.decide(), || {
        let level = irql();
        // SAFETY: the side's own callback with the context that it gave this binding.
        unsafe { callback(call.context) };
        check_level(&call.event, level, "a cleanup callback returned at another IRQL than it was called at");
    });
}

fn begin_cleanup(mut binding: NonNull<Binding>, side: Side) -> Option<Call<Option<CleanupFn>>> {
    let _registry = lock();
    // SAFETY: this thread alone frees it, after this; the lock is held.
    let it = unsafe { binding.as_mut() };
    if !it.state.needs_cleanup(side) {
        return None;
    }
    it.end(side).thread = thread();
    let callback = match it.module(side).snapshot.characteristics {
        Characteristics::Client(copy, _) => copy.ClientCleanupBindingContext,
        Characteristics::Provider(copy, _) => copy.ProviderCleanupBindingContext,
    };
    Some(Call { callback, context: it.end(side).context, event: it.event(Kind::Cleanup, side) })
}

/// A side reports that its detaching is complete.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn complete(side: Side, handle: usize) {
    let event = find_event(side, handle);
    emit(&event);
    match finish(side, handle) {
        Ok((binding, AfterDetach::Cleanup)) => clean_up(binding),
        Ok((_, AfterDetach::Wait)) => {}
        Err(Misuse { rule, text }) => violation(&event, rule, text),
    }
}

fn find_event(side: Side, handle: usize) -> Event {
    let kind = Kind::DetachComplete;
    match lock().binding(handle) {
        // SAFETY: listed, and the lock is held until the end of this expression's statement.
        Some(binding) => unsafe { binding.as_ref() }.event(kind, side),
        None => Event { kind, side, registration: 0, binding: handle, context: 0, characteristics: 0 },
    }
}

fn finish(side: Side, handle: usize) -> Result<(NonNull<Binding>, AfterDetach), Misuse> {
    let registry = lock();
    let Some(mut binding) = registry.binding(handle) else {
        let text = "detach reported complete with a handle that is stale (reported twice?) or was never given out";
        return Err(Misuse { rule: "N7", text });
    };
    // SAFETY: listed, and the lock is held.
    let after = unsafe { binding.as_mut() }.state.complete_detach(side)?;
    Ok((binding, after))
}
