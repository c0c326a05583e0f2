//! Attaching: offering a client each of its matches, and taking it to the provider (rules N1, N2, N3, N6).

#![allow(unsafe_code)] // Calls the modules' callbacks and follows pointers into the registry.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use nt_abi::NtStatus;
use nt_abi::nmr::{NPI_CLIENT_ATTACH_PROVIDER_FN, NPI_PROVIDER_ATTACH_CLIENT_FN, NPI_REGISTRATION_INSTANCE};

use crate::characteristics::Characteristics;
use crate::event::{Event, emit, fault};
use crate::kernel::{irql, thread};
use crate::registry::{Binding, Registry, lock, retire};
use crate::state::{AfterAttach, Misuse};
use crate::{Kind, Side, detach};

/// Takes every binding that this registration made through its attach. The registration is marked as offering.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn offer_all(handle: usize, side: Side) {
    loop {
        // A statement of its own: the lock goes with it.
        let next = lock().next_offer(handle, side);
        let Some((binding, call)) = next else { break };
        attach(binding, &call);
    }
    let registry = lock();
    if let Some(mut module) = registry.module(side, handle) {
        // SAFETY: listed (it is marked as offering until here), and the lock is held.
        let module = unsafe { module.as_mut() };
        module.offering = false;
        module.signal_if_done();
    }
}

/// What calling ClientAttachProvider takes.
struct ClientCall {
    callback: NPI_CLIENT_ATTACH_PROVIDER_FN,
    binding: usize,
    context: *mut c_void,
    provider: *const NPI_REGISTRATION_INSTANCE,
    event: Event,
    moved: bool,
}

impl Registry {
    fn next_offer(&mut self, handle: usize, side: Side) -> Option<(NonNull<Binding>, ClientCall)> {
        let mut found = self.find_binding(|b| b.offered_by == side && b.module(side).handle == handle && b.state.is_offered())?;
        // SAFETY: listed, and the lock is held.
        let binding = unsafe { found.as_mut() };
        binding.state.begin_attach();
        let client = binding.module(Side::Client);
        let Characteristics::Client(copy, _) = client.snapshot.characteristics else { unreachable!() };
        let Some(callback) = copy.ClientAttachProvider else { unreachable!() };
        let call = ClientCall {
            callback,
            binding: binding.handle,
            context: client.context,
            provider: binding.module(Side::Provider).snapshot.characteristics.original_instance(),
            event: binding.event(Kind::AttachCall, Side::Client),
            moved: client.snapshot.changed(),
        };
        binding.client_end.thread = thread();
        Some((found, call))
    }
}

fn attach(mut binding: NonNull<Binding>, call: &ClientCall) {
    if call.moved {
        violation(&call.event, "L03", CHANGED);
    }
    emit(&call.event);
    let before = irql();
    // SAFETY: the client's own callback with its own context; the provider's instance stays while it is bound.
    let status = unsafe { (call.callback)(call.binding as *mut c_void, call.context, call.provider) };
    if irql() != before {
        violation(&call.event, "IRQL", "ClientAttachProvider returned at another IRQL than it was called at");
    }
    emit(&Event { kind: Kind::AttachReturn { status }, ..call.event });
    let (after, misuse) = {
        let _registry = lock();
        // SAFETY: the binding is not freed while its attach is running, and the lock is held.
        let it = unsafe { binding.as_mut() };
        it.client_end.thread = 0;
        let deregistering = it.deregistering();
        it.state.end_attach(status == NtStatus::SUCCESS, deregistering)
    };
    if let Some(Misuse { rule, text }) = misuse {
        violation(&call.event, rule, text);
    }
    match after {
        AfterAttach::Stay | AfterAttach::Wait => {}
        AfterAttach::Detach => detach::call_both(binding),
        AfterAttach::Cleanup => detach::clean_up(binding),
        AfterAttach::Gone => retire(binding),
    }
}

/// What NmrClientAttachProvider was given.
pub(crate) struct Request {
    pub binding: usize,
    pub context: *mut c_void,
    pub dispatch: *const c_void,
}

/// What the provider gave in return.
pub(crate) struct Answer {
    pub context: *mut c_void,
    pub dispatch: *const c_void,
}

