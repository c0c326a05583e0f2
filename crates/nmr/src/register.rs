//! Registering, deregistering, waiting (rules N1, N4, N5).

#![allow(unsafe_code)] // Follows pointers into the registry while it holds the lock or a count.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nt_abi::NtStatus;

use crate::attach::{CHANGED, violation};
use crate::characteristics::{Characteristics, Snapshot, check};
use crate::config::{AT_ONCE, EARLY, LATE};
use crate::event::{Event, emit, fault};
use crate::kernel::{allocate, free, spawn, thread, wait};
use crate::registry::{Binding, Module, Registry, lock};
use crate::state::BeginDetach;
use crate::{Kind, Side, attach, detach};

/// STATUS_POSSIBLE_DEADLOCK.
const POSSIBLE_DEADLOCK: NtStatus = NtStatus(0xC000_0194_u32 as i32);

/// Registers a module and offers it to the other side, at once or later.
///
/// # Safety
/// The characteristics were copied from where they say they are; `handle` may be written.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) unsafe fn register(
    name: &'static str,
    characteristics: Characteristics,
    context: *mut c_void,
    handle: *mut *mut c_void,
) -> NtStatus {
    let event = |kind| nobody(&characteristics, context, kind);
    if let Some(status) = fault(name) {
        emit(&event(Kind::Register { status }));
        return status;
    }
    // SAFETY: the caller's characteristics point to what the pages say they point to.
    if let Err(text) = unsafe { check(&characteristics) } {
        let status = NtStatus::INVALID_PARAMETER;
        emit(&event(Kind::Violation { rule: "N1", text }));
        emit(&event(Kind::Register { status }));
        return status;
    }
    // SAFETY: as above.
    let snapshot = unsafe { Snapshot::take(characteristics) };
    let Some(made) = insert(Module::new(snapshot, context)) else {
        let status = NtStatus::INSUFFICIENT_RESOURCES;
        emit(&event(Kind::Register { status }));
        return status;
    };
    emit(&made.event);
    offer(&made);
    // SAFETY: the caller's promise. Written last: no callback may use it (L02).
    unsafe { handle.write(made.handle as *mut c_void) };
    NtStatus::SUCCESS
}

/// An event about a module that is not registered.
fn nobody(characteristics: &Characteristics, context: *mut c_void, kind: Kind) -> Event {
    let (side, at) = (characteristics.side(), characteristics.address());
    Event { kind, side, registration: 0, binding: 0, context: context as usize, characteristics: at }
}

struct Made {
    handle: usize,
    offers: usize,
    event: Event,
}

/// Lists a registration together with a binding for every module that it matches, or nothing at all.
fn insert(module: Module) -> Option<Made> {
    let mut module = allocate(module)?;
    // SAFETY: not listed yet, so ours alone.
    unsafe { module.as_ref().done.initialize() };
    let mut spare = Spare::EMPTY;
    loop {
        let mut registry = lock();
        // SAFETY: as above.
        let wanted = registry.count_matches(unsafe { module.as_ref() });
        if spare.count >= wanted {
            let handle = registry.insert_module(module);
            registry.make_offers(module, &mut spare);
            // SAFETY: listed now, and the lock is held.
            let it = unsafe { module.as_mut() };
            it.offering = wanted > 0;
            let event = it.event(Kind::Register { status: NtStatus::SUCCESS }, 0);
            drop(registry);
            spare.free();
            return Some(Made { handle, offers: wanted, event });
        }
        drop(registry);
        if !spare.grow(wanted) {
            spare.free();
            // SAFETY: never listed.
            unsafe { free(module) };
            return None;
        }
    }
}

/// Bindings allocated before they are needed, so that nothing fails under the lock.
struct Spare {
    top: *mut Binding,
    count: usize,
}

impl Spare {
    const EMPTY: Spare = Spare { top: ptr::null_mut(), count: 0 };

    fn grow(&mut self, wanted: usize) -> bool {
        while self.count < wanted {
            let Some(mut binding) = allocate(Binding::new()) else { return false };
            // SAFETY: fresh, ours alone.
            unsafe { binding.as_mut() }.chain(self.top);
            self.top = binding.as_ptr();
            self.count += 1;
        }
        true
    }

