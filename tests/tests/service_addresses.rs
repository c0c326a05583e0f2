//! Addresses that cannot be had yet: they are tried again when something changes, and now and then anyway.

mod support;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::time::{Duration, Instant};

use ntbench::wsk::{Function, Moment, Step};
use ntbench::{Bench, Value};
use support::peers::echoed;
use support::serving::*;
use support::{Loaded, SOON, Steps, Story, isolated, load, state_when, unload_clean, until};

/// Waits until the back-off has come to four seconds (tries at 0, 0.25, 0.75, 1.75, 3.75 and 7.75 seconds): five tries of each
/// protocol since then, beside the two sockets that watch for changes.
fn amid_a_long_wait(loaded: &Loaded, steps: &Steps, first: usize) {
    let bound = Step { function: Function::Bind, moment: Moment::Completed };
    let binds = || steps.since(first).iter().filter(|(step, _)| *step == bound).count();
    until(loaded, "five tries of each protocol", || binds() >= 2 * 5 + 2);
}

/// What a change brings is there by then; the next try would come later.
const SOONER: Duration = Duration::from_millis(3500);

/// A driver with a service of both protocols, whose port somebody else has for both.
fn blocked() -> (Loaded, Steps, TcpListener, UdpSocket) {
    let other = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = other.local_addr().expect("its address");
    let datagrams = UdpSocket::bind(address).expect("the same port for datagrams");
    let rig = bare_rig();
    let values = [("Port", Value::Dword(address.port().into())), ("Address", text("127.0.0.1"))];
    add(&rig, "it", "echo", "both", &values);
    let steps = Steps::record(rig.bench());
    (load(&rig), steps, other, datagrams)
}

/// Frees the port amid a long wait, has something change, and expects the service at once.
fn comes_with(change: impl FnOnce(&Bench)) {
    let (loaded, steps, other, datagrams) = blocked();
    let address = other.local_addr().expect("its address");
    amid_a_long_wait(&loaded, &steps, 0);
    drop((other, datagrams));
    let changed = Instant::now();
    change(loaded.bench());
    until(&loaded, "both protocols", || listening(&loaded).len() == 2);
    let took = changed.elapsed();
    assert!(took < SOONER, "{took:?} after the change: that was the back-off\n{}", Story::of(&loaded));
    serves_both(address);
    // Nobody waits any more: the watch has given its sockets back.
    state_when(&loaded, |state| state.sockets == 2);
    assert_eq!(Story::of(&loaded).printed("it: cannot listen at").len(), 2, "each try is traced: {}", Story::of(&loaded));
    unload_clean(&loaded);
}

fn serves_both(address: SocketAddr) {
    drop(echoed(address));
    let peer = datagram_peer(address);
    peer.send(b"there?").expect("sent");
    assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(b"there?".to_vec()));
}

isolated! {
    #[test]
    fn service_an_address_is_tried_again_when_the_addresses_change() {
        comes_with(|bench| bench.provider().change_addresses());
    }

    #[test]
    fn service_an_address_is_tried_again_when_the_transports_change() {
        comes_with(|bench| {
            let transports = bench.provider().transports();
            bench.provider().change_transports(transports);
        });
    }

    /// Without a change the back-off does it.
    #[test]
    fn service_an_address_is_tried_again_without_a_change() {
        let (loaded, _, other, datagrams) = blocked();
        let address = other.local_addr().expect("its address");
        std::thread::sleep(Duration::from_millis(1900));
        drop((other, datagrams));
        until(&loaded, "both protocols", || listening(&loaded).len() == 2);
        serves_both(address);
        unload_clean(&loaded);
    }

    /// Many changes while an address cannot be had: each is a try, none is lost for the next ones, and unload finds the end of all.
    #[test]
    fn service_changes_without_an_end_do_no_harm() {
        let (loaded, _, other, datagrams) = blocked();
        for _ in 0..200 {
            loaded.bench().provider().change_addresses();
            let transports = loaded.bench().provider().transports();
            loaded.bench().provider().change_transports(transports);
            std::thread::sleep(Duration::from_millis(2));
        }
        let unload = unload_clean(&loaded);
        assert!(unload.total < SOON, "{unload}");
        drop((other, datagrams));
    }

    /// The provider goes while an address is waited for, and the watch with it.
    #[test]
    fn service_the_watch_ends_with_the_provider_and_begins_again() {
        let (loaded, steps, other, datagrams) = blocked();
        let mut last = 0;
        for _ in 0..3 {
            std::thread::sleep(Duration::from_millis(100));
            support::depart(loaded.bench());
            last = steps.now();
            support::arrive(loaded.bench());
        }
        amid_a_long_wait(&loaded, &steps, last);
        let address = other.local_addr().expect("its address");
        drop((other, datagrams));
        let changed = Instant::now();
        loaded.bench().provider().change_addresses();
        until(&loaded, "both protocols", || listening(&loaded).len() == 2);
        assert!(changed.elapsed() < SOONER, "{:?}", changed.elapsed());
        serves_both(address);
        unload_clean(&loaded);
    }
}
