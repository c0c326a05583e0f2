//! The echo service as its peers see it, and what it holds for them meanwhile.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ntbench::wsk::Faults;
use ntbench::{Bench, NtStatus, Value};
use support::peers::{Traffic, echoed, exchange_all, idle, is_ended, never_reads};
use support::{Loaded, SERVICE, address, isolated, listening, load, peer, rig, state_when, unload_clean, until};

/// Bytes of data buffers.
fn buffered(bench: &Bench) -> u64 {
    bench.stats().pool.tags.get("WskB").map_or(0, |tag| tag.bytes)
}

/// The driver on a provider without receive events.
fn without_events() -> (Loaded, SocketAddr) {
    let rig = rig();
    rig.bench().provider().set_faults(Faults { refuse_events: Some(NtStatus::NOT_SUPPORTED), ..Faults::default() });
    let loaded = load(&rig);
    let address = address(&loaded);
    (loaded, address)
}

/// Ends a connection with a reset.
fn reset(stream: TcpStream) {
    tokio::net::TcpSocket::from_std_stream(stream).set_zero_linger().expect("no lingering");
}

isolated! {
    #[test]
    fn service_a_half_close_brings_every_byte_back_and_then_fin() {
        let (loaded, where_to) = listening();
        for length in [0, 1, 4095, 4096, 4097, 65_535, 65_536, 65_537, 3_000_001] {
            let bytes: Vec<u8> = (0..length).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
            assert!(exchange_all(where_to, &bytes) == bytes, "{length} bytes came back otherwise");
        }
        let state = state_when(&loaded, |state| state.totals.connections == 0);
        assert_eq!(state.totals.failed, 0, "{state:?}");
        assert_eq!(state.totals.received, state.totals.sent, "{state:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn service_large_transfers_keep_their_bytes_in_every_mode_of_the_provider() {
        let (loaded, where_to) = listening();
        let faults = [
            Faults { split_reads: Some(1), ..Faults::default() },
            Faults { split_reads: Some(4097), ..Faults::default() },
            Faults { refuse_events: Some(NtStatus::NOT_SUPPORTED), ..Faults::default() },
        ];
        for (faults, bytes) in faults.into_iter().zip([20_000, 1 << 20, 4 << 20]) {
            loaded.bench().provider().set_faults(faults);
            peer::push(where_to, bytes, bytes, &AtomicU64::new(0)).expect("the same bytes");
        }
        unload_clean(&loaded);
    }

    /// IPv4 and IPv6 loopback, if nothing else is asked for.
    #[test]
    fn service_listens_at_both_loopbacks_by_default() {
        let rig = rig();
        rig.bench().clear_parameter(SERVICE, "EchoAddress");
        let loaded = load(&rig);
        let heard = || loaded.events().iter().filter_map(wskclient_tests::rig::listening).collect::<Vec<_>>();
        until(&loaded, "two listeners", || heard().len() == 2);
        let mut addresses = heard();
        addresses.sort();
        assert!(addresses[0].ip().is_loopback() && addresses[0].is_ipv4(), "{addresses:?}");
        assert!(addresses[1].ip().is_loopback() && addresses[1].is_ipv6(), "{addresses:?}");
        addresses.into_iter().for_each(|address| drop(echoed(address)));
        unload_clean(&loaded);
    }

    #[test]
    fn service_a_reset_costs_nothing() {
        let (loaded, where_to) = listening();
        let mut other = echoed(where_to);
        let before = loaded.bench().stats();
        for round in 0..100 {
            let mut stream = if round % 3 == 0 { peer::connect(where_to).expect("a connection") } else { echoed(where_to) };
            if round % 2 == 0 {
                let _ = stream.write_all(&[1; 200_000][..(round * 2000) as usize]);
            }
            reset(stream);
        }
        state_when(&loaded, |state| state.totals.connections == 1 && state.sockets == 2);
        peer::exchange(&mut other, 1).expect("others go on");
        until(&loaded, "all memory is back", || {
            let now = loaded.bench().stats();
            now.irps <= before.irps + 1 && now.pool.nonpaged.blocks <= before.pool.nonpaged.blocks + 4
        });
        unload_clean(&loaded);
    }

    /// However much a peer sends without reading, its connection holds one buffer, and the others do not notice.
    #[test]
    fn service_a_peer_that_never_reads_holds_its_own_buffer_and_no_more() {
        let (loaded, where_to) = listening();
        let mut deaf: Vec<_> = (0..5).map(|_| never_reads(where_to)).collect();
        until(&loaded, "5 peers hold a buffer each", || buffered(loaded.bench()) == 5 * 65_536);
        let mut other = echoed(where_to);
        for round in 0..50 {
            peer::exchange(&mut other, round).expect("others go on");
        }
        // Two idle periods later it is the same: the send is pending, and nothing more is taken.
        std::thread::sleep(Duration::from_millis(2200));
        until(&loaded, "5 peers hold a buffer each, still", || buffered(loaded.bench()) == 5 * 65_536);
        for stream in &mut deaf {
            stream.shutdown(Shutdown::Write).expect("half-closed");
            assert!(is_ended(stream), "what it was sent and the end came when it read");
        }
        unload_clean(&loaded);
    }

    /// Idle for some seconds, from the start or again after a burst.
    #[test]
    fn service_an_idle_connection_holds_no_buffer_where_the_provider_has_events() {
        let (loaded, where_to) = listening();
        let mut quiet: Vec<_> = (0..20).map(|_| peer::connect(where_to).expect("a connection")).collect();
        state_when(&loaded, |state| state.totals.connections == 20);
        // The receive that each begins with, for what came before the events were there, ends with the second look.
        assert!(buffered(loaded.bench()) <= 20 * 4096);
        until(&loaded, "connections without any traffic hold no buffers", || buffered(loaded.bench()) == 0);
        for round in 0..2 {
            let mut most = 0;
            for stream in &mut quiet {
                peer::exchange(stream, round).expect("echo works");
                most = most.max(buffered(loaded.bench()));
            }
            assert!(most > 0, "no buffer right after traffic: this shows nothing");
            until(&loaded, "the buffers go back", || buffered(loaded.bench()) == 0 && loaded.bench().stats().mdls == 0);
        }
        let state = loaded.state().expect("the state");
        assert_eq!((state.totals.connections, state.totals.failed), (20, 0), "{state:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn service_an_idle_connection_holds_4_kib_where_the_provider_has_no_events() {
        let (loaded, where_to) = without_events();
        let mut quiet = idle(where_to, 10);
        until(&loaded, "10 idle connections hold 4 KiB each", || buffered(loaded.bench()) == 10 * 4096);
        // Data flows: larger buffers; and small ones again when it has stopped.
        let mut most = 0;
        for stream in &mut quiet {
            burst(stream);
            most = most.max(buffered(loaded.bench()));
        }
        assert!(most > 10 * 4096, "no larger buffers while data flows");
        until(&loaded, "they hold 4 KiB again", || buffered(loaded.bench()) == 10 * 4096);
        quiet.iter_mut().for_each(|stream| peer::exchange(stream, 4).expect("echo works"));
        unload_clean(&loaded);
    }

    /// Connections come and go at once, by FIN, by reset, with data under way: each is accounted for.
    #[test]
    fn service_many_peers_that_come_and_go_are_all_accounted_for() {
        let (loaded, where_to) = listening();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                scope.spawn(move || {
                    for round in 0..100 {
                        let Ok(mut stream) = peer::connect(where_to) else { continue };
                        let _ = stream.write_all(&[7; 3000]);
                        match (thread + round) % 3 {
                            0 => reset(stream),
                            1 => drop(stream),
                            _ => assert!(stream.shutdown(Shutdown::Write).is_ok() && is_ended(&mut stream)),
                        }
                    }
                });
            }
        });
        let state = state_when(&loaded, |state| state.totals.accepted == 400 && state.totals.connections == 0 && state.sockets == 1);
        assert_eq!((state.totals.held, state.totals.refused), (0, 0), "{state:?}");
        assert!(state.totals.failed <= 400, "{state:?}");
        unload_clean(&loaded);
    }

    /// Memory runs out for a while under load: connections may end, the driver goes on, and serves all again afterwards.
    #[test]
    fn service_recovers_when_memory_runs_out_for_a_while() {
        let rig = rig();
        rig.bench().set_parameter(SERVICE, "EchoAddress", Value::Sz("127.0.0.1 127.0.0.2 127.0.0.3".to_owned()));
        let loaded = load(&rig);
        let heard = || loaded.events().iter().filter_map(wskclient_tests::rig::listening).collect::<Vec<_>>();
        until(&loaded, "three listeners", || heard().len() == 3);
        let addresses = heard();
        let mut quiet = idle(addresses[0], 5);
        let traffic = Traffic::start(addresses[1], 4);
        std::thread::sleep(Duration::from_millis(50));
        for function in ["ExAllocatePool2", "IoAllocateIrp", "IoAllocateMdl", "IoSetCompletionRoutineEx"] {
            rig.bench().fail(function, ntbench::When::From(1));
        }
        for address in &addresses {
            let connect = |_| TcpStream::connect_timeout(address, Duration::from_millis(100)).ok();
            let tried: Vec<_> = (0..5).filter_map(connect).collect();
            std::thread::sleep(Duration::from_millis(100));
            drop(tried);
        }
        rig.bench().no_faults();
        for address in addresses {
            until(&loaded, "it serves again", || peer::echo_works(address).is_ok());
        }
        let survived = quiet.iter_mut().filter_map(|stream| peer::exchange(stream, 1).ok()).count();
        assert_eq!(survived, 5, "connections that were idle meanwhile");
        unload_clean(&loaded);
        traffic.expect_ended();
    }
}

/// Sends 300 KB and reads them back.
fn burst(stream: &mut TcpStream) {
    let (bytes, mut back) = (vec![5; 100_000], vec![0; 100_000]);
    for _ in 0..3 {
        stream.write_all(&bytes).expect("sent");
        match stream.read_exact(&mut back) {
            Ok(()) => assert!(back == bytes, "other bytes came back"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}"),
        }
    }
}
