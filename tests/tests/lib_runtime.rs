//! The executor of the `wsk` library, by scenarios of the driver `wsk-exercise` (`tests/exercise/src/runtime.rs`).

mod support;

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use support::exercise::{NO_TARGET, exercise};
use support::isolated;

isolated! {
    #[test]
    fn lib_runtime_tasks_are_joined_from_both_lanes_and_the_passive_thread() {
        exercise("runtime_join", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_runtime_an_aborted_task_is_dropped_on_its_lane() {
        exercise("runtime_abort", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_runtime_a_task_that_nobody_can_wake_says_so_to_its_handle() {
        exercise("runtime_lost", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_runtime_a_limit_cancels_what_is_late_and_the_socket_goes_on() {
        let peer = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let target = peer.local_addr().expect("an address");
        let echo = thread::spawn(move || {
            let (mut stream, _) = peer.accept().expect("a connection");
            let mut bytes = [0; 3];
            stream.read_exact(&mut bytes).expect("what is sent");
            stream.write_all(&bytes).expect("sent back");
            // Until the other side closes.
            let _ = stream.read(&mut bytes);
        });
        exercise("runtime_limits", target).expect_ok_and_unload();
        echo.join().expect("the peer");
    }

    #[test]
    fn lib_runtime_tasks_that_are_always_ready_let_others_run() {
        exercise("runtime_flood", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_runtime_the_pool_honours_every_alignment() {
        exercise("runtime_aligned", NO_TARGET).expect_ok_and_unload();
    }

    #[test]
    fn lib_runtime_unload_waits_for_tasks_and_those_who_join_them() {
        let run = exercise("runtime_until_detach", NO_TARGET);
        run.said("waiting");
        run.unload_clean();
        assert_eq!(run.verdict(), "ok");
    }
}
