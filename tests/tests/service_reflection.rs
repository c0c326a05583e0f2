//! What keeps the services that answer datagrams from being turned against others: whom they do not answer, and how often
//! they answer one.

mod support;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ntbench::Value;
use support::serving::*;
use support::{Loaded, Story, isolated, load, unload_clean};

/// How long to wait for an answer that must not come.
const QUIET: Duration = Duration::from_millis(200);

/// A driver whose services answer so many datagrams per second to one source.
fn with_rate(rate: u32) -> (Loaded, SocketAddr) {
    let rig = bare_rig();
    add(&rig, "it", "echo", "udp", &[("RatePerSource", Value::Dword(rate))]);
    let loaded = load(&rig);
    let [v4, _] = both_of(&loaded, "it", true);
    (loaded, v4)
}

/// A peer at an address of its own.
fn peer_at(last: u8, port: u16, to: SocketAddr) -> Option<UdpSocket> {
    match UdpSocket::bind((Ipv4Addr::new(127, 0, 0, last), port)) {
        Ok(socket) => Some(connected(socket, to)),
        Err(error) => {
            eprintln!("no socket at 127.0.0.{last}:{port}: {error}");
            None
        }
    }
}

fn send(peer: &UdpSocket, datagrams: usize) {
    (0..datagrams).for_each(|_| assert_eq!(peer.send(b"?").expect("sent"), 1));
}

/// Sends so many datagrams at once, and counts the answers. So many are to come at least, however long that takes.
fn flood(peer: &UdpSocket, datagrams: usize, least: usize) -> usize {
    send(peer, datagrams);
    let first = (0..least).take_while(|_| next_datagram(peer, Duration::from_secs(10)).is_some()).count();
    first + count_datagrams(peer, QUIET)
}

/// The number before these words in the line about datagrams.
#[track_caller]
fn counted(loaded: &Loaded, service: &str, words: &str) -> u64 {
    let line = datagram_line(loaded, service);
    let before = line.split(words).next().filter(|before| before.len() < line.len());
    let number = before.and_then(|before| before.trim_end().rsplit(' ').next());
    number.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("no number before '{words}' in {line}"))
}

