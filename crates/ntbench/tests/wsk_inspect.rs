//! Conditional accept: who is asked, what the answers do, and what becomes of connections whose peer goes meanwhile.

#![allow(unsafe_code)] // Callbacks as drivers have them.

#[macro_use]
mod wsk_client;

use std::collections::VecDeque;
use std::ffi::c_void;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::time::Duration;

use nt_abi::NtStatus;
use nt_abi::wsk::*;
use ntbench::verifier::OnViolation;
use ntbench::wsk::{Action, Faults, Function, When};
use ntbench::{Bench, Config};
use wsk_client::*;

#[derive(Default)]
struct Record {
    answers: Mutex<VecDeque<WSK_INSPECT_ACTION>>,
    asked: Mutex<Vec<(WSK_INSPECT_ID, SocketAddr, SocketAddr)>>,
    aborted: Mutex<Vec<WSK_INSPECT_ID>>,
    accepted: Mutex<Vec<usize>>,
    broken: Mutex<u32>,
    /// Complete the inspection from within the callback, before it answers that it pends.
    early: Mutex<Option<(Socket, WSK_INSPECT_ACTION)>>,
    early_ended: Mutex<Vec<NtStatus>>,
}

static EVENTS: WSK_CLIENT_LISTEN_DISPATCH = WSK_CLIENT_LISTEN_DISPATCH {
    WskAcceptEvent: Some(on_accept),
    WskInspectEvent: Some(on_inspect),
    WskAbortEvent: Some(on_abort),
};
static WITHOUT: WSK_CLIENT_LISTEN_DISPATCH =
    WSK_CLIENT_LISTEN_DISPATCH { WskAcceptEvent: Some(on_accept), WskInspectEvent: Some(on_inspect), WskAbortEvent: None };

/// # Safety
/// `context` is the record that the test leaked.
unsafe fn record(context: *mut c_void) -> &'static Record {
    // SAFETY: as the caller promises.
    unsafe { &*context.cast::<Record>() }
}

unsafe extern "win64" fn on_inspect(
    context: *mut c_void,
    local: *mut SOCKADDR,
    remote: *mut SOCKADDR,
    id: *mut WSK_INSPECT_ID,
) -> WSK_INSPECT_ACTION {
    // SAFETY: the test's record.
    let record = unsafe { record(context) };
    // SAFETY: the provider keeps it during the call.
    let Some(id) = (unsafe { id.as_ref() }) else {
        *record.broken.lock().unwrap() += 1;
        return WskInspectReject;
    };
    // SAFETY: as above, of the listener's family.
    let read = |at: *mut SOCKADDR| unsafe { at.cast::<SOCKADDR_IN>().read_unaligned() };
    let read = |at| SocketAddr::from((read(at).sin_addr, u16::from_be(read(at).sin_port)));
    record.asked.lock().unwrap().push((*id, read(local), read(remote)));
    if let Some((listener, action)) = record.early.lock().unwrap().take() {
        let ended = complete(listener, *id, action);
        record.early_ended.lock().unwrap().push(ended.end().status);
    }
    record.answers.lock().unwrap().pop_front().unwrap_or(WskInspectAccept)
}

unsafe extern "win64" fn on_abort(context: *mut c_void, id: *mut WSK_INSPECT_ID) -> NtStatus {
    // SAFETY: the test's record, and the provider's identifier.
    unsafe { record(context).aborted.lock().unwrap().push(*id) };
    NtStatus::SUCCESS
}

unsafe extern "win64" fn on_accept(
    context: *mut c_void,
    _flags: u32,
    _local: *mut SOCKADDR,
    _remote: *mut SOCKADDR,
    socket: *mut WSK_SOCKET,
    _context: *mut *mut c_void,
    _dispatch: *mut *const WSK_CLIENT_CONNECTION_DISPATCH,
) -> NtStatus {
    // SAFETY: the test's record.
    unsafe { record(context) }.accepted.lock().unwrap().push(socket as usize);
    NtStatus::SUCCESS
}

fn complete(listener: Socket, id: WSK_INSPECT_ID, action: WSK_INSPECT_ACTION) -> Pending {
    let id = Box::leak(Box::new(id));
    let call = listener.listen_table().WskInspectComplete;
    // SAFETY: as the page has it.
    request(|irp| unsafe { call(listener.0, &raw mut *id, action, irp) })
}

