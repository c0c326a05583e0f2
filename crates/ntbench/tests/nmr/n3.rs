//! N3: a refused attach produces no detach and no cleanup callback.

use nmr::{Choice, Config, Deregister};
use nt_abi::NtStatus;

use crate::support::*;

#[test]
fn n3_an_attach_that_the_client_refuses_produces_no_further_callback() {
    let _running = start();
    let on_offer = Box::new(|_| Some(NtStatus::NOINTERFACE));
    let (client, provider) = (client(Behaviour { on_offer, ..Behaviour::default() }), provider(Behaviour::default()));
    client.register();
    provider.register();
    provider.leave();
    client.leave();
    assert_eq!(client.counts(), [1, 0, 0, 0]);
    assert_eq!(provider.counts(), [0; 4]);
    assert!(violations().is_empty());
}

#[test]
fn n3_an_attach_that_the_provider_refuses_produces_no_further_callback() {
    let _running = start_with(Config { early_detach: Choice::Always, ..Config::default() });
    let provider = provider(Behaviour { on_attach: Box::new(|_| NtStatus::NOINTERFACE), ..Behaviour::default() });
    let client = client(Behaviour::default());
    provider.register();
    client.register();
    client.leave();
    provider.leave();
    assert_eq!(client.counts(), [1, 0, 0, 0]);
    assert_eq!(provider.counts(), [1, 0, 0, 0]);
    assert!(violations().is_empty());
}

#[test]
fn n3_a_refused_binding_holds_no_deregistration_up() {
    let _running = start_with(Config { deregister: Deregister::AtOnce, ..Config::default() });
    let on_offer = Box::new(|_| Some(NtStatus::NOINTERFACE));
    let (client, provider) = (client(Behaviour { on_offer, ..Behaviour::default() }), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(client.deregister(), NtStatus::SUCCESS);
    assert_eq!(provider.deregister(), NtStatus::SUCCESS);
    assert!(violations().is_empty());
}
