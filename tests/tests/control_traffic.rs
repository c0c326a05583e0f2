//! Traffic, the driver as client: each kind over each protocol to a host that answers, or does not, and every request.

mod support;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use control_abi::sockets::Protocol;
use control_abi::traffic::{
    Asked, CancelRequest, End, ErrorKind, Kind, MOST_CONNECTIONS, MOST_DATAGRAM, MOST_JOBS, MOST_MESSAGE, MOST_RUNNING, Report,
    StartRequest, Wanted,
};
use control_abi::{Ask, Request, RequestHeader, WireAddress};
use ntbench::NtStatus;
use support::hosts::{listener, nobody};
use support::traffic::*;
use support::{Loaded, Story, isolated, listening, state_when, unload_clean, until};
use zerocopy::IntoBytes;

/// Fails unless the job's figures fit together.
#[track_caller]
fn expect_sound(report: &Report) {
    let latency = report.latency;
    let times = [latency.least, latency.p50, latency.p90, latency.p99, latency.p999, latency.most];
    assert!(times.is_sorted(), "{report:?}");
    assert!(latency.mean >= latency.least && latency.mean <= latency.most, "{report:?}");
    let message = u64::from(report.asked.message);
    assert_eq!(report.bytes_sent, report.sent * message, "{report:?}");
    assert!(report.received <= report.sent && report.bytes_received >= report.received * message, "{report:?}");
    assert_eq!(report.open, 0, "{report:?}");
}

/// Fails unless the job ended after its messages, all of them came back, and nothing went wrong.
#[track_caller]
fn expect_all_back(report: &Report, count: u64) {
    expect_sound(report);
    assert_eq!((report.sent, report.received, report.latency.count), (count, count, count), "{report:?}");
    expect_nothing_wrong(report);
    assert_eq!(end_of(report), Some(End::Count), "{report:?}");
}

#[track_caller]
fn expect_nothing_wrong(report: &Report) {
    assert_eq!((report.mismatched, report.lost, report.late), (0, 0, 0), "{report:?}");
    assert_eq!((report.connected, report.failed, report.errors().count()), (report.asked.connections, 0, 0), "{report:?}");
}

/// What a job whose connections all fail ended with.
#[track_caller]
fn failing(loaded: &Loaded, wanted: &Wanted, kind: ErrorKind) -> Report {
    let report = over(loaded, started(loaded, wanted));
    let errors: Vec<_> = report.errors().collect();
    assert_eq!(errors, [(kind, u64::from(wanted.connections))], "{report:?}");
    assert_eq!((end_of(&report), report.failed), (Some(End::Failed), wanted.connections), "{report:?}");
    assert_eq!(ErrorKind::from_wire(report.first_error), Some(kind), "{report:?}");
    report
}

fn good() -> Asked {
    counted(SocketAddr::from(([127, 0, 0, 1], 7)), Kind::Echo, Protocol::Tcp, 10).to_wire()
}

#[track_caller]
fn refused(loaded: &Loaded, asked: Asked, status: NtStatus) {
    let request = StartRequest { header: RequestHeader::CURRENT, asked };
    let answer = support::traffic::request(loaded, &request, 16);
    assert_eq!(answer, Err(status), "{asked:?}");
}

