//! The end of traffic: cancelled at every stage, given up with its tool, with the driver's leaving, without memory.

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use control_abi::sockets::Protocol;
use control_abi::traffic::{End, ErrorKind, Kind, LEASE, MOST_RUNNING, Phase, Report, Wanted};
use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{NtStatus, When as Failing};
use support::hosts::listener;
use support::traffic::*;
use support::{Loaded, Story, arrive, bounded, depart, isolated, listening, state_when, unload_clean, until};

/// The driver with a job of each kind over each protocol, all of them busy.
fn all_busy() -> (Loaded, Vec<u64>) {
    let (loaded, _) = listening();
    let jobs = EACH.map(|(kind, protocol)| started(&loaded, &job(host_for(kind, protocol), kind, protocol)));
    jobs.iter().for_each(|id| _ = busy(&loaded, *id));
    (loaded, jobs.to_vec())
}

/// A connection that does not come about until its socket is closed, in place of the n-th from now on.
fn never_connects(loaded: &Loaded, when: When) {
    loaded.bench().provider().set_faults(Faults::rule(Function::SocketConnect, when, Action::Never));
}

#[track_caller]
fn expect_end(report: &Report, end: End) {
    assert_eq!((end_of(report), report.open), (Some(end), 0), "{report:?}");
}

/// Traffic works, and what was before has left nothing.
#[track_caller]
fn expect_works(loaded: &Loaded) {
    let report = over(loaded, started(loaded, &counted(tcp(echo), Kind::Echo, Protocol::Tcp, 20)));
    expect_end(&report, End::Count);
    assert_eq!(report.received, 20, "{report:?}");
    state_when(loaded, |state| state.sockets == 1);
}