fn inspect_id(socket: Socket) -> (NtStatus, WSK_INSPECT_ID, usize) {
    let mut id = WSK_INSPECT_ID { Key: 0, SerialNumber: 0 };
    let (mut size, none) = (0, null_mut());
    let (to, room, returned) = ((&raw mut id).cast(), size_of::<WSK_INSPECT_ID>(), &raw mut size);
    let (control, code) = (socket.table().Basic.WskControlSocket, SIO_WSK_QUERY_INSPECT_ID);
    // SAFETY: as the page has it.
    let status = unsafe { control(socket.0, WskIoctl, code, 0, 0, none, room, to, returned, none.cast()) };
    (status, id, size)
}

struct Scene {
    record: &'static Record,
    listener: Socket,
    at: SocketAddr,
}

impl Scene {
    fn new() -> Self {
        let record: &'static Record = Box::leak(Box::default());
        let context = std::ptr::from_ref(record).cast_mut().cast();
        let listener = socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, context, (&raw const EVENTS).cast());
        assert_eq!(listener.set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1).status, NtStatus::SUCCESS);
        assert_eq!(listener.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
        Self { record, listener, at: listener.local() }
    }

    fn answer(&self, action: WSK_INSPECT_ACTION) {
        self.record.answers.lock().unwrap().push_back(action);
    }

    /// A peer, once its connection has been asked about, and by what.
    fn peer(&self) -> (TcpStream, WSK_INSPECT_ID) {
        let before = self.record.asked.lock().unwrap().len();
        let peer = TcpStream::connect(self.at).unwrap();
        until("the inspection", || self.record.asked.lock().unwrap().len() > before);
        let (id, local, remote) = self.record.asked.lock().unwrap()[before];
        assert_eq!((local, remote), (self.at, peer.local_addr().unwrap()));
        (peer, id)
    }

    fn accept(&self) -> Pending {
        self.listener.accept(null_mut(), null())
    }

    fn aborted(&self) -> usize {
        self.record.aborted.lock().unwrap().len()
    }
}

fn is_reset(peer: &mut TcpStream) -> bool {
    peer.read(&mut [0; 1]).is_err_and(|error| error.kind() == ErrorKind::ConnectionReset)
}

fn pause() {
    std::thread::sleep(Duration::from_millis(50));
}

isolated! {
    fn the_client_accepts_rejects_or_decides_later() {
        with_bench(|_| {
            let scene = Scene::new();
            let accept = scene.accept();
            let (mut first, id) = scene.peer();
            let socket = accepted(accept.end().information);
            assert_eq!(inspect_id(socket), (NtStatus::SUCCESS, id, size_of::<WSK_INSPECT_ID>()));
            first.write_all(b"hello").unwrap();
            let memory = Memory::new(8);
            assert_eq!(socket.receive(memory.all(), 0).end().information, 5);

            scene.answer(WskInspectReject);
            let (mut second, _) = scene.peer();
            assert!(is_reset(&mut second));

            // What waits in a pended connection is there when it is accepted.
            scene.answer(WskInspectPend);
            let waiting = scene.accept();
            let (mut third, id) = scene.peer();
            third.write_all(b"early").unwrap();
            pause();
            assert!(!waiting.is_done());
            assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::SUCCESS);
            let other = accepted(waiting.end().information);
            assert_eq!(other.receive(memory.all(), 0).end().information, 5);
            assert_eq!(inspect_id(other).1, id);

            scene.answer(WskInspectPend);
            let (mut fourth, id) = scene.peer();
            assert_eq!(complete(scene.listener, id, WskInspectReject).end().status, NtStatus::SUCCESS);
            assert!(is_reset(&mut fourth));
            assert_eq!(scene.aborted(), 0);
            [socket, other, scene.listener].into_iter().for_each(Socket::close);
        });
    }
}

