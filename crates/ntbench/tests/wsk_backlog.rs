//! The ideal send backlog and its event; what is left of events of listening sockets; sockets that function no more.

#![allow(unsafe_code)] // Callbacks as drivers have them.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::io::Write;
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::verifier::OnViolation;
use ntbench::{Bench, Config};
use wsk_client::*;

#[derive(Default)]
struct Record {
    sizes: Mutex<Vec<usize>>,
    data: Mutex<Vec<usize>>,
    broken: Mutex<u32>,
    ends: Mutex<Vec<bool>>,
    accepted: Mutex<Vec<usize>>,
    no_table: Mutex<bool>,
    /// Callbacks wait while it is shut.
    shut: Mutex<bool>,
    bell: Condvar,
}

static EVENTS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(on_receive),
    WskDisconnectEvent: Some(on_end),
    WskSendBacklogEvent: Some(on_backlog),
};
static LISTEN: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(on_accept), WskInspectEvent: None, WskAbortEvent: None };

/// # Safety
/// `context` is the record that the test leaked.
unsafe fn record(context: *mut c_void) -> &'static Record {
    // SAFETY: as the caller promises.
    unsafe { &*context.cast::<Record>() }
}

impl Record {
    fn leaked() -> &'static Self {
        Box::leak(Box::default())
    }

    fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn pass(&self) {
        drop(self.bell.wait_while(self.shut.lock().unwrap(), |shut| *shut).unwrap());
    }

    fn open(&self) {
        *self.shut.lock().unwrap() = false;
        self.bell.notify_all();
    }
}