    fn pop(&mut self) -> Option<NonNull<Binding>> {
        let mut top = NonNull::new(self.top)?;
        // SAFETY: on this chain, ours alone.
        self.top = unsafe { top.as_mut() }.chain(ptr::null_mut());
        self.count -= 1;
        Some(top)
    }

    fn free(mut self) {
        while let Some(binding) = self.pop() {
            // SAFETY: taken off the chain, never listed.
            unsafe { free(binding) };
        }
    }
}

impl Registry {
    fn matches(module: &Module, other: &Module) -> bool {
        other.side() != module.side() && other.snapshot.npi == module.snapshot.npi && !other.deregistering
    }

    fn count_matches(&self, module: &Module) -> usize {
        let mut count = 0;
        self.each_module(|other| count += usize::from(Registry::matches(module, other)));
        count
    }

    /// Makes one binding with each match. The newcomer is listed first, and does not match itself.
    fn make_offers(&mut self, new: NonNull<Module>, spare: &mut Spare) {
        // SAFETY: listed, and the lock is held.
        let newcomer = unsafe { new.as_ref() };
        let mut last = newcomer.handle;
        // Handles fall along the list: each step finds the youngest match that is older than the last one.
        while let Some(other) = self.find_module(|m| m.handle < last && Registry::matches(newcomer, m)) {
            let Some(mut binding) = spare.pop() else { return };
            // SAFETY: as above.
            last = unsafe { other.as_ref() }.handle;
            // SAFETY: fresh from the pool, ours until it is listed.
            unsafe { binding.as_mut() }.offered_by = newcomer.side();
            match newcomer.side() {
                Side::Client => self.insert_binding(binding, new, other),
                Side::Provider => self.insert_binding(binding, other, new),
            }
        }
    }
}

fn offer(made: &Made) {
    if made.offers == 0 {
        return;
    }
    if LATE.decide() && spawn(late, made.handle as *mut c_void) {
        return;
    }
    attach::offer_all(made.handle, made.event.side);
}

/// The thread of a late attach.
///
/// # IRQL
/// PASSIVE_LEVEL
unsafe extern "win64" fn late(context: *mut c_void) {
    let handle = context as usize;
    if LATE.is_random() {
        crate::kernel::sleep_microseconds((crate::config::random() % 2000) as i64);
    }
    let side = if lock().module(Side::Client, handle).is_some() { Side::Client } else { Side::Provider };
    attach::offer_all(handle, side);
}

/// Deregisters a module: calls detach for each of its bindings.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn deregister(name: &'static str, side: Side, handle: usize) -> NtStatus {
    let event = |kind| known_or_not(side, handle, kind);
    if let Some(status) = fault(name) {
        emit(&event(Kind::Deregister { status }));
        return status;
    }
    let call = event(Kind::DeregisterCall);
    emit(&call);
    if let Err(text) = begin_deregister(side, handle) {
        let status = NtStatus::INVALID_PARAMETER;
        emit(&Event { kind: Kind::Violation { rule: "N5", text }, ..call });
        emit(&Event { kind: Kind::Deregister { status }, ..call });
        return status;
    }
    detach_all(side, handle);
    let status = if AT_ONCE.decide() && take_if_done(side, handle) { NtStatus::SUCCESS } else { NtStatus::PENDING };
    emit(&Event { kind: Kind::Deregister { status }, ..call });
    status
}

fn begin_deregister(side: Side, handle: usize) -> Result<(), &'static str> {
    let registry = lock();
    let Some(mut module) = registry.module(side, handle) else {
        return Err("deregistering with a handle that is stale or was never given out");
    };
    // SAFETY: listed, and the lock is held.
    let module = unsafe { module.as_mut() };
    if module.deregistering {
        return Err("deregistering twice");
    }
    module.deregistering = true;
    module.signal_if_done();
    Ok(())
}