isolated! {
    /// One byte, some, as many as a segment does not hold, and the most; more connections than messages are all served.
    #[test]
    fn traffic_echoes_over_tcp_come_back_whole() {
        let (loaded, _) = listening();
        let target = tcp(echo);
        for (message, connections, count) in [(1, 1, 300), (100, 7, 1000), (70_001, 3, 60), (MOST_MESSAGE, 2, 6), (50, 100, 100)] {
            let wanted = Wanted { message, connections, ..counted(target, Kind::Echo, Protocol::Tcp, count) };
            expect_all_back(&over(&loaded, started(&loaded, &wanted)), count);
        }
        state_when(&loaded, |state| state.sockets == 1);
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_streams_over_tcp_arrive_whole() {
        let (loaded, _) = listening();
        let bytes = Arc::new(AtomicU64::new(0));
        let counted_by = Arc::clone(&bytes);
        let target = tcp(move |mut stream| support::traffic::count(&mut stream, &counted_by));
        let mut sum = 0;
        for (message, connections, count) in [(1, 1, 500), (1000, 4, 2001), (MOST_MESSAGE, 2, 9)] {
            let wanted = Wanted { message, connections, ..counted(target, Kind::Stream, Protocol::Tcp, count) };
            let report = over(&loaded, started(&loaded, &wanted));
            expect_sound(&report);
            expect_nothing_wrong(&report);
            assert_eq!((report.sent, report.latency.count, end_of(&report)), (count, count, Some(End::Count)), "{report:?}");
            sum += count * u64::from(message);
            until(&loaded, "all of it arrives", || bytes.load(Ordering::Acquire) == sum);
        }
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_echoes_over_udp_come_back_whole() {
        let (loaded, _) = listening();
        let target = udp(|_, bytes| Some(bytes.to_vec()));
        for (message, connections, count) in [(8, 1, 300), (100, 5, 1000), (MOST_DATAGRAM, 1, 20)] {
            let wanted = Wanted { message, connections, ..counted(target, Kind::Echo, Protocol::Udp, count) };
            let report = over(&loaded, started(&loaded, &wanted));
            // A machine that is busy enough has answers come too late; they are told as such.
            expect_sound(&report);
            assert_eq!((report.sent, report.received + report.lost, report.mismatched), (count, count, 0), "{report:?}");
            assert!(report.received > count / 2 && report.late <= report.lost, "{report:?}");
            assert_eq!(end_of(&report), Some(End::Count), "{report:?}");
        }
        unload_clean(&loaded);
    }

    /// At a rate, it takes its time; without one, every datagram is sent.
    #[test]
    fn traffic_streams_over_udp_are_sent_at_their_rate() {
        let (loaded, _) = listening();
        let seen = Arc::new(AtomicU64::new(0));
        let see = Arc::clone(&seen);
        let target = udp(move |_, bytes| {
            see.fetch_add(bytes.len() as u64, Ordering::AcqRel);
            None
        });
        let wanted = Wanted { rate: Some(500), ..counted(target, Kind::Stream, Protocol::Udp, 200) };
        let report = over(&loaded, started(&loaded, &wanted));
        expect_sound(&report);
        expect_nothing_wrong(&report);
        assert_eq!((report.sent, report.latency.count, end_of(&report)), (200, 200, Some(End::Count)), "{report:?}");
        // 200 at 500 per second; what was late is made up for, but not what a while before.
        assert!(report.elapsed_ns > 250_000_000, "{report:?}");
        until(&loaded, "they arrive", || seen.load(Ordering::Acquire) == 200 * 100);
        let report = over(&loaded, started(&loaded, &counted(target, Kind::Stream, Protocol::Udp, 2000)));
        assert_eq!((report.sent, report.errors().count()), (2000, 0), "{report:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_goes_over_ipv6_and_to_mapped_addresses() {
        let (loaded, _) = listening();
        let listener = std::net::TcpListener::bind("[::1]:0").expect("a listener");
        let v6 = listener.local_addr().expect("its address");
        accept_all(listener, echo);
        expect_all_back(&over(&loaded, started(&loaded, &counted(v6, Kind::Echo, Protocol::Tcp, 50))), 50);
        let socket = support::udp::host("[::1]:0");
        let datagrams = socket.local_addr().expect("its address");
        std::thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let _ = socket.send_to(&buffer[..length], from);
            }
        });
        let report = over(&loaded, started(&loaded, &counted(datagrams, Kind::Echo, Protocol::Udp, 50)));
        assert!(report.received > 25 && report.sent == 50, "{report:?}");
        unload_clean(&loaded);
    }

    /// What is asked for is what the report says, and the time is kept.
    #[test]
    fn traffic_ends_after_its_time() {
        let (loaded, _) = listening();
        for (kind, protocol) in EACH {
            let wanted = Wanted { duration: Some(Duration::from_millis(300)), ..job(host_for(kind, protocol), kind, protocol) };
            let report = over(&loaded, started(&loaded, &wanted));
            assert_eq!((report.asked, end_of(&report)), (wanted.to_wire(), Some(End::Duration)), "{report:?}");
            assert!(report.elapsed_ns >= 300_000_000 && report.sent > 0 && report.latency.count > 0, "{report:?}");
            expect_sound(&report);
        }
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_to_nobody_is_refused() {
        let (loaded, _) = listening();
        for kind in [Kind::Echo, Kind::Stream] {
            let report = failing(&loaded, &job(nobody(), kind, Protocol::Tcp), ErrorKind::Refused);
            assert_eq!((report.connected, report.sent, report.latency.count), (0, 0, 0), "{report:?}");
        }
        unload_clean(&loaded);
    }

    /// Reset in the middle of a message, and ended where an answer was due.
    #[test]
    fn traffic_to_a_host_that_resets_or_closes_says_so() {
        let (loaded, _) = listening();
        let resetting = tcp(|mut stream| {
            reset(&stream);
            let _ = stream.read_exact(&mut [0; 60]);
        });
        failing(&loaded, &job(resetting, Kind::Echo, Protocol::Tcp), ErrorKind::Reset);
        let report = over(&loaded, started(&loaded, &job(resetting, Kind::Stream, Protocol::Tcp)));
        assert_eq!((end_of(&report), report.failed), (Some(End::Failed), 2), "{report:?}");
        let closing = tcp(|mut stream| {
            let mut part = [0; 60];
            stream.read_exact(&mut [0; 100]).and_then(|()| stream.write_all(&mut part)).expect("a message, and a part of one");
            let _ = stream.shutdown(std::net::Shutdown::Write);
            support::traffic::count(&mut stream, &AtomicU64::new(0));
        });
        let report = failing(&loaded, &job(closing, Kind::Echo, Protocol::Tcp), ErrorKind::Closed);
        assert_eq!((report.sent, report.received, report.bytes_received), (2, 0, 120), "{report:?}");
        unload_clean(&loaded);
    }

    /// Some connections fail, and the others go on.
    #[test]
    fn traffic_goes_on_with_the_connections_that_are_left() {
        let (loaded, _) = listening();
        let accepted = AtomicU64::new(0);
        let target = tcp(move |mut stream| match accepted.fetch_add(1, Ordering::AcqRel) % 2 {
            0 => echo(stream),
            _ => {
                reset(&stream);
                let _ = stream.read_exact(&mut [0; 100]);
            }
        });
        let wanted = Wanted { connections: 4, ..counted(target, Kind::Echo, Protocol::Tcp, 400) };
        let report = over(&loaded, started(&loaded, &wanted));
        assert_eq!((end_of(&report), report.connected, report.failed, report.received), (Some(End::Count), 4, 2, 200), "{report:?}");
        unload_clean(&loaded);
    }

    /// No answer comes: the job ends in time, and says for how many connections none came.
    #[test]
    fn traffic_to_a_silent_host_ends_in_time() {
        let (loaded, _) = listening();
        let (_silent, target) = listener();
        for kind in [Kind::Echo, Kind::Stream] {
            let wanted = Wanted { duration: Some(Duration::from_millis(400)), ..job(target, kind, Protocol::Tcp) };
            let report = over(&loaded, started(&loaded, &wanted));
            assert_eq!((end_of(&report), report.received), (Some(End::Duration), 0), "{report:?}");
            if kind == Kind::Echo {
                assert_eq!(report.errors().collect::<Vec<_>>(), [(ErrorKind::Silent, 2)], "{report:?}");
            }
        }
        let wanted = Wanted { duration: Some(Duration::from_millis(700)), ..job(udp(|_, _| None), Kind::Echo, Protocol::Udp) };
        let report = over(&loaded, started(&loaded, &wanted));
        assert!(report.lost > 0 && report.received == 0 && end_of(&report) == Some(End::Duration), "{report:?}");
        unload_clean(&loaded);
    }

    /// Of the answers every third is lost, every other third comes twice.
    #[test]
    fn traffic_over_udp_tells_what_is_lost_and_what_is_late() {
        let (loaded, _) = listening();
        let lossy = udp(|number, bytes| (number % 3 != 0).then(|| bytes.to_vec()));
        let report = over(&loaded, started(&loaded, &Wanted { connections: 1, ..counted(lossy, Kind::Echo, Protocol::Udp, 12) }));
        assert!(report.lost >= 4 && report.received + report.lost == 12 && report.mismatched == 0, "{report:?}");
        // Each answer is that to the datagram before: which had been given up, and so is late.
        let mut before = None;
        let slow = udp(move |_, bytes| before.replace(bytes.to_vec()));
        let report = over(&loaded, started(&loaded, &Wanted { connections: 1, ..counted(slow, Kind::Echo, Protocol::Udp, 5) }));
        assert_eq!((report.received, report.lost, report.mismatched), (0, 5, 0), "{report:?}");
        assert!((1..=4).contains(&report.late), "{report:?}");
        assert_eq!(end_of(&report), Some(End::Count), "{report:?}");
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_sees_a_wrong_byte_in_an_answer() {
        let (loaded, _) = listening();
        let lying = tcp(|mut stream| {
            let mut message = [0; 100];
            while stream.read_exact(&mut message).is_ok() {
                message[99] ^= 1;
                stream.write_all(&message).expect("sent");
            }
        });
        let report = over(&loaded, started(&loaded, &counted(lying, Kind::Echo, Protocol::Tcp, 10)));
        assert_eq!((report.sent, report.received, report.mismatched, report.latency.count), (10, 0, 10, 0), "{report:?}");
        let lying = udp(|_, bytes| Some(bytes.iter().rev().copied().collect()));
        let report = over(&loaded, started(&loaded, &counted(lying, Kind::Echo, Protocol::Udp, 6)));
        assert_eq!((report.sent, report.received, report.lost), (6, 0, 6), "{report:?}");
        assert!((1..=6).contains(&report.mismatched), "{report:?}");
        unload_clean(&loaded);
    }

    /// Everything that the target's field, and each other, cannot be. Nothing runs afterwards.
    #[test]
    fn traffic_with_a_wrong_field_is_refused() {
        let (loaded, _) = listening();
        let address = |text: &str| WireAddress::from(text.parse::<SocketAddr>().expect("an address"));
        let wrong = [
            Asked { target: WireAddress::NONE, ..good() },
            Asked { target: address("127.0.0.1:0"), ..good() },
            Asked { target: address("[ff02::1]:7"), ..good() },
            Asked { kind: 0, ..good() },
            Asked { kind: 3, ..good() },
            Asked { protocol: 1, ..good() },
            Asked { flags: 4, ..good() },
            Asked { connections: 0, ..good() },
            Asked { connections: MOST_CONNECTIONS + 1, ..good() },
            Asked { message: 0, ..good() },
            Asked { message: MOST_MESSAGE + 1, ..good() },
            Asked { message: MOST_DATAGRAM + 1, protocol: Protocol::Udp.to_wire(), ..good() },
            Asked { rate: 1, ..good() },
            Asked { duration_ms: u64::MAX, ..good() },
            Asked { count: 0, ..good() },
            Asked { count: 1, ..good() },
        ];
        wrong.into_iter().for_each(|asked| refused(&loaded, asked, NtStatus::INVALID_PARAMETER));
        for beyond in ["192.0.2.1:7", "[2001:db8::1]:7", "[::ffff:192.0.2.1]:7"] {
            refused(&loaded, Asked { target: address(beyond), ..good() }, NtStatus::ACCESS_DENIED);
        }
        for (id, reserved) in [(7, 0), (u64::MAX, 0), (0, 0)] {
            let asked = control_abi::traffic::AskRequest { reserved, ..control_abi::traffic::AskRequest::renewing(id) };
            assert_eq!(request(&loaded, &asked, 1000), Err(NtStatus::NOT_FOUND));
            assert_eq!(cancel(&loaded, id), Err(NtStatus::NOT_FOUND));
        }
        assert_eq!(page(&loaded, 0, 8), (vec![], 0));
        unload_clean(&loaded);
    }

    /// Each request with every wrong length, without room for its answer, and of another version.
    #[test]
    fn traffic_requests_of_a_wrong_length_are_refused() {
        let (loaded, _) = listening();
        let start = StartRequest { header: RequestHeader::CURRENT, asked: good() };
        let ask = control_abi::traffic::AskRequest::renewing(1);
        let (cancel, list) = (CancelRequest::of(1), control_abi::traffic::ListRequest::at(0));
        let requests: [(Request, &[u8], usize); 4] = [
            (StartRequest::REQUEST, start.as_bytes(), StartRequest::LEAST_ROOM),
            (Request::TrafficAsk, ask.as_bytes(), size_of::<Report>()),
            (Request::TrafficCancel, cancel.as_bytes(), 0),
            (Request::TrafficList, list.as_bytes(), control_abi::page::room::<Report>(1)),
        ];
        for (request, input, room) in requests {
            for length in 0..input.len() {
                let answer = bytes(&loaded, request, &input[..length], room);
                assert_eq!(answer, Err(NtStatus::BUFFER_TOO_SMALL), "{request:?} of {length} bytes");
            }
            let longer = [input, &[0]].concat();
            assert_eq!(bytes(&loaded, request, &longer, room), Err(NtStatus::INVALID_PARAMETER), "{request:?}, longer");
            if let Some(less) = room.checked_sub(1) {
                assert_eq!(bytes(&loaded, request, input, less), Err(NtStatus::BUFFER_TOO_SMALL), "{request:?}, no room");
            }
            let mut other = input.to_vec();
            other[0] ^= 0x40;
            assert_eq!(bytes(&loaded, request, &other, room), Err(NtStatus::REVISION_MISMATCH), "{request:?}, other version");
        }
        assert_eq!(page(&loaded, 0, 8), (vec![], 0));
        unload_clean(&loaded);
    }

    /// So many run, and hold so much; what is over makes place, the oldest first, and is listed page by page meanwhile.
    #[test]
    fn traffic_has_its_limits_and_a_list() {
        let (loaded, _) = listening();
        let target = tcp(echo);
        let huge = Wanted { connections: 512, message: MOST_MESSAGE, ..job(target, Kind::Echo, Protocol::Tcp) };
        assert_eq!(start(&loaded, &huge), Err(NtStatus::QUOTA_EXCEEDED));
        let running: Vec<_> = (0..MOST_RUNNING).map(|_| started(&loaded, &job(target, Kind::Echo, Protocol::Tcp))).collect();
        assert_eq!(start(&loaded, &job(target, Kind::Echo, Protocol::Tcp)), Err(NtStatus::DEVICE_BUSY));
        let ids = |reports: &[Report]| reports.iter().map(|report| report.id).collect::<Vec<_>>();
        let (first, next) = page(&loaded, 0, 3);
        let (rest, end) = page(&loaded, next, 3);
        assert_eq!((ids(&first), ids(&rest), next, end), (running[..3].to_vec(), running[3..].to_vec(), running[2], 0));
        running.iter().for_each(|id| cancel(&loaded, *id).expect("cancelled"));
        running.iter().for_each(|id| assert_eq!(end_of(&over(&loaded, *id)), Some(End::Cancelled)));
        for _ in 0..MOST_JOBS {
            let id = started(&loaded, &counted(target, Kind::Echo, Protocol::Tcp, 2));
            over(&loaded, id);
        }
        assert_eq!(look(&loaded, running[3]), Err(NtStatus::NOT_FOUND));
        let (all, end) = page(&loaded, 0, 100);
        assert_eq!((all.len(), end, all.iter().all(Report::is_over)), (MOST_JOBS, 0, true));
        assert!(!Story::of(&loaded).printed("traffic").is_empty());
        unload_clean(&loaded);
    }
}