unsafe extern "win64" fn on_backlog(context: *mut c_void, size: usize) -> NtStatus {
    // SAFETY: the test's record.
    let record = unsafe { record(context) };
    record.sizes.lock().unwrap().push(size);
    record.pass();
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_receive(
    context: *mut c_void,
    _flags: u32,
    list: *mut WSK_DATA_INDICATION,
    size: usize,
    _accepted: *mut usize,
) -> NtStatus {
    // SAFETY: the test's record.
    let record = unsafe { record(context) };
    match list.is_null() {
        true => *record.broken.lock().unwrap() += 1,
        false => record.data.lock().unwrap().push(size),
    }
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_end(context: *mut c_void, flags: u32) -> NtStatus {
    // SAFETY: the test's record.
    let record = unsafe { record(context) };
    record.ends.lock().unwrap().push(flags & WSK_FLAG_ABORTIVE != 0);
    record.pass();
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_accept(
    context: *mut c_void,
    _flags: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    socket: *mut WSK_SOCKET,
    own_context: *mut *mut c_void,
    own_dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NtStatus {
    // SAFETY: the test's record.
    let record = unsafe { record(context) };
    if socket.is_null() {
        assert!(local.is_null() && remote.is_null());
        *record.broken.lock().unwrap() += 1;
        return NtStatus::REQUEST_NOT_ACCEPTED;
    }
    record.accepted.lock().unwrap().push(socket as usize);
    if !*record.no_table.lock().unwrap() {
        // SAFETY: the provider's variables.
        unsafe { own_context.write(context) };
        // SAFETY: as above.
        unsafe { own_dispatch.write(&raw const EVENTS) };
    }
    record.pass();
    NtStatus::SUCCESS
}

fn query(socket: Socket, code: u32) -> (NtStatus, usize) {
    let mut value = 0usize;
    let (to, none) = ((&raw mut value).cast(), null_mut());
    let control = socket.table().Basic.WskControlSocket;
    // SAFETY: as the page has it.
    let ended = request(|irp| unsafe { control(socket.0, WskIoctl, code, 0, 0, none, 8, to, null_mut(), irp) }).end();
    (ended.status, value)
}

fn pair(record: &'static Record) -> (Socket, Socket, TcpStream) {
    let (listener, at) = listener(record.context(), &raw const LISTEN);
    let peer = TcpStream::connect(at).unwrap();
    let socket = accepted(listener.accept(record.context(), &raw const EVENTS).end().information);
    (listener, socket, peer)
}

fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

isolated! {
    fn a_change_of_the_ideal_backlog_is_told_to_those_who_want_it() {
        with_bench(|bench| {
            let record = Record::leaked();
            let (listener, socket, mut peer) = pair(record);
            assert_eq!(query(socket, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG), (NtStatus::SUCCESS, 0x1_0000));
            bench.provider().set_ideal_send_backlog(0x2_0000);
            assert_eq!(query(socket, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG), (NtStatus::SUCCESS, 0x2_0000));
            // It was not on then, and says nothing of what was before.
            assert_eq!(socket.events(WSK_EVENT_SEND_BACKLOG, null_mut()), NtStatus::SUCCESS);
            pause();
            assert!(record.sizes.lock().unwrap().is_empty());
            bench.provider().set_ideal_send_backlog(0x3_0000);
            until("the event", || *record.sizes.lock().unwrap() == [0x3_0000]);
            bench.provider().set_ideal_send_backlog(0x3_0000);
            let off = WSK_EVENT_SEND_BACKLOG | WSK_EVENT_DISABLE;
            assert_eq!(socket.events(off, null_mut()), NtStatus::SUCCESS);
            bench.provider().set_ideal_send_backlog(0x4_0000);
            pause();
            assert_eq!(record.sizes.lock().unwrap().len(), 1);
            // What the peer has sent and nobody has asked for.
            assert_eq!(query(socket, SIO_WSK_QUERY_RECEIVE_BACKLOG), (NtStatus::SUCCESS, 0));
            peer.write_all(b"backlog").unwrap();
            until("the data", || query(socket, SIO_WSK_QUERY_RECEIVE_BACKLOG) == (NtStatus::SUCCESS, 7));
            let fresh = wsk_client::socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
            assert_eq!(query(fresh, SIO_WSK_QUERY_IDEAL_SEND_BACKLOG).0, NtStatus::INVALID_DEVICE_STATE);
            assert_eq!(query(listener, SIO_WSK_QUERY_RECEIVE_BACKLOG).0, NtStatus::INVALID_DEVICE_REQUEST);
            [fresh, socket, listener].into_iter().for_each(Socket::close);
        });
    }
}

isolated! {
    fn every_event_has_three_answers_to_its_end() {
        with_bench(|bench| {
            let record = Record::leaked();
            let (listener, socket, peer) = pair(record);
            let on = WSK_EVENT_SEND_BACKLOG | WSK_EVENT_DISCONNECT;
            assert_eq!(socket.events(on, null_mut()), NtStatus::SUCCESS);
            assert_eq!(listener.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
            let in_progress = |socket: Socket, event: u32| {
                let off = event | WSK_EVENT_DISABLE;
                assert_eq!(socket.events(off, null_mut()), NtStatus::EVENT_PENDING);
                // Two who wait for the same call.
                let waiting = [0, 1].map(|_| {
                    assert_eq!(socket.events(event, null_mut()), NtStatus::SUCCESS);
                    request(|irp| socket.events(off, irp))
                });
                assert!(waiting.iter().all(|one| one.returned == NtStatus::PENDING && !one.is_done()));
                record.open();
                waiting.into_iter().for_each(|one| assert_eq!(one.end().status, NtStatus::SUCCESS));
                assert_eq!(socket.events(event, null_mut()), NtStatus::SUCCESS);
                let idle = request(|irp| socket.events(off, irp)).end();
                assert_eq!((idle.returned, idle.status), (NtStatus::SUCCESS, NtStatus::SUCCESS));
                *record.shut.lock().unwrap() = true;
            };
            *record.shut.lock().unwrap() = true;
            std::thread::scope(|scope| {
                // The bench's thread tells of it, and waits in the callback.
                scope.spawn(|| bench.provider().set_ideal_send_backlog(1));
                until("the event", || record.sizes.lock().unwrap().len() == 1);
                in_progress(socket, WSK_EVENT_SEND_BACKLOG);
            });
            let other = TcpStream::connect(listener.local()).unwrap();
            until("the event", || record.accepted.lock().unwrap().len() == 1);
            in_progress(listener, WSK_EVENT_ACCEPT);
            drop(peer);
            until("the event", || record.ends.lock().unwrap().len() == 1);
            in_progress(socket, WSK_EVENT_DISCONNECT);
            record.open();
            drop(other);
            let second = accepted(record.accepted.lock().unwrap()[0]);
            [second, socket, listener].into_iter().for_each(Socket::close);
        });
    }
}

isolated! {
    fn what_a_listener_hands_on_stays_when_its_own_event_goes_off_and_on() {
        with_bench(|_| {
            let record = Record::leaked();
            let (listener, at) = listener(record.context(), &raw const LISTEN);
            assert_eq!(listener.events(WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            // Events of connections cannot be switched off at the listener.
            let off = |event| listener.events(event | WSK_EVENT_DISABLE, null_mut());
            assert_eq!(off(WSK_EVENT_RECEIVE), NtStatus::INVALID_PARAMETER);
            assert_eq!(off(WSK_EVENT_ACCEPT), NtStatus::SUCCESS);
            let mut peer = TcpStream::connect(at).unwrap();
            peer.write_all(b"later").unwrap();
            pause();
            assert!(record.accepted.lock().unwrap().is_empty());
            assert_eq!(listener.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
            until("the data", || *record.data.lock().unwrap() == [5]);
            // Those of the accepted socket can.
            let socket = accepted(record.accepted.lock().unwrap()[0]);
            assert_eq!(socket.events(WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE, null_mut()), NtStatus::SUCCESS);
            peer.write_all(b"unseen").unwrap();
            pause();
            assert_eq!(record.data.lock().unwrap().len(), 1);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn an_accepted_socket_needs_a_table_for_the_events_it_inherits() {
        let config = Config { on_violation: OnViolation::Record, ..Config::default() };
        let bench = Bench::new(config).unwrap();
        let registration = attached();
        let record = Record::leaked();
        *record.no_table.lock().unwrap() = true;
        let rules = || bench.verdict().violations.iter().map(|one| one.rule).collect::<Vec<_>>();
        let (plain, at) = listener(record.context(), &raw const LISTEN);
        assert_eq!(plain.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
        let first = TcpStream::connect(at).unwrap();
        until("the event", || record.accepted.lock().unwrap().len() == 1);
        assert!(rules().is_empty());
        let (handing, at) = listener(record.context(), &raw const LISTEN);
        assert_eq!(handing.events(WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
        let second = TcpStream::connect(at).unwrap();
        until("the complaint", || rules() == ["WSK-EVENT"]);
        drop((first, second));
        let sockets: Vec<usize> = record.accepted.lock().unwrap().clone();
        sockets.into_iter().for_each(|one| accepted(one).close());
        plain.close();
        handing.close();
        registration.end();
    }
}

isolated! {
    fn sockets_that_break_end_what_waits_and_say_so_by_null() {
        with_bench(|bench| {
            let record = Record::leaked();
            let (listener, socket, _peer) = pair(record);
            let other = Record::leaked();
            let peer = TcpStream::connect(listener.local()).unwrap();
            let second = accepted(listener.accept(other.context(), &raw const EVENTS).end().information);
            assert_eq!(listener.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
            assert_eq!(second.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            let memory = Memory::new(8);
            let (accept, receive) = (listener.accept(null_mut(), null()), socket.receive(memory.all(), 0));
            bench.provider().break_sockets();
            for pending in [accept, receive] {
                assert_eq!(pending.end().status, NtStatus::FILE_FORCED_CLOSED);
            }
            until("the accept event", || *record.broken.lock().unwrap() == 1);
            until("the receive event", || *other.broken.lock().unwrap() == 1);
            assert_eq!(socket.send(memory.all(), 0).end().status, NtStatus::FILE_FORCED_CLOSED);
            assert_eq!(socket.receive(memory.all(), 0).end().status, NtStatus::FILE_FORCED_CLOSED);
            assert_eq!(listener.accept(null_mut(), null()).end().status, NtStatus::FILE_FORCED_CLOSED);
            drop(peer);
            [socket, second, listener].into_iter().for_each(Socket::close);
        });
    }
}

isolated! {
    fn static_events_are_on_at_listeners_and_at_what_they_accept() {
        with_bench(|bench| {
            let wish = WSK_EVENT_CALLBACK_CONTROL {
                NpiId: &raw const ID,
                EventMask: WSK_EVENT_ACCEPT | WSK_EVENT_SEND_BACKLOG,
            };
            let (size, input, none) = (size_of_val(&wish), (&raw const wish).cast_mut().cast(), null_mut());
            let (control, code) = (table().WskControlClient, WSK_SET_STATIC_EVENT_CALLBACKS);
            // SAFETY: as the page has it.
            let status = unsafe { control(client(), code, size, input, 0, none, null_mut(), null_mut()) };
            assert_eq!(status, NtStatus::SUCCESS);
            let record = Record::leaked();
            let (listener, at) = listener(record.context(), &raw const LISTEN);
            let _peer = TcpStream::connect(at).unwrap();
            until("the accept event", || record.accepted.lock().unwrap().len() == 1);
            let socket = accepted(record.accepted.lock().unwrap()[0]);
            until("the backlog event", || {
                let next = 0x1_0000 + bench.provider().stats().connections_total as usize + record.sizes.lock().unwrap().len();
                bench.provider().set_ideal_send_backlog(next);
                !record.sizes.lock().unwrap().is_empty()
            });
            for (socket, event) in [(listener, WSK_EVENT_ACCEPT), (socket, WSK_EVENT_SEND_BACKLOG)] {
                assert_eq!(socket.events(event | WSK_EVENT_DISABLE, null_mut()), NtStatus::INVALID_PARAMETER);
            }
            socket.close();
            listener.close();
        });
    }
}