/// Begins the detach of every binding that can be detached now; the others are seen to by those who attach them (N6).
fn detach_all(side: Side, handle: usize) {
    let early = EARLY.decide();
    loop {
        let mut registry = lock();
        let Some(mut binding) = registry.find_binding(|b| b.module(side).handle == handle && b.state.can_begin_detach(early))
        else {
            return;
        };
        // SAFETY: listed, and the lock is held.
        let begin = unsafe { binding.as_mut() }.state.begin_detach(early);
        if begin == BeginDetach::Withdrawn {
            registry.remove_binding(binding);
        }
        drop(registry);
        match begin {
            // SAFETY: off the list, and it was never begun: nobody uses it.
            BeginDetach::Withdrawn => unsafe { free(binding) },
            BeginDetach::Call => detach::call_both(binding),
            BeginDetach::Leave => {}
        }
    }
}

/// Forgets a registration whose deregistration is complete and for which nobody waits.
fn take_if_done(side: Side, handle: usize) -> bool {
    let mut registry = lock();
    let Some(module) = registry.module(side, handle) else { return false };
    // SAFETY: listed, and the lock is held.
    let it = unsafe { module.as_ref() };
    if !it.is_done() || it.waiters > 0 {
        return false;
    }
    registry.remove_module(module);
    drop(registry);
    // SAFETY: off the list, done, and without waiters.
    unsafe { forget(module) };
    true
}

/// Waits until a deregistration is complete.
///
/// # IRQL
/// < DISPATCH_LEVEL
pub(crate) fn wait_for_deregister(name: &'static str, side: Side, handle: usize) -> NtStatus {
    let begin = known_or_not(side, handle, Kind::WaitBegin);
    emit(&begin);
    let status = match fault(name) {
        Some(status) => status,
        None => match begin_wait(side, handle) {
            Ok((module, object)) => {
                // SAFETY: the registration stays while it has a waiter.
                unsafe { wait(object) };
                end_wait(module);
                NtStatus::SUCCESS
            }
            Err((rule, text, status)) => {
                emit(&Event { kind: Kind::Violation { rule, text }, ..begin });
                status
            }
        },
    };
    emit(&Event { kind: Kind::WaitReturn { status }, ..begin });
    status
}

type WaitRefused = (&'static str, &'static str, NtStatus);

fn begin_wait(side: Side, handle: usize) -> Result<(NonNull<Module>, *mut c_void), WaitRefused> {
    let registry = lock();
    let Some(mut module) = registry.module(side, handle) else {
        return Err(("N5", "waiting with a handle that is stale or was never given out", NtStatus::INVALID_PARAMETER));
    };
    // SAFETY: listed, and the lock is held.
    let it = unsafe { module.as_mut() };
    if !it.deregistering {
        return Err(("N5", "waiting before deregistering", NtStatus::INVALID_PARAMETER));
    }
    let me = thread();
    if registry.find_binding(|b| b.client_end.thread == me || b.provider_end.thread == me).is_some() {
        return Err(("L30", "waiting for a deregistration inside a callback of the registrar's", POSSIBLE_DEADLOCK));
    }
    it.waiters += 1;
    let object = it.done.object();
    Ok((module, object))
}

fn end_wait(mut module: NonNull<Module>) {
    let mut registry = lock();
    // SAFETY: this waiter is still counted in it, and the lock is held.
    let it = unsafe { module.as_mut() };
    it.waiters -= 1;
    if it.waiters > 0 {
        return;
    }
    registry.remove_module(module);
    drop(registry);
    // SAFETY: off the list, done, and this was the last waiter.
    unsafe { forget(module) };
}

/// The end of a registration: what the module promised to keep has been needed until here (L03).
///
/// # Safety
/// The registration is off the list and nobody uses it.
unsafe fn forget(module: NonNull<Module>) {
    // SAFETY: the caller's promise.
    let it = unsafe { module.as_ref() };
    if it.snapshot.changed() {
        violation(&it.event(Kind::DeregisterCall, 0), "L03", CHANGED);
    }
    // SAFETY: the caller's promise.
    unsafe { free(module) };
}

/// An event about a handle, which may be nobody's.
pub(crate) fn known_or_not(side: Side, handle: usize, kind: Kind) -> Event {
    let registry = lock();
    match registry.module(side, handle) {
        // SAFETY: listed, and the lock is held.
        Some(module) => unsafe { module.as_ref() }.event(kind, 0),
        None => Event { kind, side, registration: handle, binding: 0, context: 0, characteristics: 0 },
    }
}
