//! The drivers in `examples/`, each built as anybody would, loaded, used by real peers, and unloaded: also in the middle of
//! what it does.

mod support;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use ntbench::Value;
use support::{Story, config, image_of, isolated, load, peer, unload_clean, until, wait_for};
use wskclient_tests::{Loaded, Rig};

/// Loads an example with one setting, an address.
#[track_caller]
fn example(name: &'static str, setting: &str, address: SocketAddr) -> Loaded {
    load(&rig(name, setting, address))
}

/// The same, not loaded yet, for more settings.
#[track_caller]
fn rig(name: &'static str, setting: &str, address: SocketAddr) -> Rig {
    let rig = Rig::of_service(name, &image_of(&format!("example-{name}")), config()).expect("a bench");
    rig.set(setting, Value::Sz(address.to_string()));
    rig
}

/// A connection from this address of the host. One that is reset may be so already when it is made.
fn connect_from(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    let stream = runtime.block_on(async {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        socket.connect(to).await?.into_std()
    })?;
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

/// What stands after `lead` in the first line that begins so; waits for it.
#[track_caller]
fn said(loaded: &Loaded, lead: &str) -> String {
    let line = || loaded.printed().iter().find_map(|line| Some(line.strip_prefix(lead)?.trim().to_owned()));
    wait_for(line).unwrap_or_else(|| panic!("it has not said `{lead}` but {:#?}\n{}", loaded.printed(), Story::of(loaded)))
}

/// A peer that listens, and what it does with the first connection.
fn peer_that<T: Send + 'static>(serve: impl FnOnce(TcpStream) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a listener");
    let address = listener.local_addr().expect("its address");
    let served = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        serve(stream)
    });
    (address, served)
}

/// Any free port of this host, of either family.
const ANY: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

