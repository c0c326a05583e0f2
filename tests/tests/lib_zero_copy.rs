//! Receiving in place and sending without copying, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/zero_copy.rs`).

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{CompletionIrql, Config, NtStatus};
use support::exercise::{Exercise, NO_TARGET, exercise, exercise_on, exercise_rig};
use support::{SOON, assert_clean, assert_nothing_left, config, isolated, peer, until};

const MIB: u64 = 1 << 20;

/// Sends that end late, from other threads, before their call returns, or inline with STATUS_PENDING.
fn in_every_order(split: usize) -> Faults {
    let rule = |chance, action| Rule { function: Function::Send, when: When::Chance(chance), action };
    let late = rule(0.02, Action::Late(Duration::from_millis(1)));
    let rules = vec![late, rule(0.1, Action::BeforeReturn), rule(0.3, Action::Pending)];
    Faults { rules, split_reads: Some(split), odd_lists: split % 2 == 1, ..Faults::default() }
}

/// Pushes bytes through what listens there; what comes back is the same.
fn pushed(run: &Exercise, bytes: u64, seed: u64) {
    peer::push(run.at(), bytes, seed, &AtomicU64::new(0)).expect("the same bytes back");
}

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
}

/// Nothing is kept any more, when the driver is unloaded and clean.
fn ended(run: &Exercise) {
    run.unload_clean();
    assert_eq!(run.bench().provider().stats().kept, 0, "lists are kept after the unload");
    assert_nothing_left(run.bench());
}

/// Writes until the other side takes no more.
fn fill(stream: &mut TcpStream) -> u64 {
    stream.set_write_timeout(Some(Duration::from_millis(1000))).expect("a time-out");
    let mut sent = 0;
    loop {
        match stream.write(&[0x5a; 64 << 10]) {
            Ok(count) => sent += count as u64,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent,
            Err(error) => panic!("{error}"),
        }
    }
}

/// Bytes in pieces of at most this size come back as they were sent, in whatever order the sends complete.
fn survives(split: usize, seed: u64) {
    let rig = exercise_rig(Config { completion_irql: CompletionIrql::Random, ..config() });
    rig.bench().provider().set_faults(in_every_order(split));
    let run = exercise_on(&rig, "zero_copy_echo", NO_TARGET);
    pushed(&run, 4 * MIB, seed);
    run.expect_ok();
    ended(&run);
}

/// Something is held when the stream ends in this way.
fn held_to_its_end(how: &str) {
    let run = exercise("zero_copy_hold", NO_TARGET);
    let mut stream = peer::connect(run.at()).expect("a connection");
    stream.write_all(&[7; 50_000]).expect("sent");
    run.said("holding");
    if how == "FIN" {
        drop(stream)
    } else {
        reset(stream)
    }
    assert_eq!(run.said("ended"), how);
    run.expect_ok();
    ended(&run);
}

/// A send that holds an indication is dropped, and comes back so much later than it is cancelled.
fn dropped_with_its_send(late: Option<Duration>) {
    let (listener, target) = listener();
    let rig = exercise_rig(Config { completion_irql: CompletionIrql::Random, ..config() });
    let rule = |late| Rule { function: Function::Send, when: When::Always, action: Action::Late(late) };
    rig.bench().provider().set_faults(Faults { rules: late.map(rule).into_iter().collect(), ..Faults::default() });
    let run = exercise_on(&rig, "zero_copy_dropped", target);
    let (stalled, _) = listener.accept().expect("it connects");
    let mut stream = peer::connect(run.at()).expect("a connection");
    stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    let flood = std::thread::spawn(move || {
        (0..1000).for_each(|_| stream.write_all(&[1; 64 << 10]).expect("taken"));
        stream.shutdown(Shutdown::Write).expect("half-closed");
        stream.read_to_end(&mut Vec::new()).expect("a FIN");
    });
    run.said("dropped after");
    run.expect_ok();
    flood.join().expect("the flood");
    drop(stalled);
    ended(&run);
}

