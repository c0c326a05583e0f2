//! Services, listed, started, stopped, changed and removed while the driver runs.

mod support;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use control_abi::events::{Event, EventKind, EventsRequest};
use control_abi::page::room;
use control_abi::services::{
    AND_START, FROM_REGISTRY, ONLY_NEW, Origin, RemoveRequest, SaveRequest, Service, ServiceState, ServicesRequest, SetRequest,
    StartRequest, StopRequest,
};
use control_abi::settings::{Kind, MOST_SERVICES, Settings, TargetKind};
use control_abi::{Ask, Page, PageHeader, Text, WireAddress};
use ntbench::{Handle, NtStatus};
use support::peers::{echoed, expect_all_ended, idle, never_reads};
use support::{Loaded, Story, isolated, listening, load, rig, state_when, unload_clean, until};
use zerocopy::{Immutable, IntoBytes};

fn device(loaded: &Loaded) -> Handle {
    loaded.bench().open(r"\\.\WskClient").expect("the device")
}

fn page(device: &Handle, cursor: u64, most: usize) -> (PageHeader, Vec<Service>) {
    let asked = ServicesRequest::at(cursor);
    let answer = device.ioctl(ServicesRequest::REQUEST.code(), asked.as_bytes(), room::<Service>(most)).expect("services");
    let page = Page::<Service>::read(&answer).expect("a page");
    (page.header, page.entries().collect())
}

fn services(device: &Handle) -> Vec<Service> {
    page(device, 0, MOST_SERVICES).1
}

#[track_caller]
fn service(device: &Handle, name: &str) -> Service {
    let all = services(device);
    *all.iter().find(|service| service.settings.name.as_str() == Some(name)).unwrap_or_else(|| panic!("no {name} in {all:?}"))
}

fn is(device: &Handle, name: &str, state: ServiceState) -> bool {
    service(device, name).state == state.to_wire()
}

fn ask<A: Ask + IntoBytes + Immutable>(device: &Handle, asked: &A) -> Result<(), NtStatus> {
    device.ioctl(A::REQUEST.code(), asked.as_bytes(), 0).map(drop).map_err(|error| error.status)
}

fn name(text: &str) -> Text<32> {
    Text::new(text).expect("a name")
}

fn at_free_port(text: &str, kind: Kind) -> Settings {
    let mut settings = Settings { port: 0, ..Settings::new(name(text), kind) };
    settings.clear_addresses();
    settings.add_address([127, 0, 0, 1].into());
    settings
}

/// Waits until it runs, and says where.
fn running_at(loaded: &Loaded, device: &Handle, text: &str) -> SocketAddr {
    until(loaded, "the service runs", || is(device, text, ServiceState::Running));
    SocketAddr::from(([127, 0, 0, 1], service(device, text).port as u16))
}

fn told(device: &Handle, kind: EventKind, of: &str) -> Vec<Event> {
    let answer =
        device.ioctl(EventsRequest::REQUEST.code(), EventsRequest::after(0, 0).as_bytes(), room::<Event>(200)).expect("events");
    let page = Page::<Event>::read(&answer).expect("a page");
    page.entries().filter(|event| event.kind == kind.to_wire() && event.name.as_str() == Some(of)).collect()
}