isolated! {
    #[test]
    fn example_minimal_connects_sends_receives_and_prints() {
        let (address, served) = peer_that(|mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("all of it, to the FIN");
            stream.write_all(b"hello from the host").expect("sent");
            text
        });
        let loaded = example("minimal", "Peer", address);
        said(&loaded, "minimal: the end");
        assert_eq!(served.join().expect("a peer"), "hello from the kernel\n");
        let connected = format!("minimal: connected to {address}");
        assert_eq!(loaded.printed(), [&connected, "minimal: received hello from the host", "minimal: the end"]);
        unload_clean(&loaded);
    }

    /// The same source, built as a WDM driver by a package that is no member of this workspace.
    #[test]
    fn example_minimal_does_the_same_outside_of_the_workspace() {
        let (address, served) = peer_that(|mut stream| {
            let mut text = String::new();
            stream.read_to_string(&mut text).expect("all of it, to the FIN");
            text
        });
        let image = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/outside/release/outside.sys");
        assert!(image.is_file(), "there is no {}: build it with `cargo xtask build --outside`", image.display());
        let rig = Rig::of_service("outside", &image, config()).expect("a bench");
        rig.set("Peer", Value::Sz(address.to_string()));
        let loaded = load(&rig);
        said(&loaded, "minimal: the end");
        assert_eq!(served.join().expect("a peer"), "hello from the kernel\n");
        unload_clean(&loaded);
    }

    #[test]
    fn example_minimal_says_that_nobody_listens() {
        // Nobody listens there any more.
        let address = TcpListener::bind(ANY).and_then(|listener| listener.local_addr()).expect("an address");
        let loaded = example("minimal", "Peer", address);
        assert_eq!(said(&loaded, "minimal: connecting: "), "refused");
        unload_clean(&loaded);
    }

    #[test]
    fn example_minimal_says_that_a_setting_is_missing() {
        let loaded = example("minimal", "Nothing", ANY);
        assert_eq!(said(&loaded, "minimal: a setting: "), "missing");
        unload_clean(&loaded);
    }

    #[test]
    fn example_tcp_echo_serves_many_and_unloads_among_them() {
        let loaded = example("tcp-echo", "Address", ANY);
        let address = said(&loaded, "tcp-echo: listening at ").parse().expect("an address");
        let mut streams: Vec<_> = (0..20).map(|_| peer::echo_works(address).expect("an echo")).collect();
        streams[0].shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(streams[0].read(&mut [0; 16]).expect("a FIN for a FIN"), 0);
        let traffic = support::peers::Traffic::start(address, 2);
        std::thread::sleep(Duration::from_millis(100));
        unload_clean(&loaded);
        traffic.expect_ended();
        support::peers::expect_all_ended(&mut streams);
    }

    #[test]
    fn example_tcp_echo_serves_again_when_the_provider_comes_back() {
        let loaded = example("tcp-echo", "Address", "[::1]:0".parse().expect("an address"));
        let first: SocketAddr = said(&loaded, "tcp-echo: listening at ").parse().expect("an address");
        drop(peer::echo_works(first).expect("an echo"));
        support::depart(loaded.bench());
        let gone = loaded.now();
        support::arrive(loaded.bench());
        let again = || loaded.printed_since(gone).iter().find_map(|line| line.strip_prefix("tcp-echo: listening at ")?.parse().ok());
        drop(peer::echo_works(wait_for(again).expect("it listens again")).expect("an echo"));
        unload_clean(&loaded);
    }

    #[test]
    fn example_udp_echo_answers_datagrams_of_every_size() {
        let loaded = example("udp-echo", "Address", ANY);
        let address: SocketAddr = said(&loaded, "udp-echo: listening at ").parse().expect("an address");
        let socket = UdpSocket::bind(ANY).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        for length in [0, 1, 512, 1472, 1473, 9000, 65_507] {
            let sent: Vec<u8> = (0..length).map(|i: usize| (i * 7) as u8).collect();
            socket.send_to(&sent, address).expect("sent");
            let mut back = vec![0; 65_536];
            let (received, from) = socket.recv_from(&mut back).expect("an answer");
            assert!(back[..received] == sent && from == address, "{length} bytes came back as {received} from {from}");
        }
        unload_clean(&loaded);
    }

    #[test]
    fn example_duplex_sends_and_receives_at_once() {
        let (address, served) = peer_that(|mut stream| {
            // It answers from the start, and takes nothing while the other side does not: half-duplex would stop here.
            let mut writer = stream.try_clone().expect("a second handle");
            let writing = std::thread::spawn(move || {
                writer.write_all(&vec![3; 1 << 20]).expect("sent");
                writer.shutdown(Shutdown::Write).expect("half-closed");
            });
            writing.join().expect("written before anything was read");
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("all of it, to the FIN");
            bytes.iter().copied().map(u64::from).sum::<u64>()
        });
        let loaded = example("duplex", "Peer", address);
        let sums = said(&loaded, "duplex: sum ");
        let sum = served.join().expect("a peer");
        assert_eq!(sums, format!("{sum:#x} sent, {:#x} came back", 3 << 20));
        assert_eq!(sum, (0..256).map(|round| round * 16 * 1024).sum::<u64>());
        unload_clean(&loaded);
    }

    #[test]
    fn example_timeout_gives_up_what_takes_too_long() {
        // Nothing at first; a word in time for the second wait.
        let (speak, may_speak) = std::sync::mpsc::channel::<()>();
        let (address, served) = peer_that(move |mut stream| {
            may_speak.recv().expect("a word");
            stream.write_all(b"late").expect("sent");
            stream.read_to_end(&mut Vec::new())
        });
        let loaded = example("timeout", "Peer", address);
        said(&loaded, "timeout: the peer said nothing");
        speak.send(()).expect("a peer");
        said(&loaded, "timeout: the task");
        assert_eq!(
            loaded.printed(),
            ["timeout: the peer said nothing", "timeout: then it said late", "timeout: the task was aborted"]
        );
        // The aborted task held the connection: it is reset. What `main` waits for now would take an hour.
        drop(served.join().expect("a peer"));
        unload_clean(&loaded);
    }

    #[test]
    fn example_timeout_unloads_while_it_waits() {
        let (address, served) = peer_that(|mut stream| stream.read(&mut [0; 16]));
        let began = std::time::Instant::now();
        let loaded = example("timeout", "Peer", address);
        until(&loaded, "a connection", || loaded.events().iter().any(|event| support::story::socket_created(&event.kind)));
        std::thread::sleep(Duration::from_millis(50));
        unload_clean(&loaded);
        // It is dropped where it waits, unless the machine has let it wait for two seconds.
        assert!(loaded.printed().is_empty() || began.elapsed() > Duration::from_secs(2), "it printed {:?}", loaded.printed());
        let _ = served.join().expect("a peer");
    }

    #[test]
    fn example_ancillary_answers_from_the_address_that_was_asked() {
        let loaded = example("ancillary", "Address", SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)));
        let bound: SocketAddr = said(&loaded, "ancillary: listening at ").parse().expect("an address");
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_secs(20))).expect("a time limit");
        for last in 1..=3 {
            let asked = SocketAddr::from(([127, 0, 0, last], bound.port()));
            socket.set_ttl(40 + u32::from(last)).expect("a time to live");
            socket.send_to(b"which way?", asked).expect("sent");
            let mut back = [0; 64];
            let (length, from) = socket.recv_from(&mut back).expect("an answer");
            assert_eq!((&back[..length], from), (&b"which way?"[..], asked));
            said(&loaded, &format!("ancillary: asked at Some(127.0.0.{last}), hop limit Some({}), Some(NotEct)", 40 + last));
        }
        unload_clean(&loaded);
    }

    #[test]
    fn example_conditional_accept_refuses_one_peer_and_greets_the_others() {
        let rig = rig("conditional-accept", "Address", ANY);
        rig.set("Refuse", Value::Sz("127.0.0.2:0".to_owned()));
        let loaded = load(&rig);
        let address = said(&loaded, "conditional-accept: listening at ").parse().expect("an address");
        let greeting = |from: [u8; 4]| {
            let mut text = String::new();
            let read = connect_from(from.into(), address).and_then(|mut stream| stream.read_to_string(&mut text));
            read.map(|_| text).map_err(|error| error.kind())
        };
        for _ in 0..3 {
            assert_eq!(greeting([127, 0, 0, 1]), Ok("welcome\n".to_owned()));
            assert_eq!(greeting([127, 0, 0, 2]), Err(std::io::ErrorKind::ConnectionReset));
            assert_eq!(greeting([127, 0, 0, 3]), Ok("welcome\n".to_owned()));
        }
        unload_clean(&loaded);
    }

    #[test]
    fn example_forward_passes_on_both_directions_and_their_ends() {
        let (target, served) = peer_that(|mut stream| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("all of it, to the FIN that was passed on");
            stream.write_all(&bytes).expect("sent after the other direction has ended");
            stream.shutdown(Shutdown::Write).expect("half-closed");
        });
        let rig = rig("forward", "Address", ANY);
        rig.set("Target", Value::Sz(target.to_string()));
        let loaded = load(&rig);
        let address: SocketAddr = said(&loaded, "forward: listening at ").parse().expect("an address");
        let sent: Vec<u8> = (0..3_000_001_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let mut stream = peer::connect(address).expect("a connection");
        stream.write_all(&sent).expect("sent");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        let mut back = Vec::new();
        stream.read_to_end(&mut back).expect("all of it, to the FIN");
        assert!(back == sent, "{} bytes came back otherwise", back.len());
        served.join().expect("a peer");
        unload_clean(&loaded);
    }

    #[test]
    fn example_forward_unloads_in_the_middle() {
        let (target, served) = peer_that(|mut stream| std::io::copy(&mut stream, &mut std::io::sink()));
        let rig = rig("forward", "Address", ANY);
        rig.set("Target", Value::Sz(target.to_string()));
        let loaded = load(&rig);
        let address: SocketAddr = said(&loaded, "forward: listening at ").parse().expect("an address");
        let mut stream = peer::connect(address).expect("a connection");
        let sending = std::thread::spawn(move || while stream.write_all(&[7; 65_536]).is_ok() {});
        std::thread::sleep(Duration::from_millis(100));
        unload_clean(&loaded);
        sending.join().expect("it is reset");
        let _ = served.join().expect("a peer");
    }

    #[test]
    fn example_resolve_connects_by_name() {
        let listener = TcpListener::bind(ANY).expect("a listener");
        let address = listener.local_addr().expect("its address");
        let rig = rig("resolve", "Unused", ANY);
        rig.set("Host", Value::Sz("localhost".to_owned()));
        rig.set("Service", Value::Sz(address.port().to_string()));
        let loaded = load(&rig);
        let said = said(&loaded, "resolve: connected to ");
        assert!(said.starts_with(&format!("{address}, which is localhost")), "{said}");
        unload_clean(&loaded);
    }
}