/// NmrClientAttachProvider: takes the client to the provider.
///
/// # IRQL
/// PASSIVE_LEVEL
pub(crate) fn attach_provider(request: &Request) -> Result<Answer, NtStatus> {
    if let Some(status) = fault("NmrClientAttachProvider") {
        return Err(status);
    }
    let begun = lock().begin_provider_attach(request);
    let (mut binding, call) = match begun {
        Ok(begun) => begun,
        Err((event, Misuse { rule, text })) => {
            violation(&event, rule, text);
            return Err(NtStatus::INVALID_PARAMETER);
        }
    };
    let mut answer = Answer { context: ptr::null_mut(), dispatch: ptr::null() };
    let status = call_provider(&call, request, &mut answer);
    let _registry = lock();
    // SAFETY: the client's attach is running (we are inside it), so the binding is not freed; the lock is held.
    let it = unsafe { binding.as_mut() };
    it.provider_end.thread = 0;
    (it.provider_end.context, it.provider_end.dispatch) = (answer.context, answer.dispatch);
    it.state.end_provider_attach(status == NtStatus::SUCCESS);
    if status == NtStatus::SUCCESS { Ok(answer) } else { Err(status) }
}

/// What calling ProviderAttachClient takes.
struct ProviderCall {
    callback: NPI_PROVIDER_ATTACH_CLIENT_FN,
    context: *mut c_void,
    client: *const NPI_REGISTRATION_INSTANCE,
    event: Event,
    moved: bool,
}

fn call_provider(call: &ProviderCall, request: &Request, answer: &mut Answer) -> NtStatus {
    if call.moved {
        violation(&call.event, "L03", CHANGED);
    }
    emit(&call.event);
    let before = irql();
    // SAFETY: the provider's own callback with its own context; the client's instance stays while it is bound.
    let mut status = unsafe {
        (call.callback)(
            request.binding as *mut c_void,
            call.context,
            call.client,
            request.context,
            request.dispatch,
            &mut answer.context,
            &mut answer.dispatch,
        )
    };
    if irql() != before {
        violation(&call.event, "IRQL", "ProviderAttachClient returned at another IRQL than it was called at");
    }
    if status == NtStatus::PENDING {
        violation(&call.event, "N2", "ProviderAttachClient returned STATUS_PENDING: an attach does not pend");
        status = NtStatus::UNSUCCESSFUL;
    }
    emit(&Event { kind: Kind::AttachReturn { status }, ..call.event });
    status
}

impl Registry {
    fn begin_provider_attach(&mut self, request: &Request) -> Result<(NonNull<Binding>, ProviderCall), (Event, Misuse)> {
        let Some(mut found) = self.binding(request.binding) else {
            let kind = Kind::AttachCall;
            let context = request.context as usize;
            let event =
                Event { kind, side: Side::Client, registration: 0, binding: request.binding, context, characteristics: 0 };
            let text = "NmrClientAttachProvider called with a handle that is stale or was never given out";
            return Err((event, Misuse { rule: "N2", text }));
        };
        // SAFETY: listed, and the lock is held.
        let binding = unsafe { found.as_mut() };
        if let Err(misuse) = binding.state.begin_provider_attach() {
            return Err((binding.event(Kind::AttachCall, Side::Client), misuse));
        }
        (binding.client_end.context, binding.client_end.dispatch) = (request.context, request.dispatch);
        binding.provider_end.thread = thread();
        let provider = binding.module(Side::Provider);
        let Characteristics::Provider(copy, _) = provider.snapshot.characteristics else { unreachable!() };
        let Some(callback) = copy.ProviderAttachClient else { unreachable!() };
        let call = ProviderCall {
            callback,
            context: provider.context,
            client: binding.module(Side::Client).snapshot.characteristics.original_instance(),
            event: binding.event(Kind::AttachCall, Side::Provider),
            moved: provider.snapshot.changed(),
        };
        Ok((found, call))
    }
}

/// What L03 says.
pub(crate) const CHANGED: &str = "the characteristics, the interface's id or the module's id changed while registered";

/// Reports that the module of `event` broke a rule.
pub(crate) fn violation(event: &Event, rule: &'static str, text: &'static str) {
    emit(&Event { kind: Kind::Violation { rule, text }, ..*event });
}