isolated! {
    fn everybody_is_asked_about_at_once_and_accepted_in_any_order() {
        with_bench(|_| {
            let scene = Scene::new();
            (0..3).for_each(|_| scene.answer(WskInspectPend));
            let peers: Vec<_> = (0..3).map(|_| scene.peer()).collect();
            let mut ids: Vec<_> = peers.iter().map(|(_, id)| id.SerialNumber).collect();
            ids.dedup();
            assert_eq!(ids.len(), 3);
            assert_eq!(complete(scene.listener, peers[2].1, WskInspectAccept).end().status, NtStatus::SUCCESS);
            let last = accepted(scene.accept().end().information);
            assert_eq!(last.remote(), peers[2].0.local_addr().unwrap());
            // The accept event gets those that no WskAccept waits for.
            assert_eq!(scene.listener.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
            assert_eq!(complete(scene.listener, peers[0].1, WskInspectAccept).end().status, NtStatus::SUCCESS);
            until("the event", || scene.record.accepted.lock().unwrap().len() == 1);
            let first = accepted(scene.record.accepted.lock().unwrap()[0]);
            assert_eq!(inspect_id(first).1, peers[0].1);
            // The third is reset when the listener goes.
            scene.listener.close();
            let (mut second, _) = peers.into_iter().nth(1).unwrap();
            assert!(is_reset(&mut second));
            last.close();
            first.close();
        });
    }
}

isolated! {
    fn the_completion_may_be_faster_than_the_callback() {
        with_bench(|_| {
            let scene = Scene::new();
            *scene.record.early.lock().unwrap() = Some((scene.listener, WskInspectAccept));
            scene.answer(WskInspectPend);
            let accept = scene.accept();
            let (peer, _) = scene.peer();
            let socket = accepted(accept.end().information);
            assert_eq!(socket.remote(), peer.local_addr().unwrap());
            *scene.record.early.lock().unwrap() = Some((scene.listener, WskInspectReject));
            scene.answer(WskInspectPend);
            let (mut peer, _) = scene.peer();
            assert!(is_reset(&mut peer));
            assert_eq!(*scene.record.early_ended.lock().unwrap(), [NtStatus::SUCCESS; 2]);
            socket.close();
            scene.listener.close();
        });
    }
}

isolated! {
    fn a_peer_that_goes_is_told_of_once() {
        with_bench(|_| {
            let scene = Scene::new();
            // Pended, and the peer ends; pended, and the peer resets; accepted, and not yet fetched.
            scene.answer(WskInspectPend);
            let (peer, ended) = scene.peer();
            drop(peer);
            until("the abort", || scene.aborted() == 1);
            scene.answer(WskInspectPend);
            let (peer, reset) = scene.peer();
            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
            drop(peer);
            until("the abort", || scene.aborted() == 2);
            let (peer, cleared) = scene.peer();
            drop(peer);
            until("the abort", || scene.aborted() == 3);
            assert_eq!(*scene.record.aborted.lock().unwrap(), [ended, reset, cleared]);
            // To accept one of them now is no error of the client's, and brings no connection.
            let accept = scene.accept();
            assert_eq!(complete(scene.listener, ended, WskInspectAccept).end().status, NtStatus::CONNECTION_ABORTED);
            pause();
            assert!(!accept.is_done());
            // A peer that has sent all it had to say and ended its side is still there.
            scene.answer(WskInspectPend);
            let (mut peer, id) = scene.peer();
            peer.write_all(b"all").unwrap();
            peer.shutdown(std::net::Shutdown::Write).unwrap();
            pause();
            assert_eq!(scene.aborted(), 3);
            assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::SUCCESS);
            let socket = accepted(accept.end().information);
            let memory = Memory::new(8);
            assert_eq!(socket.receive(memory.all(), 0).end().information, 3);
            socket.close();
            scene.listener.close();
        });
    }
}