isolated! {
    /// A burst gets a second's worth; after that the rate; another source has its own.
    #[test]
    fn service_a_source_is_answered_at_the_rate_and_no_faster() {
        let (loaded, to) = with_rate(10);
        let (one, other) = (peer_at(1, 0, to).expect("a peer"), peer_at(2, 0, to).expect("a peer"));
        let began = Instant::now();
        let most = || 10 + 10 * (began.elapsed().as_millis() as usize) / 1000 + 1;
        let answers = flood(&one, 100, 10);
        // What comes back while the flood lasts comes on top.
        let most_then = most();
        assert!((10..=most_then).contains(&answers), "{answers} answers to 100 at once, {most_then} at most");
        assert_eq!(flood(&other, 3, 3), 3, "one source uses up the rate of another");
        // Another port of the same host is no other source.
        let same_host = peer_at(1, 0, to).expect("a peer");
        let more = flood(&same_host, 20, 0);
        assert!(answers + more <= most(), "a new port gets a new rate: {answers} answers, and {more} more");
        std::thread::sleep(Duration::from_millis(1200));
        assert!(flood(&one, 5, 5) >= 5, "the source is not answered again after a while");
        unload_clean(&loaded);
        let (received, answered) = (counted(&loaded, "it", "datagrams,"), counted(&loaded, "it", "answered;"));
        assert_eq!(received, 128);
        assert_eq!(counted(&loaded, "it", "above the rate"), received - answered);
    }

    /// Chargen answers more than it is sent: its default rate holds too, and bounds the bytes.
    #[test]
    fn service_chargen_is_limited_by_default() {
        let rig = bare_rig();
        add(&rig, "it", "chargen", "udp", &[]);
        let loaded = load(&rig);
        let [to, v6] = both_of(&loaded, "it", true);
        let mut most_of_both = 0;
        for to in [to, v6] {
            let began = Instant::now();
            let answers = flood(&datagram_peer(to), 1000, 90);
            let most = 100 + 100 * (began.elapsed().as_millis() as usize) / 1000 + 1;
            assert!((90..=most).contains(&answers), "{answers} answers to 1000 at once, {most} at most");
            most_of_both += most as u64;
        }
        let sent = loaded.state().expect("the state").totals.sent;
        assert!(sent <= most_of_both * 512, "{sent} bytes");
        unload_clean(&loaded);
    }

    /// What was sent to all is answered by none: one datagram would make many.
    #[test]
    fn service_what_was_broadcast_is_not_answered() {
        let rig = bare_rig();
        add(&rig, "it", "echo", "udp", &[("Address", text("0.0.0.0"))]);
        let loaded = load(&rig);
        let port = place_of(&loaded, "it", true).port();
        let peer = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a peer");
        peer.set_broadcast(true).expect("to broadcast");
        for _ in 0..3 {
            peer.send_to(b"?", (Ipv4Addr::new(127, 255, 255, 255), port)).expect("sent");
        }
        assert_eq!(next_datagram(&peer, QUIET), None, "a broadcast was answered");
        peer.send_to(b"one", (Ipv4Addr::LOCALHOST, port)).expect("sent");
        assert_eq!(next_datagram(&peer, Duration::from_secs(10)), Some(b"one".to_vec()), "this shows nothing");
        unload_clean(&loaded);
        assert_eq!(counted(&loaded, "it", "from or to no single host"), 3);
    }

    /// Ports of the driver's own, wherever they are: two of them would answer each other for ever.
    #[test]
    fn service_ports_of_the_driver_itself_are_not_answered() {
        let rig = bare_rig();
        add(&rig, "it", "echo", "udp", &[]);
        add(&rig, "dump", "discard", "udp", &[]);
        let loaded = load(&rig);
        let [to, _] = both_of(&loaded, "it", true);
        let [dump, _] = both_of(&loaded, "dump", true);
        // The same numbers at another address of this host, where they are free.
        for port in [to.port(), dump.port()] {
            let peer = peer_at(9, port, to).expect("a peer");
            assert_eq!(flood(&peer, 3, 0), 0, "port {port} was answered");
        }
        assert_eq!(flood(&peer_at(9, 0, to).expect("a peer"), 3, 3), 3, "this shows nothing");
        unload_clean(&loaded);
        assert_eq!(counted(&loaded, "it", "from ports of this driver"), 6);
    }

    /// Ports below 1024. Whoever runs this may have none of them, and then it says so and shows nothing: the decision itself is
    /// tested in crates/service-limits.
    #[test]
    fn service_well_known_ports_are_not_answered() {
        let (loaded, to) = with_rate(1000);
        let peers: Vec<_> = [7, 19, 1023].into_iter().filter_map(|port| peer_at(9, port, to)).collect();
        for peer in &peers {
            assert_eq!(flood(peer, 3, 0), 0, "{:?} was answered", peer.local_addr());
        }
        unload_clean(&loaded);
        assert_eq!(counted(&loaded, "it", "from well-known ports"), 3 * peers.len() as u64);
    }

    /// Very many sources at once: those who are known go on, and nobody is answered more often for it.
    #[test]
    fn service_many_sources_do_not_make_it_forget_one() {
        let (loaded, to) = with_rate(5);
        let one = peer_at(1, 0, to).expect("a peer");
        let began = Instant::now();
        assert!(flood(&one, 20, 5) >= 5);
        for last in 2..=250 {
            let peer = peer_at(last, 0, to).expect("a peer");
            send(&peer, 3);
        }
        let again = flood(&one, 20, 0);
        let most = 5 * (began.elapsed().as_millis() as usize) / 1000 + 1;
        assert!(again <= most, "{again} answers more, {most} at most: {}", Story::of(&loaded));
        unload_clean(&loaded);
    }

    /// Steady state: no datagram takes memory.
    #[test]
    fn service_datagrams_allocate_nothing() {
        let (loaded, to) = with_rate(10_000_000);
        let peer = peer_at(1, 0, to).expect("a peer");
        let round = |count: usize| {
            for _ in 0..count {
                peer.send(b"x").expect("sent");
                assert!(next_datagram(&peer, Duration::from_secs(10)).is_some());
            }
        };
        round(100);
        let before = total_blocks(&loaded);
        round(2000);
        let more = total_blocks(&loaded) - before;
        assert!(more <= 10, "{more} allocations for 2000 answers");
        unload_clean(&loaded);
    }
}

/// Pool blocks that the driver has ever allocated.
fn total_blocks(loaded: &Loaded) -> u64 {
    let tags = loaded.bench().stats().pool.tags;
    tags.iter().filter(|(name, _)| name.starts_with("Wsk")).map(|(_, tag)| tag.total_blocks).sum()
}
