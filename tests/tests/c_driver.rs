//! A driver in C that registers with WskRegister, built with `sdk/` by xtask: the bench serves it as it serves ours.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ntbench::NtStatus;
use ntbench::trace::{Kind, Side};
use support::{config, isolated};
use wskclient_tests::{Loaded, Rig, peer};

/// The variable that names another folder than the one that `cargo xtask test` builds into.
const FOLDER: &str = "WSKCLIENT_C_DRIVERS";

fn driver() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/c-drivers");
    let image = std::env::var_os(FOLDER).map_or(built, PathBuf::from).join("echo.sys");
    assert!(image.is_file(), "there is no {}: `cargo xtask build` makes it", image.display());
    image
}

fn loaded() -> (Rig, Loaded) {
    let rig = Rig::new(&driver(), config()).expect("a bench");
    let loaded = rig.load().expect("the driver loads");
    (rig, loaded)
}

fn unloads_clean(loaded: &Loaded) {
    loaded.unload().expect("it unloads");
    let verdict = loaded.bench().verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

fn exchange(stream: &mut TcpStream, bytes: &[u8]) {
    stream.write_all(bytes).unwrap();
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back).unwrap();
    assert!(back == bytes, "what comes back is not what was sent");
}

isolated! {
    #[test]
    fn it_echoes_and_unloads() {
        let (_rig, loaded) = loaded();
        let address = loaded.address().unwrap();
        let mut stream = peer::connect(address).unwrap();
        let large: Vec<u8> = (0..200_000_u32).map(|n| (n * 7) as u8).collect();
        exchange(&mut stream, b"to a driver in C");
        // In pieces: nobody reads what comes back while a piece is being sent.
        large.chunks(40_000).for_each(|piece| exchange(&mut stream, piece));
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "a FIN answers ours");
        unloads_clean(&loaded);
    }

    #[test]
    fn unload_in_the_middle_of_traffic_resets_and_leaves_nothing() {
        let (_rig, loaded) = loaded();
        let address = loaded.address().unwrap();
        let mut idle: Vec<_> = (0..20).map(|_| peer::connect(address).unwrap()).collect();
        idle.iter_mut().for_each(|stream| exchange(stream, b"."));
        let busy: Vec<_> = (0..4).map(|_| std::thread::spawn(move || send_until_the_end(address))).collect();
        std::thread::sleep(Duration::from_millis(50));
        unloads_clean(&loaded);
        busy.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(loaded.bench().provider().stats().connections, 0);
    }

    #[test]
    fn capture_waits_until_the_provider_is_there() {
        let rig = Rig::new(&driver(), config()).expect("a bench");
        assert_eq!(rig.bench().provider().depart().wait().0, NtStatus::SUCCESS);
        let loading = std::thread::scope(|scope| {
            let loading = scope.spawn(|| rig.load().expect("the driver loads"));
            std::thread::sleep(Duration::from_millis(50));
            assert!(!loading.is_finished(), "DriverEntry came back without a provider");
            assert_eq!(rig.bench().provider().arrive(), NtStatus::SUCCESS);
            loading.join().unwrap()
        });
        exchange(&mut peer::connect(loading.address().unwrap()).unwrap(), b"late");
        unloads_clean(&loading);
    }

    #[test]
    fn a_provider_that_leaves_waits_for_sockets_and_the_captured_npi() {
        let (rig, loaded) = loaded();
        let departure = rig.bench().provider().depart();
        assert_eq!(departure.answer(), NtStatus::PENDING);
        std::thread::sleep(Duration::from_millis(50));
        assert!(!departure.is_complete(), "the driver has its NPI and its listener still");
        unloads_clean(&loaded);
        assert_eq!(departure.wait().0, NtStatus::SUCCESS);
        let detached = |kind: &Kind| matches!(kind, Kind::DetachComplete { side: Side::Client, .. });
        assert_eq!(loaded.events().iter().filter(|event| detached(&event.kind)).count(), 1);
    }

    #[test]
    fn a_provider_of_another_version_is_told_by_the_capture() {
        let rig = Rig::new(&driver(), config()).expect("a bench");
        rig.bench().provider().set_faults(ntbench::wsk::Faults { client_version: 0x0200, ..Default::default() });
        let error = rig.load().err().expect("the load fails").to_string();
        assert!(error.contains("STATUS_NOINTERFACE"), "{error}");
        let verdict = rig.bench().verdict();
        assert!(verdict.is_clean(), "{verdict}");
    }
}

fn send_until_the_end(address: std::net::SocketAddr) {
    let mut stream = peer::connect(address).unwrap();
    let mut buffer = [0x5a; 4096];
    loop {
        if let Err(error) = stream.write_all(&buffer).and_then(|()| stream.read_exact(&mut buffer)) {
            assert!(
                matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof),
                "{error}"
            );
            return;
        }
    }
}