isolated! {
    fn it_is_for_listening_sockets_before_they_are_bound() {
        let config = Config { on_violation: OnViolation::Record, ..Config::default() };
        let bench = Bench::new(config).unwrap();
        let registration = attached();
        let rules = || bench.verdict().violations.iter().map(|one| one.rule).collect::<Vec<_>>();
        let scene = Scene::new();
        let set = |socket: Socket| socket.set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1).status;
        assert_eq!(set(scene.listener), NtStatus::INVALID_DEVICE_STATE);
        let connection = socket(AF_INET, WSK_FLAG_CONNECTION_SOCKET, null_mut(), null());
        assert_eq!(set(connection), NtStatus::INVALID_DEVICE_REQUEST);
        assert_eq!(inspect_id(connection).0, NtStatus::INVALID_DEVICE_REQUEST);
        let (plain, _) = listener(null_mut(), null());
        let id = WSK_INSPECT_ID { Key: plain.0 as usize, SerialNumber: 1 };
        assert_eq!(complete(plain, id, WskInspectAccept).end().status, NtStatus::INVALID_DEVICE_REQUEST);
        assert!(rules().is_empty());
        let lacking = socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, null_mut(), (&raw const WITHOUT).cast());
        assert_eq!(set(lacking), NtStatus::INVALID_PARAMETER);
        assert_eq!(rules(), ["WSK-EVENT"]);
        // Identifiers that nobody gave, actions that decide nothing, and decisions that are made twice.
        let wrong = WSK_INSPECT_ID { Key: scene.listener.0 as usize, SerialNumber: 99 };
        assert_eq!(complete(scene.listener, wrong, WskInspectAccept).end().status, NtStatus::INVALID_PARAMETER);
        scene.answer(WskInspectPend);
        let (_peer, id) = scene.peer();
        assert_eq!(complete(scene.listener, id, WskInspectPend).end().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::SUCCESS);
        assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::INVALID_PARAMETER);
        assert_eq!(rules(), ["WSK-EVENT", "WSK-ARG", "WSK-ARG", "WSK-ARG"]);
        [connection, plain, lacking, scene.listener].into_iter().for_each(Socket::close);
        registration.end();
    }
}

isolated! {
    fn faults_and_steps_reach_inspections() {
        with_bench(|bench| {
            let scene = Scene::new();
            let steps = std::sync::Arc::new(Mutex::new(Vec::new()));
            let seen = std::sync::Arc::clone(&steps);
            bench.provider().on_step(move |step| seen.lock().unwrap().push(step.to_string()));
            let fault = Faults::rule(Function::InspectComplete, When::Nth(1), Action::FailLater(NtStatus::DEVICE_BUSY));
            bench.provider().set_faults(fault);
            scene.answer(WskInspectPend);
            let accept = scene.accept();
            let (_peer, id) = scene.peer();
            assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::DEVICE_BUSY);
            assert_eq!(complete(scene.listener, id, WskInspectAccept).end().status, NtStatus::SUCCESS);
            let socket = accepted(accept.end().information);
            bench.provider().no_steps();
            let told = steps.lock().unwrap().clone();
            for step in ["WskInspectEvent:Enter", "WskInspectEvent:Return", "WskInspectComplete:Completed"] {
                assert!(told.iter().any(|one| one == step), "{step}: {told:?}");
            }
            bench.provider().set_faults(Faults::default());
            socket.close();
            scene.listener.close();
        });
    }
}

isolated! {
    fn a_listener_that_breaks_says_so_by_a_null_inspection() {
        with_bench(|bench| {
            let scene = Scene::new();
            let accept = scene.accept();
            bench.provider().break_sockets();
            assert_eq!(accept.end().status, NtStatus::FILE_FORCED_CLOSED);
            until("the event", || *scene.record.broken.lock().unwrap() == 1);
            assert_eq!(scene.accept().end().status, NtStatus::FILE_FORCED_CLOSED);
            scene.listener.close();
        });
    }
}

static STREAM: Both = Both(WSK_CLIENT_STREAM_DISPATCH { Listen: &raw const EVENTS, Connect: null() });

struct Both(WSK_CLIENT_STREAM_DISPATCH);
// SAFETY: never written.
unsafe impl Sync for Both {}

