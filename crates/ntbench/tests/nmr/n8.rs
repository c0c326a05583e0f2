//! N8: WSK as provider reports its own detach complete only when the client's sockets are all closed; what the client got
//! from it and did not give back is a reported violation. Here a provider that counts stands for it; the real one has its
//! own tests.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use nmr::Side;
use nt_abi::NtStatus;

use crate::support::*;

/// A provider whose detach is complete when its client has closed every socket.
struct Counting {
    sockets: Arc<AtomicUsize>,
    module: Arc<Module>,
}

impl Counting {
    fn new(open: usize) -> Counting {
        let sockets = Arc::new(AtomicUsize::new(open));
        let count = sockets.clone();
        let on_detach = Box::new(move |_: &Bound| match count.load(Ordering::SeqCst) {
            0 => NtStatus::SUCCESS,
            _ => NtStatus::PENDING,
        });
        let count = sockets.clone();
        let on_cleanup = Box::new(move |bound: &Bound| {
            if count.load(Ordering::SeqCst) != 0 {
                nmr::report("N8", "a socket was not closed", Side::Client, bound.binding);
            }
        });
        Counting { sockets, module: provider(Behaviour { on_detach, on_cleanup, ..Behaviour::default() }) }
    }

    fn close_one(&self, binding: &Bound) {
        if self.sockets.fetch_sub(1, Ordering::SeqCst) == 1 {
            binding.complete();
        }
    }
}

#[test]
fn n8_the_binding_lives_until_the_clients_sockets_are_closed() {
    let _running = start();
    let provider = Counting::new(3);
    let client = client(Behaviour::default());
    client.register();
    provider.module.register();
    let binding = provider.module.only();
    let leaving = thread::spawn({
        let client = client.clone();
        move || client.leave()
    });
    until("the detach", || provider.module.counts()[2] == 1);
    for _ in 0..2 {
        provider.close_one(&binding);
        thread::sleep(std::time::Duration::from_millis(5));
        assert!(!leaving.is_finished(), "the client was deregistered with sockets open");
        assert_eq!(client.counts()[3], 0);
    }
    provider.close_one(&binding);
    leaving.join().unwrap();
    assert_eq!(client.counts(), [1; 4]);
    provider.module.leave();
    assert!(violations().is_empty());
}

#[test]
fn n8_what_was_not_given_back_is_reported() {
    let _running = start();
    let provider = Counting::new(1);
    let client = client(Behaviour::default());
    client.register();
    provider.module.register();
    let binding = provider.module.only();
    assert_eq!(client.deregister(), NtStatus::PENDING);
    binding.complete();
    assert_eq!(violations(), ["N8"]);
    assert_eq!(client.wait(), NtStatus::SUCCESS);
    provider.module.leave();
}