/// How many lists the scenario holds, of how many bytes.
#[track_caller]
fn holding(run: &Exercise) -> (u64, u64) {
    let said = run.said("holding ");
    let mut numbers = said.split_whitespace().filter_map(|word| word.parse().ok());
    numbers.next().zip(numbers.next()).expect("two numbers")
}

fn reset(stream: TcpStream) {
    let socket = rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO));
    socket.expect("no lingering");
    drop(stream);
}

isolated! {
    #[test]
    fn lib_zero_copy_64_mib_come_back_as_they_were_sent() {
        let run = exercise("zero_copy_echo", NO_TARGET);
        pushed(&run, 64 * MIB, 1);
        run.expect_ok();
        assert!(run.bench().provider().stats().kept_most > 0, "nothing was kept: this test shows nothing");
        ended(&run);
    }

    #[test]
    fn lib_zero_copy_the_order_of_bytes_survives_small_odd_pieces() {
        survives(1025, 2);
    }

    #[test]
    fn lib_zero_copy_the_order_of_bytes_survives_odd_pieces() {
        survives(4093, 3);
    }

    #[test]
    fn lib_zero_copy_the_order_of_bytes_survives_large_pieces() {
        survives(60_000, 4);
    }

    /// One list at a time: each is followed by a refusal, and by a receive of nothing when it has been given back.
    #[test]
    fn lib_zero_copy_a_bound_that_is_reached_all_the_time_loses_nothing() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(in_every_order(10_008));
        let run = exercise_on(&rig, "zero_copy_tight", NO_TARGET);
        pushed(&run, 2 * MIB, 5);
        run.expect_ok();
        assert_eq!(run.bench().provider().stats().kept_most, 1, "the bound is one list");
        ended(&run);
    }

    #[test]
    fn lib_zero_copy_what_is_read_in_place_and_copied_is_what_was_sent() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(in_every_order(7919));
        let run = exercise_on(&rig, "zero_copy_copies", NO_TARGET);
        pushed(&run, MIB, 6);
        run.expect_ok();
        ended(&run);
    }

    #[test]
    fn lib_zero_copy_chains_and_parts_go_out_in_order_and_come_back_unlinked() {
        let (listener, target) = listener();
        let run = exercise("zero_copy_vectors", target);
        let (mut stream, _) = listener.accept().expect("it connects");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("all of it");
        assert_eq!(text, "one two three four two three four two three four");
        run.expect_ok_and_unload();
    }

    #[test]
    fn lib_zero_copy_the_bound_holds_and_giving_back_goes_on() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults { split_reads: Some(30_000), ..Faults::default() });
        let run = exercise_on(&rig, "zero_copy_bound", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        stream.set_write_timeout(Some(Duration::from_secs(10))).expect("a time-out");
        stream.write_all(&vec![3; 2 << 20]).expect("taken");
        let (lists, bytes) = holding(&run);
        assert!(lists <= 4 && bytes <= 100_000, "{lists} lists of {bytes} bytes are more than the bound");
        assert!(lists == 4 || bytes > 100_000 - 30_000, "{lists} lists of {bytes} bytes: there was room for another");
        stream.shutdown(Shutdown::Write).expect("half-closed");
        assert_eq!(run.said("received"), (2 << 20).to_string());
        run.expect_ok();
        let most = run.bench().provider().stats().kept_most;
        assert!((lists..=4).contains(&most), "{most} were kept, {lists} at once");
        ended(&run);
    }

    #[test]
    fn lib_zero_copy_what_is_held_stays_readable_after_the_end_of_the_stream() {
        held_to_its_end("FIN");
    }

    #[test]
    fn lib_zero_copy_what_is_held_stays_readable_after_a_reset() {
        held_to_its_end("reset");
    }

    /// The detach waits for what the driver's task holds, and no longer.
    #[test]
    fn l21_a_detach_waits_for_an_indication_that_is_held() {
        let run = exercise("zero_copy_hold", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        stream.write_all(&[7; 50_000]).expect("sent");
        run.said("holding");
        let began = Instant::now();
        let (status, took) = run.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(run.said("ended"), "detached");
        assert!(took >= Duration::from_millis(40), "the detach took {took:?} and did not wait for the list");
        assert!(began.elapsed() < 2 * SOON, "the detach took {:?}", began.elapsed());
        run.expect_ok();
        assert_eq!(run.bench().provider().stats().kept, 0);
        ended(&run);
    }

    #[test]
    fn l21_an_unload_waits_for_an_indication_that_is_held() {
        let run = exercise("zero_copy_hold", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        stream.write_all(&[7; 50_000]).expect("sent");
        run.said("holding");
        ended(&run);
        assert_eq!(run.verdict(), "ok");
    }

    /// What nobody has taken from the queue goes back by itself.
    #[test]
    fn l21_a_detach_gives_back_what_is_queued() {
        let rig = exercise_rig(config());
        rig.bench().provider().set_faults(Faults { split_reads: Some(10_000), ..Faults::default() });
        let run = exercise_on(&rig, "zero_copy_queue", NO_TARGET);
        let mut stream = peer::connect(run.at()).expect("a connection");
        fill(&mut stream);
        run.said("queueing");
        until(&run.loaded, "four lists are queued", || run.bench().provider().stats().kept == 4);
        let (status, _) = run.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert_eq!(run.bench().provider().stats().kept, 0);
        assert_clean(run.bench());
        run.expect_ok();
        ended(&run);
    }

    /// The payload of a send whose future was dropped goes in its completion routine, and its indication from there to the
    /// executor: WskRelease is not entered in between.
    #[test]
    fn l36_an_indication_dropped_with_its_send_is_released_elsewhere() {
        dropped_with_its_send(None);
    }

    #[test]
    fn l36_an_indication_dropped_with_a_send_that_comes_back_late_is_released_elsewhere() {
        dropped_with_its_send(Some(Duration::from_millis(100)));
    }

    /// Both peers stall, and each stream's lists are in sends on the other: neither close may wait for the other's.
    #[test]
    fn l19_two_streams_that_hold_each_others_indications_do_not_stop_the_detach() {
        let (listener, target) = listener();
        let run = exercise("zero_copy_forward", target);
        let mut one = peer::connect(run.at()).expect("a connection");
        let (mut other, _) = listener.accept().expect("it connects");
        run.said("forwarding");
        fill(&mut one);
        fill(&mut other);
        until(&run.loaded, "lists are kept", || run.bench().provider().stats().kept >= 2);
        let (status, took) = run.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert!(took < SOON, "the detach took {took:?}");
        assert_clean(run.bench());
        ended(&run);
    }

    /// The same with sends that fail and never give their IRPs back.
    #[test]
    fn l35_indications_in_parked_sends_do_not_stop_the_detach() {
        let (listener, target) = listener();
        let run = exercise("zero_copy_forward", target);
        let mut one = peer::connect(run.at()).expect("a connection");
        let (mut other, _) = listener.accept().expect("it connects");
        run.said("forwarding");
        let rule = Rule { function: Function::Send, when: When::Always, action: Action::Abandon(NtStatus::INVALID_DEVICE_STATE) };
        run.bench().provider().set_faults(Faults { rules: vec![rule], ..Faults::default() });
        one.write_all(&[1; 1000]).expect("sent");
        other.write_all(&[1; 1000]).expect("sent");
        run.said("back send");
        assert!(run.verdict().contains("send"), "{}", run.verdict());
        let (status, took) = run.bench().provider().depart().wait();
        assert_eq!(status, NtStatus::SUCCESS);
        assert!(took < SOON, "the detach took {took:?}");
        ended(&run);
    }
}
