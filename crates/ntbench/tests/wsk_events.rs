//! Event callbacks: when they come, what the client may answer, and how they are switched off.

#![allow(unsafe_code)] // Callbacks as drivers have them.

#[macro_use]
mod wsk_client;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::ptr::{null, null_mut};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nt_abi::wsk::*;
use nt_abi::{DISPATCH_LEVEL, NtStatus};
use ntbench::wsk::Faults;
use wsk_client::*;

/// What a callback saw.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Data(Vec<u8>),
    End { abortive: bool },
}

/// How the next receive events are answered; when there is none, with STATUS_SUCCESS.
enum Answer {
    NotAccepted,
    Part(usize),
    Keep,
    /// Wait for the gate, then this.
    Slow(Gate, NtStatus),
}

type Gate = Arc<(Mutex<bool>, Condvar)>;

fn pass(gate: &Gate) {
    let open = gate.0.lock().unwrap();
    drop(gate.1.wait_while(open, |open| !*open).unwrap());
}

fn open(gate: &Gate) {
    *gate.0.lock().unwrap() = true;
    gate.1.notify_all();
}

#[derive(Default)]
struct Record {
    seen: Mutex<Vec<Seen>>,
    answers: Mutex<VecDeque<Answer>>,
    kept: Mutex<Vec<usize>>,
    accepted: Mutex<Vec<usize>>,
    refuse: Mutex<bool>,
}

static EVENTS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(on_receive),
    WskDisconnectEvent: Some(on_disconnect),
    WskSendBacklogEvent: None,
};
static LISTEN_EVENTS: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(on_accept), WskInspectEvent: None, WskAbortEvent: None };

fn check_level(flags: u32) {
    // SAFETY: it only reads.
    let dispatch = unsafe { nt_abi::kernel::KeGetCurrentIrql() } == DISPATCH_LEVEL;
    assert_eq!(flags & WSK_FLAG_AT_DISPATCH_LEVEL != 0, dispatch);
}

/// The bytes of an indication.
unsafe fn bytes(mut list: *const WSK_DATA_INDICATION) -> Vec<u8> {
    let mut all = Vec::new();
    // SAFETY: an MDL of the provider's list.
    while let Some(one) = unsafe { list.as_ref() } {
        let (mut mdl, mut skip, mut left) = (one.Buffer.Mdl, one.Buffer.Offset as usize, one.Buffer.Length);
        while left > 0 {
            // SAFETY: an MDL of the provider's list.
            let part = unsafe { &*mdl };
            let here = (part.ByteCount as usize - skip).min(left);
            let start = part.MappedSystemVa.cast::<u8>().wrapping_add(skip);
            // SAFETY: an MDL of the provider's describes so many bytes.
            all.extend_from_slice(unsafe { std::slice::from_raw_parts(start, here) });
            (mdl, skip, left) = (part.Next, 0, left - here);
        }
        list = one.Next;
    }
    all
}

