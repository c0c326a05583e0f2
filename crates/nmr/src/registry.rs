//! The registrations and bindings that exist, under one lock: two linked lists and a counter that makes handles.
//!
//! A handle is a number that was never given out before, made to look like no address. Looking one up walks a list;
//! there are few, and a stale handle cannot be mistaken for a new one.

#![allow(unsafe_code)] // The lists are made of raw pointers to pool blocks.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use crate::characteristics::Snapshot;
use crate::kernel::{Event, Guard, Locked, free};
use crate::state::State;
use crate::{Kind, Side, event};

/// Everything the registrar knows.
pub(crate) struct Registry {
    registrations: *mut Module,
    bindings: *mut Binding,
    last: u64,
}

static REGISTRY: Locked<Registry> = Locked::new(Registry { registrations: ptr::null_mut(), bindings: ptr::null_mut(), last: 0 });

/// Takes the registrar's lock.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn lock() -> Guard<Registry> {
    REGISTRY.lock()
}

/// One registration.
pub(crate) struct Module {
    next: *mut Module,
    pub handle: usize,
    pub snapshot: Snapshot,
    pub context: *mut c_void,
    /// Bindings that are not gone yet.
    pub bindings: u32,
    /// A thread still walks the bindings that this registration made.
    pub offering: bool,
    pub deregistering: bool,
    pub waiters: u32,
    /// Set once the deregistration is complete.
    pub done: Event,
}

impl Module {
    pub fn new(snapshot: Snapshot, context: *mut c_void) -> Module {
        Module {
            next: ptr::null_mut(),
            handle: 0,
            snapshot,
            context,
            bindings: 0,
            offering: false,
            deregistering: false,
            waiters: 0,
            done: Event::new(),
        }
    }

    pub fn side(&self) -> Side {
        self.snapshot.characteristics.side()
    }

    /// Whether nothing of this registration is left to be waited for.
    pub fn is_done(&self) -> bool {
        self.deregistering && self.bindings == 0 && !self.offering
    }

    /// Wakes those who wait, if it is done. Called with the lock held, so that they cannot free it before.
    pub fn signal_if_done(&self) {
        if self.is_done() {
            self.done.set();
        }
    }

    /// An event about this registration.
    pub fn event(&self, kind: Kind, binding: usize) -> event::Event {
        event::Event {
            kind,
            side: self.side(),
            registration: self.handle,
            binding,
            context: self.context as usize,
            characteristics: self.snapshot.characteristics.address(),
        }
    }
}

/// One client and one provider.
pub(crate) struct Binding {
    next: *mut Binding,
    pub handle: usize,
    /// Alive as long as the binding is counted in them.
    pub client: NonNull<Module>,
    pub provider: NonNull<Module>,
    /// Whose registration made the offer.
    pub offered_by: Side,
    pub state: State,
    pub client_end: End,
    pub provider_end: End,
}

/// What one side gave the binding.
#[derive(Clone, Copy)]
pub(crate) struct End {
    pub context: *mut c_void,
    pub dispatch: *const c_void,
    /// The thread that is inside a callback of this side's, or 0.
    pub thread: usize,
}

impl End {
    const EMPTY: End = End { context: ptr::null_mut(), dispatch: ptr::null(), thread: 0 };
}

impl Binding {
    pub fn new() -> Binding {
        Binding {
            next: ptr::null_mut(),
            handle: 0,
            client: NonNull::dangling(),
            provider: NonNull::dangling(),
            offered_by: Side::Client,
            state: State::new(),
            client_end: End::EMPTY,
            provider_end: End::EMPTY,
        }
    }

    /// Puts another in its place behind this one and returns the one that was there. For chains off the list.
    pub fn chain(&mut self, next: *mut Binding) -> *mut Binding {
        core::mem::replace(&mut self.next, next)
    }

    pub fn module(&self, side: Side) -> &Module {
        let module = match side {
            Side::Client => self.client,
            Side::Provider => self.provider,
        };
        // SAFETY: a listed binding is counted in both registrations, and counted ones are not freed.
        unsafe { module.as_ref() }
    }

    pub fn end(&mut self, side: Side) -> &mut End {
        match side {
            Side::Client => &mut self.client_end,
            Side::Provider => &mut self.provider_end,
        }
    }

    /// Whether one of its modules is on its way out.
    pub fn deregistering(&self) -> bool {
        self.module(Side::Client).deregistering || self.module(Side::Provider).deregistering
    }

    /// An event about one side of this binding.
    pub fn event(&self, kind: Kind, side: Side) -> event::Event {
        let end = if side == Side::Client { &self.client_end } else { &self.provider_end };
        let mut event = self.module(side).event(kind, self.handle);
        if !end.context.is_null() {
            event.context = end.context as usize;
        }
        event
    }
}

