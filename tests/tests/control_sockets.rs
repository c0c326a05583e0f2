//! The list of sockets: whose they are, where they lead, what went over them, page by page.

mod support;

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use control_abi::events::{CloseReason, Event, EventKind, EventsRequest, WITH_SOCKETS};
use control_abi::page::room;
use control_abi::sockets::{Cursor, Protocol, Socket, SocketKind, SocketState, SocketsRequest};
use control_abi::{Ask, Page, PageHeader};
use ntbench::wsk::Faults;
use ntbench::{Handle, Value};
use support::peers::{echoed, idle};
use support::{Loaded, Story, isolated, listening, load, rig, state_when, unload_clean, until};
use zerocopy::IntoBytes;

fn device(loaded: &Loaded) -> Handle {
    loaded.bench().open(r"\\.\WskClient").expect("the device")
}

/// One page of at most so many.
fn page(device: &Handle, cursor: u64, most: usize) -> (PageHeader, Vec<Socket>) {
    let asked = SocketsRequest::at(cursor);
    let answer = device.ioctl(SocketsRequest::REQUEST.code(), asked.as_bytes(), room::<Socket>(most)).expect("sockets");
    let page = Page::<Socket>::read(&answer).expect("a page");
    (page.header, page.entries().collect())
}

/// All of them, by pages of that size.
fn sockets(device: &Handle, most: usize) -> Vec<Socket> {
    let (mut cursor, mut all) = (0, Vec::new());
    loop {
        let (header, entries) = page(device, cursor, most);
        all.extend(entries);
        cursor = header.next;
        if cursor == 0 {
            return all;
        }
    }
}

fn of_kind(sockets: &[Socket], kind: SocketKind) -> Vec<Socket> {
    sockets.iter().copied().filter(|socket| socket.kind == kind.to_wire()).collect()
}

/// The sockets' events so far.
fn told(device: &Handle) -> Vec<Event> {
    let asked = EventsRequest { flags: WITH_SOCKETS, ..EventsRequest::after(0, 0) };
    let answer = device.ioctl(EventsRequest::REQUEST.code(), asked.as_bytes(), room::<Event>(200)).expect("events");
    Page::<Event>::read(&answer).expect("a page").entries().collect()
}