unsafe extern "win64" fn on_receive(
    context: *mut c_void,
    flags: u32,
    list: *mut WSK_DATA_INDICATION,
    size: usize,
    accepted: *mut usize,
) -> NtStatus {
    check_level(flags);
    // SAFETY: `context` is the record that the test leaked.
    let record = unsafe { &*context.cast::<Record>() };
    // SAFETY: the provider keeps the list during the call.
    let data = unsafe { bytes(list) };
    assert_eq!(data.len(), size);
    let answer = record.answers.lock().unwrap().pop_front();
    record.seen.lock().unwrap().push(Seen::Data(data));
    match answer {
        None => return NtStatus::SUCCESS,
        Some(Answer::NotAccepted) => return NtStatus::DATA_NOT_ACCEPTED,
        // SAFETY: the provider's variables.
        Some(Answer::Part(count)) => unsafe { accepted.write(count) },
        Some(Answer::Keep) => {
            record.kept.lock().unwrap().push(list as usize);
            return NtStatus::PENDING;
        }
        Some(Answer::Slow(gate, status)) => {
            pass(&gate);
            return status;
        }
    }
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_disconnect(context: *mut c_void, flags: u32) -> NtStatus {
    check_level(flags);
    // SAFETY: `context` is the record that the test leaked.
    let record = unsafe { &*context.cast::<Record>() };
    record.seen.lock().unwrap().push(Seen::End { abortive: flags & WSK_FLAG_ABORTIVE != 0 });
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_accept(
    context: *mut c_void,
    flags: u32,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    socket: *mut WSK_SOCKET,
    accepted: *mut *mut c_void,
    dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NtStatus {
    check_level(flags);
    // SAFETY: `context` is the record that the test leaked.
    let record = unsafe { &*context.cast::<Record>() };
    // SAFETY: the addresses are the provider's, and stay during the call.
    assert!(unsafe { (*local).sa_family == AF_INET && (*remote).sa_family == AF_INET });
    if *record.refuse.lock().unwrap() {
        return NtStatus::REQUEST_NOT_ACCEPTED;
    }
    // SAFETY: the provider's variables.
    unsafe {
        accepted.write(context);
        dispatch.write(&raw const EVENTS);
    }
    record.accepted.lock().unwrap().push(socket as usize);
    NtStatus::SUCCESS
}

impl Record {
    fn leaked() -> &'static Record {
        Box::leak(Box::default())
    }

    fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn next(&self, answer: Answer) {
        self.answers.lock().unwrap().push_back(answer);
    }

    fn data(&self) -> Vec<u8> {
        let part = |seen: &Seen| if let Seen::Data(data) = seen { data.clone() } else { Vec::new() };
        self.seen.lock().unwrap().iter().flat_map(part).collect()
    }

    fn count(&self) -> usize {
        self.seen.lock().unwrap().len()
    }
}

struct Scene {
    record: &'static Record,
    listener: Socket,
    socket: Socket,
    peer: TcpStream,
}

impl Scene {
    /// A connection from WskAccept, with its events as `mask` says.
    fn new(mask: u32) -> Self {
        let record = Record::leaked();
        let (listener, at) = listener(null_mut(), null());
        let peer = TcpStream::connect(at).unwrap();
        let socket = accepted(listener.accept(record.context(), &raw const EVENTS).end().information);
        if mask != 0 {
            assert_eq!(socket.events(mask, null_mut()), NtStatus::SUCCESS);
        }
        Self { record, listener, socket, peer }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.peer.write_all(bytes).unwrap();
    }

    fn end(self) {
        self.socket.close();
        self.listener.close();
    }
}

fn pause() {
    std::thread::sleep(Duration::from_millis(30));
}

isolated! {
    fn events_are_off_until_they_are_switched_on() {
        with_bench(|_| {
            let mut scene = Scene::new(0);
            scene.send(b"early");
            pause();
            assert_eq!(scene.record.count(), 0);
            assert_eq!(scene.socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            until("the data", || scene.record.data() == b"early");
            scene.send(b" more");
            until("the rest", || scene.record.data() == b"early more");
            scene.end();
        });
    }
}

isolated! {
    fn a_waiting_receive_comes_before_the_event() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            let memory = Memory::new(64);
            let pending = scene.socket.receive(memory.buf(0, 4), 0);
            scene.send(b"1234");
            assert_eq!(pending.end().information, 4);
            pause();
            assert_eq!(scene.record.count(), 0);
            scene.send(b"5678");
            until("the event", || scene.record.data() == b"5678");
            scene.end();
        });
    }
}

isolated! {
    fn data_not_accepted_waits_for_a_receive() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            scene.record.next(Answer::NotAccepted);
            scene.send(b"abcdefgh");
            until("the event", || scene.record.count() == 1);
            scene.send(b"ijkl");
            pause();
            assert_eq!(scene.record.count(), 1);
            // The receive has what was refused, and the event goes on with the rest.
            let memory = Memory::new(64);
            let ended = scene.socket.receive(memory.buf(0, 6), 0).end();
            assert_eq!((ended.information, &memory.bytes()[..6]), (6, &b"abcdef"[..]));
            until("the rest", || scene.record.data() == b"abcdefghghijkl");
            scene.end();
        });
    }
}

isolated! {
    fn a_receive_of_nothing_switches_the_event_on_again() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            scene.record.next(Answer::NotAccepted);
            scene.record.next(Answer::Part(2));
            scene.send(b"abcd");
            until("the event", || scene.record.count() == 1);
            let nothing = WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 };
            assert_eq!(scene.socket.receive(nothing, 0).end().status, NtStatus::SUCCESS);
            until("the event again", || scene.record.count() == 2);
            scene.send(b"ef");
            pause();
            // Two bytes were accepted, and nothing is told until the client asks.
            assert_eq!(scene.record.count(), 2);
            assert_eq!(scene.socket.receive(nothing, 0).end().status, NtStatus::SUCCESS);
            until("the rest", || scene.record.data() == b"abcdabcdcdef");
            scene.end();
        });
    }
}

