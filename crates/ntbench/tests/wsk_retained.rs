//! What a client may do with received data that it keeps, and that each breach is reported.

#![allow(unsafe_code)] // Callbacks as drivers have them.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::io::Write;
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{DEVICE_OBJECT, IRP, NtStatus};
use ntbench::{Bench, Config, OnViolation};
use wsk_client::*;

/// What the receive event does.
const KEEP: usize = 0;
const RELEASE_AND_KEEP: usize = 1;
const RELEASE_AND_TAKE: usize = 2;
const KEEP_SLOWLY: usize = 3;

static HOW: AtomicUsize = AtomicUsize::new(KEEP);
static SOCKET: AtomicPtr<WSK_SOCKET> = AtomicPtr::new(null_mut());
static KEPT: AtomicPtr<WSK_DATA_INDICATION> = AtomicPtr::new(null_mut());

static EVENTS: WSK_CLIENT_CONNECTION_DISPATCH =
    WSK_CLIENT_CONNECTION_DISPATCH { WskReceiveEvent: Some(on_receive), WskDisconnectEvent: None, WskSendBacklogEvent: None };

fn socket() -> Socket {
    Socket(SOCKET.load(Ordering::SeqCst), false)
}

unsafe extern "win64" fn on_receive(
    _context: *mut c_void,
    _flags: u32,
    list: *mut WSK_DATA_INDICATION,
    _size: usize,
    _accepted: *mut usize,
) -> NtStatus {
    KEPT.store(list, Ordering::SeqCst);
    match HOW.load(Ordering::SeqCst) {
        RELEASE_AND_KEEP => assert_eq!(socket().release(list), NtStatus::SUCCESS),
        RELEASE_AND_TAKE => {
            assert_eq!(socket().release(list), NtStatus::SUCCESS);
            return NtStatus::SUCCESS;
        }
        KEEP_SLOWLY => std::thread::sleep(Duration::from_millis(1000)),
        _ => {}
    }
    NtStatus::PENDING
}

unsafe extern "win64" fn release_in_completion(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NtStatus {
    let _ = socket().release(context.cast());
    KEPT.store(null_mut(), Ordering::SeqCst);
    NtStatus::MORE_PROCESSING_REQUIRED
}

/// A connection whose receive event has been told of something, and did this with it.
fn told(how: usize) -> (Socket, TcpStream) {
    HOW.store(how, Ordering::SeqCst);
    let (listener, at) = listener(null_mut(), null());
    let mut peer = TcpStream::connect(at).unwrap();
    let connection = accepted(listener.accept(null_mut(), &raw const EVENTS).end().information);
    listener.close();
    SOCKET.store(connection.0, Ordering::SeqCst);
    assert_eq!(connection.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
    peer.write_all(b"kept").unwrap();
    until("the event", || !KEPT.load(Ordering::SeqCst).is_null());
    (connection, peer)
}

/// Waits until the provider knows that the list is kept: the event has returned.
fn kept(bench: &Bench) {
    until("the event's return", || bench.provider().stats().kept == 1);
}

/// The reports of a client that does this; there is one of each rule in `wanted`, and no other.
fn expect_reported(wanted: &str, client: impl FnOnce(&Bench)) {
    let bench = Bench::new(Config { on_violation: OnViolation::Record, ..Config::default() }).unwrap();
    let registration = attached();
    client(&bench);
    registration.end();
    let text = bench.verdict().to_string();
    assert!(text.contains("1 violation\n") && text.contains(&format!("violation of {wanted}")), "{text}");
}

isolated! {
    fn kept_data_may_be_released_before_the_callback_has_returned() {
        with_bench(|bench| {
            let (connection, mut peer) = told(RELEASE_AND_KEEP);
            KEPT.store(null_mut(), Ordering::SeqCst);
            peer.write_all(b"more").unwrap();
            until("the next event", || !KEPT.load(Ordering::SeqCst).is_null());
            connection.close();
            assert_eq!(bench.provider().stats().kept, 0);
        });
    }
}

isolated! {
    fn a_forgotten_release_is_reported_at_the_close() {
        expect_reported("L21: socket", |bench| {
            let (connection, _peer) = told(KEEP);
            kept(bench);
            connection.close();
        });
    }
}

isolated! {
    fn keeping_data_of_a_socket_whose_close_has_begun_is_reported() {
        expect_reported("L21: WskReceiveEvent", |_| {
            let (connection, _peer) = told(KEEP_SLOWLY);
            // The event is being called still.
            connection.close();
        });
    }
}

isolated! {
    fn the_release_of_a_list_that_is_not_kept_is_reported() {
        expect_reported("WSK-RELEASE", |bench| {
            let (connection, _peer) = told(KEEP);
            kept(bench);
            let mut other = WSK_DATA_INDICATION { Next: null_mut(), Buffer: WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 } };
            assert_eq!(connection.release(&raw mut other), NtStatus::INVALID_PARAMETER);
            assert_eq!(connection.release(KEPT.load(Ordering::SeqCst)), NtStatus::SUCCESS);
            connection.close();
        });
    }
}

isolated! {
    fn a_second_release_is_reported() {
        expect_reported("WSK-RELEASE", |bench| {
            let (connection, _peer) = told(KEEP);
            kept(bench);
            let list = KEPT.load(Ordering::SeqCst);
            assert_eq!(connection.release(list), NtStatus::SUCCESS);
            assert_eq!(connection.release(list), NtStatus::INVALID_PARAMETER);
            connection.close();
        });
    }
}

isolated! {
    fn the_release_of_data_that_was_taken_is_reported() {
        expect_reported("WSK-RELEASE", |bench| {
            let (connection, _peer) = told(RELEASE_AND_TAKE);
            until("the report", || !bench.verdict().is_clean());
            connection.close();
        });
    }
}

isolated! {
    fn a_release_in_a_completion_routine_is_reported() {
        expect_reported("L36", |bench| {
            let (connection, _peer) = told(KEEP);
            kept(bench);
            // SAFETY: an IRP of its own for a receive of nothing, which ends before it returns.
            let irp = unsafe { nt_abi::kernel::IoAllocateIrp(1, 0) };
            // SAFETY: as above.
            unsafe { set_routine(irp, release_in_completion, KEPT.load(Ordering::SeqCst).cast()) };
            let mut nothing = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
            // SAFETY: as the page has it.
            let status = unsafe { (connection.table().WskReceive)(connection.0, &raw mut nothing, 0, irp) };
            assert_eq!(status, NtStatus::SUCCESS);
            until("the completion", || KEPT.load(Ordering::SeqCst).is_null());
            connection.close();
            // SAFETY: it has completed.
            unsafe { nt_abi::kernel::IoFreeIrp(irp) };
        });
    }
}
