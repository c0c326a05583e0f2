//! N5: deregistering returns STATUS_PENDING, or in a mode STATUS_SUCCESS when all has finished at once. Waiting before
//! deregistering, or on a stale handle: STATUS_INVALID_PARAMETER.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use nmr::{Config, Deregister, Side};
use nt_abi::NtStatus;

use crate::support::*;

const POSSIBLE_DEADLOCK: NtStatus = NtStatus(0xC000_0194_u32 as i32);

#[test]
fn n5_deregister_returns_pending_even_if_all_has_finished() {
    let _running = start();
    let (client, provider) = (client(Behaviour::default()), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    assert_eq!(provider.deregister(), NtStatus::PENDING);
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    assert_eq!(provider.wait(), NtStatus::SUCCESS);
    assert!(violations().is_empty());
}

#[test]
fn n5_deregister_returns_success_in_that_mode_when_all_finished_at_once() {
    let _running = start_with(Config { deregister: Deregister::AtOnce, ..Config::default() });
    let on_detach = Box::new(|_: &Bound| NtStatus::PENDING);
    let (client, provider) = (client(Behaviour { on_detach, ..Behaviour::default() }), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(client.deregister(), NtStatus::PENDING, "the detach is pending");
    client.only().complete();
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    assert_eq!(provider.deregister(), NtStatus::SUCCESS);
    assert!(violations().is_empty());
    assert_eq!(provider.wait(), NtStatus::INVALID_PARAMETER, "the handle went with STATUS_SUCCESS");
    assert_eq!(violations(), ["N5"]);
}

#[test]
fn n5_waiting_before_deregistering_is_refused() {
    let _running = start();
    for side in [Side::Client, Side::Provider] {
        let module = Module::new(side, NPI, Behaviour::default());
        module.register();
        assert_eq!(wait(side, module.handle.load(Ordering::SeqCst)), NtStatus::INVALID_PARAMETER);
        module.leave();
    }
    assert_eq!(violations(), ["N5"; 2]);
}

#[test]
fn n5_stale_and_foreign_handles_are_answered() {
    let _running = start();
    let client = client(Behaviour::default());
    client.register();
    let handle = client.handle.load(Ordering::SeqCst);
    assert_eq!(deregister(Side::Provider, handle), NtStatus::INVALID_PARAMETER, "a handle of the other side");
    client.leave();
    for stale in [handle, 0, 1, usize::MAX, &raw const handle as usize] {
        for side in [Side::Client, Side::Provider] {
            assert_eq!(deregister(side, stale), NtStatus::INVALID_PARAMETER);
            assert_eq!(wait(side, stale), NtStatus::INVALID_PARAMETER);
        }
    }
    assert_eq!(violations(), vec!["N5"; 21]);
}

#[test]
fn n5_deregistering_twice_is_refused_and_harmless() {
    let _running = start();
    let client = client(Behaviour::default());
    client.register();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    assert_eq!(client.deregister(), NtStatus::INVALID_PARAMETER);
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    assert_eq!(violations(), ["N5"]);
}

#[test]
fn n5_several_may_wait() {
    let _running = start();
    let on_detach = Box::new(|_: &Bound| NtStatus::PENDING);
    let (client, provider) = (client(Behaviour { on_detach, ..Behaviour::default() }), provider(Behaviour::default()));
    client.register();
    provider.register();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    let waiters: Vec<_> = (0..4).map(|_| client.clone()).map(|client| thread::spawn(move || client.wait())).collect();
    until("four waits", || events().iter().filter(|event| event.kind == nmr::Kind::WaitBegin).count() == 4);
    // All four are counted as waiters before the last of them sleeps; give that one time to.
    thread::sleep(std::time::Duration::from_millis(50));
    client.only().complete();
    waiters.into_iter().for_each(|waiter| assert_eq!(waiter.join().unwrap(), NtStatus::SUCCESS));
    provider.leave();
    assert!(violations().is_empty());
}

#[test]
fn n5_faults_make_deregister_and_wait_answer_an_error() {
    let _running = start();
    let client = client(Behaviour::default());
    client.register();
    nmr::faults(|name| (name == "NmrDeregisterClient").then_some(NtStatus::UNSUCCESSFUL));
    assert_eq!(client.deregister(), NtStatus::UNSUCCESSFUL);
    nmr::faults(|name| (name == "NmrWaitForClientDeregisterComplete").then_some(NtStatus::UNSUCCESSFUL));
    assert_eq!(client.deregister(), NtStatus::PENDING);
    assert_eq!(client.wait(), NtStatus::UNSUCCESSFUL);
    nmr::faults(|_| None);
    assert_eq!(client.wait(), NtStatus::SUCCESS);
}

#[test]
fn l30_waiting_inside_a_callback_is_refused() {
    let _running = start();
    let answer = Arc::new(AtomicI32::new(0));
    let client_slot: Arc<std::sync::Mutex<Option<Arc<Module>>>> = Arc::default();
    let on_detach = {
        let (answer, slot) = (answer.clone(), client_slot.clone());
        Box::new(move |_: &Bound| {
            let handle = slot.lock().unwrap().as_ref().unwrap().handle.load(Ordering::SeqCst);
            answer.store(wait(Side::Client, handle).0, Ordering::SeqCst);
            NtStatus::SUCCESS
        })
    };
    let (client, provider) = (client(Behaviour { on_detach, ..Behaviour::default() }), provider(Behaviour::default()));
    *client_slot.lock().unwrap() = Some(client.clone());
    client.register();
    provider.register();
    client.leave();
    provider.leave();
    assert_eq!(NtStatus(answer.load(Ordering::SeqCst)), POSSIBLE_DEADLOCK);
    assert_eq!(violations(), ["L30"]);
}