isolated! {
    fn a_receive_called_before_the_refusal_is_served() {
        with_bench(|bench| {
            // Reads are full, so more could be read at once.
            bench.provider().set_faults(Faults { split_reads: Some(5), ..Faults::default() });
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            let gate = Gate::default();
            scene.record.next(Answer::Slow(Arc::clone(&gate), NtStatus::SUCCESS));
            scene.send(b"first");
            until("the event", || scene.record.count() == 1);
            // What came since must not overtake what is being told.
            scene.send(b"second");
            pause();
            let memory = Memory::new(64);
            let pending = scene.socket.receive(memory.buf(0, 6), WSK_FLAG_WAITALL);
            assert_eq!(pending.returned, NtStatus::PENDING);
            open(&gate);
            assert_eq!(pending.end().information, 6);
            assert_eq!(&memory.bytes()[..6], b"second");
            bench.provider().set_faults(Faults::default());

            // The same with a refusal: the receive has the data, and events go on without another.
            let gate = Gate::default();
            scene.record.next(Answer::Slow(Arc::clone(&gate), NtStatus::DATA_NOT_ACCEPTED));
            scene.send(b"third");
            until("the event", || scene.record.count() == 2);
            let pending = scene.socket.receive(memory.buf(0, 5), 0);
            open(&gate);
            assert_eq!(pending.end().information, 5);
            assert_eq!(&memory.bytes()[..5], b"third");
            scene.send(b"fourth");
            until("the next event", || scene.record.data() == b"firstthirdfourth");
            scene.end();
        });
    }
}

isolated! {
    fn kept_data_comes_back_by_release() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            scene.record.next(Answer::Keep);
            scene.send(b"kept");
            until("the event", || scene.record.kept.lock().unwrap().len() == 1);
            scene.send(b"next");
            until("the next", || scene.record.data() == b"keptnext");
            let list = scene.record.kept.lock().unwrap()[0] as *mut WSK_DATA_INDICATION;
            // SAFETY: the provider keeps the list meanwhile.
            assert_eq!(unsafe { bytes(list) }, b"kept");
            assert_eq!(scene.socket.release(list), NtStatus::SUCCESS);
            scene.end();
        });
    }
}

isolated! {
    fn the_end_comes_after_the_data_and_says_how() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT);
            scene.send(b"last");
            drop(std::mem::replace(&mut scene.peer, TcpStream::connect(scene.listener.local()).unwrap()));
            until("the end", || scene.record.count() == 2);
            let expected = [Seen::Data(b"last".to_vec()), Seen::End { abortive: false }];
            assert_eq!(*scene.record.seen.lock().unwrap(), expected);
            scene.end();

            let scene = Scene::new(WSK_EVENT_DISCONNECT);
            rustix::net::sockopt::set_socket_linger(&scene.peer, Some(Duration::ZERO)).unwrap();
            let Scene { record, listener, socket, peer } = scene;
            drop(peer);
            until("the reset", || record.count() == 1);
            assert_eq!(*record.seen.lock().unwrap(), [Seen::End { abortive: true }]);
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn an_end_behind_refused_data_is_told_when_that_is_gone() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT);
            scene.record.next(Answer::NotAccepted);
            scene.send(b"last");
            until("the event", || scene.record.count() == 1);
            scene.peer.shutdown(std::net::Shutdown::Write).unwrap();
            pause();
            assert_eq!(scene.record.count(), 1);
            let memory = Memory::new(64);
            assert_eq!(scene.socket.receive(memory.all(), 0).end().information, 4);
            until("the end", || scene.record.count() == 2);
            assert_eq!(scene.record.seen.lock().unwrap()[1], Seen::End { abortive: false });
            assert_eq!(scene.socket.receive(memory.all(), 0).end().information, 0);
            scene.end();
        });
    }
}