isolated! {
    #[test]
    fn control_sockets_are_listed_with_addresses_and_bytes() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let stream = echoed(address);
        let local = stream.local_addr().expect("its address");
        let busy = |socket: &Socket| socket.received == 100 && socket.sent == 100 && socket.calls == 1;
        until(&loaded, "the connection is listed with its bytes", || of_kind(&sockets(&device, 8), SocketKind::Connection).iter().any(busy));
        let all = sockets(&device, 8);
        let (listeners, connections) = (of_kind(&all, SocketKind::Listener), of_kind(&all, SocketKind::Connection));
        let ([listener], [connection]) = (&listeners[..], &connections[..]) else { panic!("{all:?}") };
        assert_eq!((listener.local.address(), listener.remote.address()), (Some(address), None));
        assert_eq!((listener.state, listener.protocol, listener.binding), (SocketState::Bound.to_wire(), Protocol::Tcp.to_wire(), 1));
        assert_eq!((connection.local.address(), connection.remote.address()), (Some(address), Some(local)));
        assert_eq!(connection.state, SocketState::Connected.to_wire());
        assert!(connection.owner != 0 && connection.owner == listener.owner, "{all:?}");
        assert!(connection.id != listener.id && connection.id != 0 && listener.age_us >= connection.age_us, "{all:?}");
        drop(stream);
        until(&loaded, "the connection is gone", || sockets(&device, 8).len() == 1);
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_datagram_sockets_and_a_forwarders_ends_are_listed() {
        let target = TcpListener::bind("127.0.0.1:0").expect("a target");
        let to = target.local_addr().expect("its address");
        let rig = rig();
        let values = |kind: &str, protocol: &str| [
            ("Kind", Value::Sz(kind.to_owned())), ("Protocol", Value::Sz(protocol.to_owned())),
            ("Port", Value::Dword(0)), ("Address", Value::Sz("127.0.0.1".to_owned())), ("Target", Value::Sz(to.to_string())),
        ];
        rig.add_service("echo", &values("echo", "udp"));
        rig.add_service("web", &values("forward", "tcp"));
        let loaded = load(&rig);
        let device = device(&loaded);
        let bound = |kind| of_kind(&sockets(&device, 8), kind).iter().find_map(|socket| socket.local.address());
        until(&loaded, "both are bound", || bound(SocketKind::Datagram).is_some() && bound(SocketKind::Listener).is_some());
        let (udp, web): (SocketAddr, SocketAddr) = (bound(SocketKind::Datagram).expect("udp"), bound(SocketKind::Listener).expect("tcp"));
        let peer = UdpSocket::bind("127.0.0.1:0").expect("a peer");
        peer.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        peer.send_to(&[7; 300], udp).expect("sent");
        assert_eq!(peer.recv(&mut [0; 400]).expect("answered"), 300);
        until(&loaded, "the datagram is counted", || {
            of_kind(&sockets(&device, 8), SocketKind::Datagram).iter().any(|socket| (socket.received, socket.sent) == (300, 300))
        });
        let client = std::net::TcpStream::connect(web).expect("the forwarder");
        let (_other, from) = target.accept().expect("it connects");
        let has = |local, remote| move |socket: &Socket| (socket.local.address(), socket.remote.address()) == (Some(local), Some(remote));
        let client_end = has(web, client.local_addr().expect("its address"));
        let target_end = has(from, to);
        until(&loaded, "both ends are listed", || {
            let all = sockets(&device, 2);
            all.iter().any(&client_end) && all.iter().any(&target_end)
        });
        let owners: BTreeSet<_> = sockets(&device, 8).iter().map(|socket| socket.owner).collect();
        assert_eq!(owners.len(), 2, "each belongs to its service");
        drop((client, device));
        unload_clean(&loaded);
    }

    /// Whatever the size of the pages, and whatever comes and goes meanwhile, what is there all the time is listed once.
    #[test]
    fn control_the_list_is_whole_in_pages_of_any_size() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let streams = idle(address, 30);
        state_when(&loaded, |state| state.sockets == 31);
        let expected: BTreeSet<_> = sockets(&device, 256).iter().map(|socket| socket.id).collect();
        assert_eq!(expected.len(), 31);
        for most in [1, 2, 7, 30, 31, 32] {
            let all = sockets(&device, most);
            assert_eq!(all.len(), 31, "by {most}");
            assert_eq!(all.iter().map(|socket| socket.id).collect::<BTreeSet<_>>(), expected, "by {most}");
        }
        let (mut cursor, mut all) = (0, Vec::new());
        loop {
            let (header, entries) = page(&device, cursor, 4);
            assert!(header.total >= 31, "{header:?}");
            all.extend(entries.iter().map(|socket| socket.id));
            // One comes, and one goes.
            drop(echoed(address));
            cursor = header.next;
            if cursor == 0 {
                break;
            }
        }
        let met: BTreeSet<_> = all.iter().copied().collect();
        assert_eq!(met.len(), all.len(), "one was listed twice");
        assert!(met.is_superset(&expected), "one was left out");
        drop((streams, device));
        unload_clean(&loaded);
    }

    /// Who wants to know why a deactivation takes so long sees the sockets that it waits for.
    #[test]
    fn control_sockets_of_a_binding_that_is_being_taken_away_are_listed() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let streams = idle(address, 3);
        state_when(&loaded, |state| state.sockets == 4);
        loaded.bench().provider().set_faults(Faults { close_delay: Some(Duration::from_millis(500)), ..Faults::default() });
        std::thread::scope(|scope| {
            let leaving = scope.spawn(|| loaded.set_active(false));
            let closing = |socket: &Socket| socket.state == SocketState::Closing.to_wire();
            until(&loaded, "closing sockets are listed", || sockets(&device, 2).iter().filter(|socket| closing(socket)).count() >= 1);
            leaving.join().expect("no panic").expect("deactivated");
        });
        let (header, none) = page(&device, 0, 8);
        assert_eq!((header.total, none), (0, vec![]));
        // A cursor of a binding that is gone leads to the newer one.
        loaded.bench().provider().set_faults(Faults::default());
        loaded.set_active(true).expect("activated");
        until(&loaded, "the listener of the new binding is listed", || {
            let (header, all) = page(&device, Cursor { binding: 1, slot: 3 }.to_wire(), 8);
            header.mark == 2 && all.iter().any(|socket| socket.binding == 2)
        });
        drop((streams, device));
        unload_clean(&loaded);
    }

    #[test]
    fn control_sockets_tell_of_their_end_and_why() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let stream = echoed(address);
        drop(stream);
        let closed = |reason: CloseReason| told(&device).iter().filter(|event| event.kind == EventKind::SocketClosed.to_wire() && event.a == u64::from(reason.to_wire())).count();
        until(&loaded, "the close is told", || closed(CloseReason::Done) == 1);
        let stream = echoed(address);
        tokio::net::TcpSocket::from_std_stream(stream).set_zero_linger().expect("no lingering");
        until(&loaded, "the reset is told", || closed(CloseReason::Reset) == 1);
        let _streams = idle(address, 2);
        loaded.set_active(false).expect("deactivated");
        assert_eq!(closed(CloseReason::Detached), 3, "{}", Story::of(&loaded));
        let opened = told(&device).iter().filter(|event| event.kind == EventKind::SocketOpened.to_wire()).count();
        assert_eq!(opened, 5);
        drop(device);
        unload_clean(&loaded);
    }
}