isolated! {
    #[test]
    fn control_services_are_listed_as_they_are() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let _stream = echoed(address);
        state_when(&loaded, |state| state.totals.sent == 100);
        let (header, all) = page(&device, 0, MOST_SERVICES);
        assert_eq!((header.total, header.next, all.len()), (1, 0, 1));
        let echo = all[0];
        assert_eq!((echo.state, echo.origin), (ServiceState::Running.to_wire(), Origin::Saved.to_wire()));
        assert_eq!((echo.listening, echo.places, echo.status, echo.port), (1, 1, 0, u32::from(address.port())));
        assert_eq!((echo.totals.received, echo.totals.sent, echo.totals.connections), (100, 100, 1));
        assert_eq!(echo.settings.checked(), Ok(()));
        assert!(echo.settings.hosts().eq([address.ip()]), "{echo:?}");
        loaded.set_active(false).expect("deactivated");
        until(&loaded, "it waits for WSK", || is(&device, "echo", ServiceState::Waiting));
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_forwarder_is_made_by_hand_and_stopped() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        let target = TcpListener::bind("127.0.0.1:0").expect("a target");
        let mut web = at_free_port("web", Kind::Forward);
        web.target_kind = TargetKind::Address.to_wire();
        web.target_address = WireAddress::from(target.local_addr().expect("its address"));
        assert_eq!(ask(&device, &SetRequest::new(web, ONLY_NEW)), Ok(()));
        assert!(is(&device, "web", ServiceState::Stopped), "nobody asked for its start");
        assert_eq!(service(&device, "web").origin, Origin::ByHand.to_wire());
        assert_eq!(service(&device, "web").settings, web);
        assert_eq!(ask(&device, &StartRequest::new(name("WEB"), 0)), Ok(()), "case does not matter");
        let at = running_at(&loaded, &device, "web");
        let mut client = TcpStream::connect(at).expect("it listens");
        let (mut other, _) = target.accept().expect("it connects");
        client.write_all(b"hello").expect("sent");
        let mut five = [0; 5];
        other.read_exact(&mut five).expect("forwarded");
        assert_eq!(&five, b"hello");
        assert_eq!(ask(&device, &StopRequest::new(name("web"), 0)), Ok(()));
        until(&loaded, "it has stopped", || is(&device, "web", ServiceState::Stopped));
        expect_all_ended(&mut [client, other]);
        assert!(TcpStream::connect(at).is_err(), "it listens still");
        assert_eq!(service(&device, "web").totals.received, 5, "what was done counts on");
        assert!(is(&device, "echo", ServiceState::Running), "another service was stopped");
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_stop_with_grace_lets_connections_end_and_resets_what_is_left_then() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        // Idle ones get a FIN and answer it; one that takes nothing can be ended by a reset alone.
        let mut streams = idle(address, 5);
        assert_eq!(ask(&device, &StopRequest::new(name("echo"), 600_000)), Ok(()));
        expect_all_ended(&mut streams);
        drop(streams);
        until(&loaded, "it has stopped", || is(&device, "echo", ServiceState::Stopped));
        assert_eq!(service(&device, "echo").origin, Origin::Changed.to_wire());
        let stopped = told(&device, EventKind::ServiceStopped, "echo");
        assert!(stopped.len() == 1 && stopped[0].a == 0, "{stopped:?}");
        assert_eq!(ask(&device, &StartRequest::new(name("echo"), 0)), Ok(()));
        let at = running_at(&loaded, &device, "echo");
        let _stuck = never_reads(at);
        assert_eq!(ask(&device, &StopRequest::new(name("echo"), 100)), Ok(()));
        until(&loaded, "it has stopped again", || is(&device, "echo", ServiceState::Stopped));
        let stopped = told(&device, EventKind::ServiceStopped, "echo");
        assert!(stopped.len() == 2 && stopped[1].a == 1, "{stopped:?}\n{}", Story::of(&loaded));
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_settings_of_a_running_service_take_effect_at_once() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let mut stream = echoed(address);
        let first = service(&device, "echo");
        assert_eq!(ask(&device, &SetRequest::new(at_free_port("echo", Kind::Discard), 0)), Ok(()));
        expect_all_ended(std::slice::from_mut(&mut stream));
        until(&loaded, "the new one listens", || {
            let now = service(&device, "echo");
            now.state == ServiceState::Running.to_wire() && now.id != first.id
        });
        let at = running_at(&loaded, &device, "echo");
        let mut stream = TcpStream::connect(at).expect("it listens");
        stream.write_all(&[7; 1000]).expect("sent");
        state_when(&loaded, |state| state.totals.received == 1100 && state.totals.sent == 100);
        assert_eq!(service(&device, "echo").origin, Origin::Changed.to_wire());
        drop((stream, device));
        unload_clean(&loaded);
    }

    #[test]
    fn control_a_service_that_is_removed_is_gone_and_its_counts_stay() {
        let (loaded, address) = listening();
        let device = device(&loaded);
        let mut stream = echoed(address);
        state_when(&loaded, |state| state.totals.sent == 100);
        assert_eq!(ask(&device, &RemoveRequest::new(name("echo"), 0)), Ok(()));
        assert_eq!(page(&device, 0, 4).0.total, 0);
        expect_all_ended(std::slice::from_mut(&mut stream));
        until(&loaded, "nothing of it is left", || loaded.state().is_ok_and(|state| state.sockets == 0));
        assert_eq!(loaded.state().expect("the state").totals.received, 100);
        for missing in [
            ask(&device, &RemoveRequest::new(name("echo"), 0)),
            ask(&device, &StartRequest::new(name("echo"), 0)),
            ask(&device, &StopRequest::new(name("echo"), 0)),
        ] {
            assert_eq!(missing, Err(NtStatus::OBJECT_NAME_NOT_FOUND));
        }
        drop(device);
        unload_clean(&loaded);
    }

    #[test]
    fn control_there_are_only_so_many_services_and_pages_show_all() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        assert!(ask(&device, &SetRequest::new(at_free_port("Echo", Kind::Echo), ONLY_NEW)).is_err(), "the name was there");
        for number in 1..MOST_SERVICES {
            assert_eq!(ask(&device, &SetRequest::new(at_free_port(&format!("s{number}"), Kind::Echo), AND_START)), Ok(()));
        }
        assert!(ask(&device, &SetRequest::new(at_free_port("more", Kind::Echo), 0)).is_err(), "there was room");
        until(&loaded, "all run", || services(&device).iter().all(|service| service.state == ServiceState::Running.to_wire()));
        let (mut cursor, mut names) = (0, Vec::new());
        loop {
            let (header, some) = page(&device, cursor, 5);
            assert_eq!(header.total, MOST_SERVICES as u64);
            names.extend(some.iter().map(|service| service.settings.name));
            cursor = header.next;
            if cursor == 0 {
                break;
            }
        }
        assert_eq!(names.len(), MOST_SERVICES);
        assert_eq!((names[0], names[31]), (name("echo"), name("s31")));
        drop(device);
        unload_clean(&loaded);
    }

    /// What was made by hand ends with the driver, unless it was saved; what is saved stays until it is forgotten.
    #[test]
    fn control_services_survive_a_restart_if_they_are_saved() {
        let rig = rig();
        let mut kept = at_free_port("Kept", Kind::Forward);
        kept.target_kind = TargetKind::Name.to_wire();
        (kept.target_name, kept.target_port) = (Text::new("localhost").expect("it fits"), 9);
        (kept.max_bytes, kept.idle_timeout_ms, kept.rate_per_source) = (1 << 20, 60_000, 7);
        kept.add_address("::1".parse().expect("an address"));
        let udp = Settings { protocols: 3, everywhere: 1, ..at_free_port("both", Kind::Chargen) };
        let loaded = load(&rig);
        support::address(&loaded);
        let tool = device(&loaded);
        assert_eq!(ask(&tool, &SaveRequest::new(name("kept"), 0)), Err(NtStatus::OBJECT_NAME_NOT_FOUND));
        for settings in [kept, udp, at_free_port("lost", Kind::Echo)] {
            assert_eq!(ask(&tool, &SetRequest::new(settings, AND_START)), Ok(()));
        }
        assert_eq!(ask(&tool, &SaveRequest::new(name("kept"), 0)), Ok(()));
        assert_eq!(ask(&tool, &SaveRequest::new(name("both"), 0)), Ok(()));
        assert_eq!(service(&tool, "Kept").origin, Origin::Saved.to_wire());
        assert_eq!(service(&tool, "lost").origin, Origin::ByHand.to_wire());
        drop(tool);
        unload_clean(&loaded);
        let loaded = load(&rig);
        let tool = device(&loaded);
        let names: BTreeSet<_> = services(&tool).iter().map(|service| service.settings.name.to_string()).collect();
        assert_eq!(names, ["Kept", "both", "echo"].map(str::to_owned).into(), "the one of before is there too");
        assert_eq!((service(&tool, "Kept").settings, service(&tool, "Kept").origin), (kept, Origin::Saved.to_wire()));
        assert_eq!(service(&tool, "both").settings, udp);
        running_at(&loaded, &tool, "echo");
        assert_eq!(ask(&tool, &RemoveRequest::new(name("KEPT"), FROM_REGISTRY)), Ok(()));
        assert_eq!(ask(&tool, &RemoveRequest::new(name("both"), 0)), Ok(()));
        drop(tool);
        unload_clean(&loaded);
        let loaded = load(&rig);
        let tool = device(&loaded);
        let names: BTreeSet<_> = services(&tool).iter().map(|service| service.settings.name.to_string()).collect();
        assert_eq!(names, ["both", "echo"].map(str::to_owned).into());
        drop(tool);
        unload_clean(&loaded);
    }

    /// A registry that cannot be written is told, and the service stays what it is.
    #[test]
    fn control_a_save_that_fails_is_told() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        assert_eq!(ask(&device, &SetRequest::new(at_free_port("web", Kind::Echo), AND_START)), Ok(()));
        for function in ["ZwCreateKey", "ZwSetValueKey"] {
            loaded.bench().fail(function, ntbench::When::From(1));
            assert_eq!(ask(&device, &SaveRequest::new(name("web"), 0)), Err(NtStatus::INSUFFICIENT_RESOURCES), "{function}");
            loaded.bench().no_faults();
            assert_eq!(service(&device, "web").origin, Origin::ByHand.to_wire());
        }
        drop(device);
        unload_clean(&loaded);
    }

    /// Starts and stops from several tools at once, with connections and deactivations between: nothing is lost or left.
    #[test]
    fn control_services_change_under_load() {
        let (loaded, _) = listening();
        let device = device(&loaded);
        let settings = at_free_port("echo", Kind::Echo);
        std::thread::scope(|scope| {
            for tool in 0..3 {
                let (loaded, settings) = (&loaded, &settings);
                scope.spawn(move || {
                    let device = loaded.bench().open(r"\\.\WskClient").expect("the device");
                    for round in 0..40 {
                        let done = match (round + tool) % 4 {
                            0 => ask(&device, &StopRequest::new(name("echo"), 0)),
                            1 => ask(&device, &StartRequest::new(name("echo"), 0)),
                            2 => ask(&device, &SetRequest::new(*settings, AND_START)),
                            _ => loaded.set_active(false).and_then(|()| loaded.set_active(true)).map_err(|_| NtStatus::CANCELLED),
                        };
                        let busy = NtStatus(0x8000_0011_u32 as i32);
                        assert!(done == Ok(()) || done == Err(busy), "{done:?}");
                        let port = service(&device, "echo").port as u16;
                        // It may listen, or not.
                        let _ = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), Duration::from_secs(5));
                    }
                });
            }
        });
        assert_eq!(ask(&device, &StartRequest::new(name("echo"), 0)), Ok(()));
        let at = running_at(&loaded, &device, "echo");
        drop(echoed(at));
        drop(device);
        unload_clean(&loaded);
    }
}
