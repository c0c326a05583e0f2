//! N1: registering one side alone calls nothing; with the second side, in either order, attach happens: before that call
//! returns, or later on a worker.

use std::sync::Arc;

use nmr::{Attach, Config, Kind, Side};
use nt_abi::NtStatus;

use crate::support::*;

#[test]
fn n1_registering_one_side_alone_calls_nothing() {
    let _running = start();
    for side in [Side::Client, Side::Provider] {
        let (one, two) = (Module::new(side, NPI, Behaviour::default()), Module::new(side, NPI, Behaviour::default()));
        one.register();
        two.register();
        one.leave();
        two.leave();
        assert_eq!(one.counts(), [0; 4]);
        assert_eq!(two.counts(), [0; 4]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n1_attaches_before_the_second_registration_returns_in_either_order() {
    let _running = start();
    for client_first in [true, false] {
        let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
        let (first, second) = if client_first { (&client, &provider) } else { (&provider, &client) };
        first.register();
        assert_eq!(first.counts(), [0; 4]);
        second.register();
        assert_eq!(client.counts(), [1, 1, 0, 0]);
        assert_eq!(provider.counts(), [1, 1, 0, 0]);
        first.leave();
        second.leave();
    }
    assert!(violations().is_empty());
}

#[test]
fn n1_attaches_later_on_a_worker() {
    let _running = start_with(Config { attach: Attach::Late, ..Config::default() });
    for client_first in [true, false] {
        let here = std::thread::current().id();
        let returned = Gate::new();
        let gate = returned.clone();
        let on_offer = Box::new(move |_| {
            gate.wait();
            check(std::thread::current().id() != here, "attached on the registering thread");
            None
        });
        let (client, provider) = (client(Behaviour { on_offer, ..Behaviour::default() }), provider(Behaviour::default()));
        let (first, second) = if client_first { (&client, &provider) } else { (&provider, &client) };
        first.register();
        second.register();
        assert_eq!(client.counts()[1], 0, "attached before the registration returned");
        returned.open();
        until("the late attach", || client.counts() == [1, 1, 0, 0]);
        second.leave();
        first.leave();
        assert_eq!(client.counts(), [1, 1, 1, 1]);
    }
    assert!(violations().is_empty());
}

#[test]
fn n1_every_client_meets_every_provider_of_its_interface_once() {
    let _running = start();
    let modules: Vec<Arc<Module>> = (0..24)
        .map(|i| {
            let side = if i % 2 == 0 { Side::Client } else { Side::Provider };
            Module::new(side, npi(1 + (i / 2) % 2), Behaviour::default())
        })
        .collect();
    modules.iter().for_each(|module| module.register());
    // 12 of each side, 6 of each side speak the same interface.
    modules.iter().for_each(|module| assert_eq!(module.counts(), [6, 6, 0, 0]));
    modules.iter().for_each(|module| module.leave());
    modules.iter().for_each(|module| assert_eq!(module.counts(), [6, 6, 6, 6]));
    assert!(violations().is_empty());
}

#[test]
fn n1_characteristics_that_make_no_sense_are_refused() {
    let _running = start();
    let spoils: [fn(&mut nt_abi::nmr::NPI_CLIENT_CHARACTERISTICS); 8] = [
        |c| c.Version = 1,
        |c| c.Length -= 1,
        |c| c.ClientAttachProvider = None,
        |c| c.ClientDetachProvider = None,
        |c| c.ClientRegistrationInstance.Version = 1,
        |c| c.ClientRegistrationInstance.Size -= 1,
        |c| c.ClientRegistrationInstance.NpiId = std::ptr::null(),
        |c| c.ClientRegistrationInstance.ModuleId = std::ptr::null(),
    ];
    for (at, spoil) in spoils.into_iter().enumerate() {
        let mut module = client(Behaviour::default());
        Module::spoil_client(&mut module, spoil);
        assert_eq!(module.try_register(), NtStatus::INVALID_PARAMETER, "spoil {at}");
        assert_eq!(violations().len(), at + 1);
    }
    let mut module = provider(Behaviour::default());
    Module::spoil_provider(&mut module, |p| p.ProviderAttachClient = None);
    assert_eq!(module.try_register(), NtStatus::INVALID_PARAMETER);
}

#[test]
fn n1_a_registration_that_fails_leaves_nothing() {
    let _running = start();
    nmr::faults(|name| (name == "NmrRegisterClient").then_some(NtStatus::INSUFFICIENT_RESOURCES));
    let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
    provider.register();
    assert_eq!(client.try_register(), NtStatus::INSUFFICIENT_RESOURCES);
    assert_eq!(provider.counts(), [0; 4]);
    provider.leave();
    let failed = Kind::Register { status: NtStatus::INSUFFICIENT_RESOURCES };
    assert!(events().iter().any(|event| event.kind == failed && event.side == Side::Client));
}

/// Registers a client, changes something of it behind the registrar's back, and lets a provider come if asked.
fn changed_while_registered(change: unsafe fn(*mut nt_abi::nmr::NPI_CLIENT_CHARACTERISTICS), provider_comes: bool) {
    let _running = start();
    let mut client = client(Behaviour::default());
    let mut at = std::ptr::null_mut();
    Module::spoil_client(&mut client, |c| at = c);
    client.register();
    // SAFETY: nobody else reads or writes it now: that is what the test is about.
    unsafe { change(at) };
    if provider_comes {
        let provider = provider(Behaviour::default());
        provider.register();
        assert_eq!(violations(), ["L03"], "at the attach");
        provider.leave();
    }
    let before = violations().len();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    assert_eq!(violations().len(), before, "it has not ended yet");
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    assert_eq!(violations()[before..], ["L03"], "before the wait returns");
}

#[test]
fn l03_characteristics_that_change_while_registered_are_a_violation() {
    // SAFETY: the pointer is good, as its giver says.
    let change = |c: *mut nt_abi::nmr::NPI_CLIENT_CHARACTERISTICS| unsafe { (*c).ClientRegistrationInstance.Number += 1 };
    changed_while_registered(change, true);
    changed_while_registered(change, false);
}

#[test]
fn l03_ids_that_change_while_registered_are_a_violation() {
    // SAFETY: the pointers lead into the module, which is there.
    let interface = |c: *mut nt_abi::nmr::NPI_CLIENT_CHARACTERISTICS| unsafe {
        (*(*c).ClientRegistrationInstance.NpiId.cast_mut()).Data4[7] ^= 1;
    };
    // SAFETY: as above.
    let module = |c: *mut nt_abi::nmr::NPI_CLIENT_CHARACTERISTICS| unsafe {
        (*(*c).ClientRegistrationInstance.ModuleId.cast_mut()).Value.Guid.Data1 ^= 1;
    };
    changed_while_registered(interface, true);
    changed_while_registered(module, true);
    changed_while_registered(module, false);
}

#[test]
fn l02_the_handle_is_not_there_while_the_registration_attaches() {
    let _running = start();
    let slot: Arc<std::sync::OnceLock<Arc<Module>>> = Arc::default();
    let on_offer = {
        let slot = slot.clone();
        Box::new(move |_| {
            let handle = slot.get().map_or(1, |module| module.handle.load(std::sync::atomic::Ordering::SeqCst));
            check(handle == 0, "a callback could use the handle");
            None
        })
    };
    let (client, provider) = (client(Behaviour { on_offer, ..Behaviour::default() }), provider(Behaviour::default()));
    assert!(slot.set(client.clone()).is_ok());
    provider.register();
    client.register();
    assert_eq!(client.counts(), [1, 1, 0, 0]);
    client.leave();
    provider.leave();
}