isolated! {
    fn a_stream_socket_may_inspect_too() {
        with_bench(|_| {
            let record: &'static Record = Box::leak(Box::default());
            let context = std::ptr::from_ref(record).cast_mut().cast();
            let listener = socket(AF_INET, WSK_FLAG_STREAM_SOCKET, context, (&raw const STREAM.0).cast());
            assert_eq!(listener.set(SOL_SOCKET, SO_CONDITIONAL_ACCEPT, 1).status, NtStatus::SUCCESS);
            // The first functions of its table are where those of every table are.
            assert_eq!(listener.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
            // SAFETY: a stream socket's table, which is static.
            let table: &WSK_PROVIDER_STREAM_DISPATCH = unsafe { &*(*listener.0).Dispatch.cast() };
            // SAFETY: as the page has it.
            done(|irp| unsafe { (table.WskListen)(listener.0, irp) });
            let mut at = address(any("[::]:0"));
            // SAFETY: as the page has it.
            done(|irp| unsafe { (table.WskGetLocalAddress)(listener.0, at.at(), irp) });
            record.answers.lock().unwrap().push_back(WskInspectReject);
            assert!(is_reset(&mut TcpStream::connect(at.read()).unwrap()));
            let _peer = TcpStream::connect(at.read()).unwrap();
            let (none, nothing) = (null_mut(), null_mut());
            // SAFETY: as the page has it.
            let accept = request(|irp| unsafe { (table.WskAccept)(listener.0, 0, none, null(), nothing, nothing, irp) });
            accepted(accept.end().information).close();
            listener.close();
        });
    }
}

/// Peers that come and go at random, while somebody decides about those that are pended.
fn storm(scene: &Scene, round: u64) {
    let done = std::sync::atomic::AtomicBool::new(false);
    let (at, listener, record) = (scene.at, scene.listener, scene.record);
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..3u64)
            .map(|number| {
                scope.spawn(move || {
                    for turn in 0..60 {
                        let peer = TcpStream::connect(at).unwrap();
                        if (turn + number + round) % 3 == 0 {
                            rustix::net::sockopt::set_socket_linger(&peer, Some(Duration::ZERO)).unwrap();
                        }
                        std::thread::sleep(Duration::from_micros((turn * 37 + number * 101) % 300));
                    }
                })
            })
            .collect();
        let done = &done;
        scope.spawn(move || {
            let listener = { listener };
            let mut at = 0;
            while !done.load(std::sync::atomic::Ordering::SeqCst) {
                let next = record.asked.lock().unwrap().get(at).map(|one| one.0);
                let Some(id) = next else {
                    std::thread::sleep(Duration::from_micros(50));
                    continue;
                };
                at += 1;
                let action = if at % 2 == 0 { WskInspectAccept } else { WskInspectReject };
                let status = complete(listener, id, action).end().status;
                assert!(matches!(status, NtStatus::SUCCESS | NtStatus::CONNECTION_ABORTED), "{status}");
            }
        });
        peers.into_iter().for_each(|peer| peer.join().unwrap());
        std::thread::sleep(Duration::from_millis(30));
        done.store(true, std::sync::atomic::Ordering::SeqCst);
    });
}

isolated! {
    fn inspections_decisions_and_departures_race() {
        with_bench(|bench| {
            for round in 0..3 {
                let scene = Scene::new();
                scene.record.answers.lock().unwrap().extend([WskInspectPend; 180]);
                assert_eq!(scene.listener.events(WSK_EVENT_ACCEPT, null_mut()), NtStatus::SUCCESS);
                storm(&scene, round);
                let asked = scene.record.asked.lock().unwrap().len();
                assert!(asked > 0);
                // Each is told of at most once, and none of those that were handed over.
                let mut aborted: Vec<_> = scene.record.aborted.lock().unwrap().iter().map(|id| id.SerialNumber).collect();
                aborted.sort_unstable();
                let all = aborted.len();
                aborted.dedup();
                assert_eq!(aborted.len(), all);
                let sockets: Vec<usize> = std::mem::take(&mut scene.record.accepted.lock().unwrap());
                assert!(sockets.len() + all <= asked);
                for socket in sockets.into_iter().map(accepted) {
                    assert!(!aborted.contains(&inspect_id(socket).1.SerialNumber));
                    socket.close();
                }
                scene.listener.close();
                assert_eq!(bench.provider().stats().connections, 0);
            }
        });
    }
}

isolated! {
    fn only_so_many_are_inspected_at_a_time() {
        with_bench(|_| {
            let scene = Scene::new();
            let peers: Vec<_> = (0..257).map(|_| TcpStream::connect(scene.at).unwrap()).collect();
            let asked = || scene.record.asked.lock().unwrap().len();
            until("the inspections", || asked() == 256);
            pause();
            assert_eq!(asked(), 256);
            let first = accepted(scene.accept().end().information);
            until("the last one", || asked() == 257);
            first.close();
            scene.listener.close();
            drop(peers);
        });
    }
}