isolated! {
    #[test]
    fn traffic_is_cancelled_while_it_runs() {
        let (loaded, jobs) = all_busy();
        jobs.iter().for_each(|id| cancel(&loaded, *id).expect("cancelled"));
        for id in jobs {
            let report = over(&loaded, id);
            expect_end(&report, End::Cancelled);
            // A machine may be so busy that a last answer does not come within the time for that.
            assert!(report.errors().all(|(kind, _)| kind == ErrorKind::Silent), "{report:?}");
            cancel(&loaded, id).expect("that changes nothing");
            assert_eq!(look(&loaded, id), Ok(report));
        }
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    /// While no connection is there, and while one waits for another.
    #[test]
    fn traffic_is_cancelled_while_it_connects() {
        let (loaded, _) = listening();
        for (when, connected) in [(When::Always, 0), (When::Nth(2), 1)] {
            never_connects(&loaded, when);
            let id = started(&loaded, &job(tcp(echo), Kind::Echo, Protocol::Tcp));
            let report = support::traffic::when(&loaded, id, "as far as it comes", |report| report.connected == connected);
            assert_eq!((report.phase, report.sent), (Phase::Connecting.to_wire(), 0), "{report:?}");
            cancel(&loaded, id).expect("cancelled");
            let report = over(&loaded, id);
            expect_end(&report, End::Cancelled);
            assert_eq!((report.connected, report.sent, report.elapsed_ns), (connected, 0, 0), "{report:?}");
        }
        loaded.bench().provider().set_faults(Faults::default());
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    /// A send that the peer does not take, and a message that it does not answer.
    #[test]
    fn traffic_is_cancelled_while_its_host_is_silent() {
        let (loaded, _) = listening();
        let (_silent, target) = listener();
        for kind in [Kind::Echo, Kind::Stream] {
            let id = started(&loaded, &Wanted { message: 1 << 16, ..job(target, kind, Protocol::Tcp) });
            support::traffic::when(&loaded, id, "running", |report| report.sent > 0);
            cancel(&loaded, id).expect("cancelled");
            expect_end(&over(&loaded, id), End::Cancelled);
        }
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    /// Whoever decides first decides: the last message or the cancelling.
    #[test]
    fn traffic_is_cancelled_as_it_ends() {
        let (loaded, _) = listening();
        let target = tcp(echo);
        for count in 2..40 {
            let id = started(&loaded, &counted(target, Kind::Echo, Protocol::Tcp, count));
            cancel(&loaded, id).expect("cancelled, or over");
            let report = over(&loaded, id);
            match end_of(&report) {
                Some(End::Count) => assert_eq!(report.received, count, "{report:?}"),
                other => assert_eq!((other, report.received <= count), (Some(End::Cancelled), true), "{report:?}"),
            }
        }
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    /// Nobody asks any more about three jobs: those end that were not to go on. Who only looks renews nothing.
    #[test]
    fn traffic_is_gone_with_its_tool() {
        let (loaded, _) = listening();
        let target = tcp(echo);
        let alone = started(&loaded, &job(target, Kind::Echo, Protocol::Tcp));
        let kept = started(&loaded, &job(target, Kind::Echo, Protocol::Tcp));
        let detached = started(&loaded, &Wanted { detached: true, ..job(target, Kind::Echo, Protocol::Tcp) });
        [alone, kept, detached].iter().for_each(|id| _ = busy(&loaded, *id));
        never_connects(&loaded, When::Always);
        let connecting = started(&loaded, &job(target, Kind::Echo, Protocol::Tcp));
        until(&loaded, "the job ends that nobody asks about", || {
            ask(&loaded, kept).expect("a job");
            look(&loaded, alone).expect("a job").is_over() && look(&loaded, connecting).expect("a job").is_over()
        });
        for abandoned in [alone, connecting] {
            expect_end(&look(&loaded, abandoned).expect("a job"), End::Abandoned);
        }
        assert!(look(&loaded, alone).expect("a job").elapsed_ns >= LEASE.as_nanos() as u64 * 9 / 10);
        for id in [kept, detached] {
            assert_eq!(look(&loaded, id).expect("a job").phase, Phase::Running.to_wire());
        }
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_ends_with_a_deactivation() {
        let (loaded, jobs) = all_busy();
        bounded(loaded.bench(), "the deactivation", || loaded.set_active(false)).expect("inactive");
        jobs.iter().for_each(|id| expect_end(&over(&loaded, *id), End::Deactivated));
        let wanted = job(tcp(echo), Kind::Echo, Protocol::Tcp);
        assert_eq!(start(&loaded, &wanted), Err(NtStatus::DEVICE_NOT_READY));
        loaded.set_active(true).expect("active");
        until(&loaded, "the driver is attached", || loaded.state().is_ok_and(|state| state.sockets == 1));
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_ends_with_the_provider() {
        let (loaded, jobs) = all_busy();
        depart(loaded.bench());
        jobs.iter().for_each(|id| expect_end(&over(&loaded, *id), End::ProviderGone));
        arrive(loaded.bench());
        until(&loaded, "the driver is attached", || loaded.state().is_ok_and(|state| state.sockets == 1));
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    #[test]
    fn traffic_ends_with_an_unload() {
        let (loaded, jobs) = all_busy();
        unload_clean(&loaded);
        let ended = Story::of(&loaded).printed(": shutdown").len();
        assert_eq!(ended, jobs.len(), "{}", Story::of(&loaded));
    }

    /// With connections that do not come about, messages that are not answered, and sends that are not taken.
    #[test]
    fn traffic_that_stands_still_ends_with_an_unload() {
        let (loaded, _) = listening();
        let (_silent, target) = listener();
        let echoing = started(&loaded, &job(target, Kind::Echo, Protocol::Tcp));
        let streaming = started(&loaded, &Wanted { message: 1 << 18, ..job(target, Kind::Stream, Protocol::Tcp) });
        let lost = started(&loaded, &job(udp(|_, _| None), Kind::Echo, Protocol::Udp));
        for id in [echoing, streaming, lost] {
            support::traffic::when(&loaded, id, "running", |report| report.phase == Phase::Running.to_wire());
        }
        never_connects(&loaded, When::Always);
        started(&loaded, &job(target, Kind::Echo, Protocol::Tcp));
        unload_clean(&loaded);
    }

    /// Jobs are started while the driver comes and goes: each is refused, or ends.
    #[test]
    fn traffic_started_while_the_driver_leaves_ends() {
        let (loaded, _) = listening();
        let (target, done) = (tcp(echo), AtomicBool::new(false));
        let jobs = std::thread::scope(|scope| {
            let starting = scope.spawn(|| start_all_the_time(&loaded, target, &done));
            for _ in 0..8 {
                loaded.set_active(false).expect("inactive");
                loaded.set_active(true).expect("active");
                until(&loaded, "a job runs", || {
                    let (jobs, _) = page(&loaded, 0, 8);
                    jobs.iter().any(|job| job.phase == Phase::Running.to_wire())
                });
            }
            loaded.set_active(false).expect("inactive");
            done.store(true, Ordering::Release);
            starting.join().expect("no other refusal")
        });
        assert!(jobs >= 8, "only {jobs} jobs");
        until(&loaded, "all jobs end", || page(&loaded, 0, 8).0.iter().all(Report::is_over));
        loaded.set_active(true).expect("active");
        until(&loaded, "the driver is attached", || loaded.state().is_ok_and(|state| state.sockets == 1));
        expect_works(&loaded);
        unload_clean(&loaded);
    }

    /// Each allocation fails in its turn, and then each from one on: the job is refused, or ends; and traffic works again.
    #[test]
    fn traffic_without_memory_is_refused_or_ends() {
        let (loaded, _) = listening();
        let hosts = EACH.map(|(kind, protocol)| host_for(kind, protocol));
        for number in 1..48 {
            for failing in [Failing::Nth(number), Failing::From(number)] {
                let ((kind, protocol), target) = (EACH[number as usize % 4], hosts[number as usize % 4]);
                loaded.bench().fail("ExAllocatePool2", failing);
                let outcome = start(&loaded, &Wanted { connections: 5, ..counted(target, kind, protocol, 50) });
                // Some of its connections come about, or fail, while there is none.
                std::thread::sleep(Duration::from_millis(number % 5));
                loaded.bench().no_faults();
                match outcome {
                    Ok(id) => _ = over(&loaded, id),
                    Err(status) => assert_eq!(status, NtStatus::INSUFFICIENT_RESOURCES),
                }
            }
        }
        (0..MOST_RUNNING).for_each(|_| expect_works(&loaded));
        unload_clean(&loaded);
    }
}

/// Starts jobs until `done`, and cancels those that are too many: how many there were.
fn start_all_the_time(loaded: &Loaded, target: SocketAddr, done: &AtomicBool) -> usize {
    let mut jobs = 0;
    while !done.load(Ordering::Acquire) {
        match start(loaded, &job(target, Kind::Echo, Protocol::Tcp)) {
            Ok(_) => jobs += 1,
            Err(NtStatus::DEVICE_BUSY) => page(loaded, 0, 8).0.iter().take(2).for_each(|job| _ = cancel(loaded, job.id)),
            Err(status) => assert_eq!(status, NtStatus::DEVICE_NOT_READY),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    jobs
}