/// What [`census`] tells of a registration that exists.
#[derive(Clone, Copy, Debug)]
pub struct Registration {
    /// Its role.
    pub side: Side,
    /// Its handle.
    pub handle: usize,
    /// Address of its characteristics: tells which image it belongs to.
    pub characteristics: usize,
    /// Bindings it has.
    pub bindings: u32,
    /// Whether it has been deregistered (and not been waited for).
    pub deregistering: bool,
}

/// Calls `visit` for every registration that exists, oldest last. The lock is held: `visit` must not call back.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub fn census(visit: &mut dyn FnMut(&Registration)) {
    let registry = lock();
    registry.each_module(|module| {
        visit(&Registration {
            side: module.side(),
            handle: module.handle,
            characteristics: module.snapshot.characteristics.address(),
            bindings: module.bindings,
            deregistering: module.deregistering,
        });
    });
}

/// Handles of registrations and bindings begin here: no address on x86-64 does.
const HANDLES: u64 = 0x4E4D_5200_0000_0000;

impl Registry {
    /// A handle that was never given out before.
    fn next_handle(&mut self) -> usize {
        self.last += 1;
        (HANDLES + self.last * 4) as usize
    }

    pub fn insert_module(&mut self, mut module: NonNull<Module>) -> usize {
        let handle = self.next_handle();
        // SAFETY: the block is the caller's until it is listed here.
        let it = unsafe { module.as_mut() };
        it.handle = handle;
        it.next = self.registrations;
        self.registrations = module.as_ptr();
        handle
    }

    pub fn insert_binding(&mut self, mut binding: NonNull<Binding>, client: NonNull<Module>, provider: NonNull<Module>) {
        let handle = self.next_handle();
        // SAFETY: the block is the caller's until it is listed here.
        let it = unsafe { binding.as_mut() };
        it.handle = handle;
        (it.client, it.provider) = (client, provider);
        it.next = self.bindings;
        self.bindings = binding.as_ptr();
        for mut module in [client, provider] {
            // SAFETY: both registrations are listed, and the lock is held.
            unsafe { module.as_mut().bindings += 1 };
        }
    }

    /// Takes a binding off the list and out of its registrations' counts. Who calls this frees it.
    pub fn remove_binding(&mut self, binding: NonNull<Binding>) {
        let mut link = &raw mut self.bindings;
        // SAFETY: the list consists of live bindings, and the lock is held.
        unsafe {
            while *link != binding.as_ptr() {
                link = &raw mut (**link).next;
            }
            *link = (*binding.as_ptr()).next;
        }
        // SAFETY: as above.
        let (client, provider) = unsafe { (binding.as_ref().client, binding.as_ref().provider) };
        for mut module in [client, provider] {
            // SAFETY: the binding was counted in it until now, so it is alive.
            let module = unsafe { module.as_mut() };
            module.bindings -= 1;
            module.signal_if_done();
        }
    }

    /// Takes a registration off the list. Who calls this frees it.
    pub fn remove_module(&mut self, module: NonNull<Module>) {
        let mut link = &raw mut self.registrations;
        // SAFETY: the list consists of live registrations, and the lock is held.
        unsafe {
            while *link != module.as_ptr() {
                link = &raw mut (**link).next;
            }
            *link = (*module.as_ptr()).next;
        }
    }

    pub fn module(&self, side: Side, handle: usize) -> Option<NonNull<Module>> {
        self.find_module(|module| module.handle == handle && module.side() == side)
    }

    pub fn binding(&self, handle: usize) -> Option<NonNull<Binding>> {
        self.find_binding(|binding| binding.handle == handle)
    }

    pub fn find_module(&self, wanted: impl Fn(&Module) -> bool) -> Option<NonNull<Module>> {
        let mut at = self.registrations;
        // SAFETY: the list consists of live registrations, and the lock is held.
        while let Some(module) = unsafe { at.as_ref() } {
            if wanted(module) {
                return NonNull::new(at);
            }
            at = module.next;
        }
        None
    }

    pub fn find_binding(&self, wanted: impl Fn(&Binding) -> bool) -> Option<NonNull<Binding>> {
        let mut at = self.bindings;
        // SAFETY: the list consists of live bindings, and the lock is held.
        while let Some(binding) = unsafe { at.as_ref() } {
            if wanted(binding) {
                return NonNull::new(at);
            }
            at = binding.next;
        }
        None
    }

    pub fn each_module(&self, mut visit: impl FnMut(&Module)) {
        let mut at = self.registrations;
        // SAFETY: as in `find_module`.
        while let Some(module) = unsafe { at.as_ref() } {
            visit(module);
            at = module.next;
        }
    }
}

/// Takes a binding away for good, without the lock.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn retire(binding: NonNull<Binding>) {
    lock().remove_binding(binding);
    // SAFETY: it is off the list, and by the invariant of the crate no other thread uses it.
    unsafe { free(binding) };
}