isolated! {
    fn switching_off_has_three_answers() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT);
            let off = WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE;
            assert_eq!(scene.socket.events(off, null_mut()), NtStatus::SUCCESS);
            assert_eq!(scene.socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            // Two at a time cannot be.
            let two = off | WSK_EVENT_DISCONNECT;
            assert_eq!(scene.socket.events(two, null_mut()), NtStatus::INVALID_PARAMETER);

            let gate = Gate::default();
            scene.record.next(Answer::Slow(Arc::clone(&gate), NtStatus::SUCCESS));
            scene.send(b"slow");
            until("the event", || scene.record.count() == 1);
            assert_eq!(scene.socket.events(off, null_mut()), NtStatus::EVENT_PENDING);
            assert_eq!(scene.socket.events(WSK_EVENT_RECEIVE, null_mut()), NtStatus::SUCCESS);
            let pending = request(|irp| scene.socket.events(off, irp));
            assert_eq!(pending.returned, NtStatus::PENDING);
            pause();
            assert!(!pending.is_done());
            open(&gate);
            assert_eq!(pending.end().status, NtStatus::SUCCESS);
            scene.send(b"unseen");
            pause();
            assert_eq!(scene.record.data(), b"slow");
            scene.end();
        });
    }
}

isolated! {
    fn a_close_waits_for_the_event_that_is_being_called() {
        with_bench(|_| {
            let mut scene = Scene::new(WSK_EVENT_RECEIVE);
            let gate = Gate::default();
            scene.record.next(Answer::Slow(Arc::clone(&gate), NtStatus::SUCCESS));
            scene.send(b"slow");
            until("the event", || scene.record.count() == 1);
            let close = scene.socket.begin_close();
            assert_eq!(close.returned, NtStatus::PENDING);
            pause();
            assert!(!close.is_done());
            open(&gate);
            assert_eq!(close.end().status, NtStatus::SUCCESS);
            scene.listener.close();
        });
    }
}

isolated! {
    fn the_accept_event_hands_over_sockets_with_the_listeners_events() {
        with_bench(|bench| {
            let record = Record::leaked();
            let (listener, at) = listener(record.context(), &raw const LISTEN_EVENTS);
            let mask = WSK_EVENT_ACCEPT | WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT;
            // The peer is there, and has sent, before the event is on.
            let mut early = TcpStream::connect(at).unwrap();
            early.write_all(b"early").unwrap();
            assert_eq!(listener.events(mask, null_mut()), NtStatus::SUCCESS);
            until("the data", || record.data() == b"early");
            // A WskAccept that waits comes first, and its socket has no events.
            let accept = listener.accept(record.context(), &raw const EVENTS);
            assert_eq!(accept.returned, NtStatus::PENDING);
            let mut second = TcpStream::connect(at).unwrap();
            let socket = accepted(accept.end().information);
            second.write_all(b"quiet").unwrap();
            pause();
            assert_eq!(record.data(), b"early");
            // A refused connection is closed for the client.
            *record.refuse.lock().unwrap() = true;
            let mut third = TcpStream::connect(at).unwrap();
            assert_eq!(third.read(&mut [0; 4]).unwrap_err().kind(), ErrorKind::ConnectionReset);
            until("its end", || bench.provider().stats().connections == 2);
            let first = Socket(record.accepted.lock().unwrap()[0] as *mut WSK_SOCKET, false);
            first.close();
            socket.close();
            listener.close();
        });
    }
}

isolated! {
    fn static_events_are_on_from_the_first_socket() {
        with_bench(|_| {
            let mut wish = WSK_EVENT_CALLBACK_CONTROL {
                NpiId: &raw const ID,
                EventMask: WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT,
            };
            // SAFETY: as the page of the function has it.
            let mut control = || unsafe {
                let (size, input) = (size_of::<WSK_EVENT_CALLBACK_CONTROL>(), (&raw mut wish).cast());
                let (code, none) = (WSK_SET_STATIC_EVENT_CALLBACKS, null_mut());
                (table().WskControlClient)(client(), code, size, input, 0, none, null_mut(), null_mut())
            };
            assert_eq!(control(), NtStatus::SUCCESS);
            let mut scene = Scene::new(0);
            scene.send(b"at once");
            until("the data", || scene.record.data() == b"at once");
            let off = WSK_EVENT_RECEIVE | WSK_EVENT_DISABLE;
            assert_eq!(scene.socket.events(off, null_mut()), NtStatus::INVALID_PARAMETER);
            assert_eq!(control(), NtStatus::INVALID_DEVICE_STATE);
            scene.end();
        });
    }
}
