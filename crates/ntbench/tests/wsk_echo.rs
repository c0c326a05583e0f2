//! An echo over the provider as a driver does it: events say that there is something, DPCs receive and send it with
//! the same two IRPs and the same buffer, and nothing waits. Every byte must come back, at any IRQL the seed picks.

#![allow(unsafe_code)] // It is a driver in all but name.

#[macro_use]
mod wsk_client;

use std::ffi::c_void;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use nt_abi::kernel::*;
use nt_abi::wsk::*;
use nt_abi::{DEVICE_OBJECT, IO_COMPLETION_ROUTINE, IRP, KDPC, NtStatus};
use ntbench::wsk::{Action, Faults, Function, Rule, When};
use ntbench::{Bench, Config};
use wsk_client::*;

const READABLE: u32 = 1;
const RECEIVED: u32 = 2;
const SENT: u32 = 4;
const DISCONNECTED: u32 = 8;

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Waits {
    Event,
    Receive,
    Send,
    Disconnect,
    Nothing,
}

struct Connection {
    socket: Socket,
    dpc: KDPC,
    memory: Memory,
    irp: *mut IRP,
    flags: AtomicU32,
    busy: AtomicBool,
    status: AtomicU32,
    count: AtomicUsize,
    waits: std::cell::Cell<Waits>,
    rounds: std::cell::Cell<u32>,
    /// Told of data since the last receive: no event comes before the next.
    told: std::cell::Cell<bool>,
}

static ENDED: AtomicUsize = AtomicUsize::new(0);
static EVENTS: WSK_CLIENT_CONNECTION_DISPATCH = WSK_CLIENT_CONNECTION_DISPATCH {
    WskReceiveEvent: Some(on_receive),
    WskDisconnectEvent: Some(on_disconnect),
    WskSendBacklogEvent: None,
};

unsafe extern "win64" fn on_receive(
    context: *mut c_void,
    _flags: u32,
    _list: *mut WSK_DATA_INDICATION,
    _size: usize,
    _accepted: *mut usize,
) -> NtStatus {
    // SAFETY: the connection outlives its socket.
    unsafe { (*context.cast::<Connection>()).signal(READABLE) };
    NtStatus::DATA_NOT_ACCEPTED
}

unsafe extern "win64" fn on_disconnect(context: *mut c_void, _flags: u32) -> NtStatus {
    // SAFETY: as above.
    unsafe { (*context.cast::<Connection>()).signal(READABLE) };
    NtStatus::SUCCESS
}

macro_rules! completion {
    ($name:ident, $flag:expr) => {
        unsafe extern "win64" fn $name(_: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NtStatus {
            // SAFETY: as above; the IRP is ours again.
            unsafe {
                let connection = &*context.cast::<Connection>();
                connection.status.store((*irp).IoStatus.Status.0 as u32, Ordering::Relaxed);
                connection.count.store((*irp).IoStatus.Information, Ordering::Relaxed);
                connection.signal($flag);
            }
            NtStatus::MORE_PROCESSING_REQUIRED
        }
    };
}
completion!(received, RECEIVED);
completion!(sent, SENT);
completion!(disconnected, DISCONNECTED);

unsafe extern "win64" fn work(_: *mut KDPC, context: *mut c_void, _: *mut c_void, _: *mut c_void) {
    // SAFETY: as above.
    unsafe { (*context.cast::<Connection>()).work() };
}

impl Connection {
    fn leaked(size: usize) -> &'static mut Connection {
        // SAFETY: any stack size.
        let irp = unsafe { IoAllocateIrp(1, 0) };
        // SAFETY: a KDPC is plain memory before it is initialized.
        let dpc = unsafe { std::mem::zeroed() };
        let connection = Box::leak(Box::new(Connection {
            socket: Socket(null_mut(), false),
            dpc,
            memory: Memory::new(size),
            irp,
            flags: AtomicU32::new(0),
            busy: AtomicBool::new(false),
            status: AtomicU32::new(0),
            count: AtomicUsize::new(0),
            waits: std::cell::Cell::new(Waits::Event),
            rounds: std::cell::Cell::new(0),
            told: std::cell::Cell::new(false),
        }));
        let context = (&raw mut *connection).cast();
        // SAFETY: the connection stays where it is.
        unsafe { KeInitializeDpc(&raw mut connection.dpc, Some(work), context) };
        connection
    }

    fn context(&self) -> *mut c_void {
        std::ptr::from_ref(self).cast_mut().cast()
    }

    fn signal(&self, flag: u32) {
        self.flags.fetch_or(flag, Ordering::AcqRel);
        // SAFETY: initialized in `leaked`.
        unsafe { KeInsertQueueDpc((&raw const self.dpc).cast_mut(), null_mut(), null_mut()) };
    }

    /// The DPC: one processor at a time has the connection.
    fn work(&self) {
        while self.flags.load(Ordering::Acquire) != 0 && !self.busy.swap(true, Ordering::AcqRel) {
            let flags = self.flags.swap(0, Ordering::AcqRel);
            self.step(flags);
            self.busy.store(false, Ordering::Release);
        }
    }

    fn step(&self, flags: u32) {
        let (status, count) = (NtStatus(self.status.load(Ordering::Relaxed) as i32), self.count.load(Ordering::Relaxed));
        self.told.set(self.told.get() || flags & READABLE != 0);
        match self.waits.get() {
            Waits::Event if flags & READABLE != 0 => self.receive(),
            Waits::Receive if flags & RECEIVED != 0 && status == NtStatus::SUCCESS && count > 0 => self.send(count),
            Waits::Receive if flags & RECEIVED != 0 && status == NtStatus::SUCCESS => self.disconnect(),
            Waits::Receive if flags & RECEIVED != 0 && status == NtStatus::DEVICE_BUSY => self.receive(),
            Waits::Send if flags & SENT != 0 && status == NtStatus::SUCCESS => self.again(),
            Waits::Disconnect if flags & DISCONNECTED != 0 => {
                self.waits.set(Waits::Nothing);
                ENDED.fetch_add(1, Ordering::SeqCst);
            }
            waits => assert_eq!(flags & !READABLE, 0, "{waits:?} {status} {count}"),
        }
    }

    /// Now and then waits for an event instead of posting a receive.
    fn again(&self) {
        self.rounds.set(self.rounds.get() + 1);
        if self.rounds.get().is_multiple_of(5) && !self.told.get() {
            self.waits.set(Waits::Event);
        } else {
            self.receive();
        }
    }

    fn arm(&self, routine: IO_COMPLETION_ROUTINE, waits: Waits) -> *mut IRP {
        self.waits.set(waits);
        // SAFETY: the IRP is with us.
        unsafe {
            IoReuseIrp(self.irp, NtStatus::SUCCESS);
            set_routine(self.irp, routine, self.context());
        }
        self.irp
    }

    fn receive(&self) {
        let mut buf = self.memory.all();
        self.told.set(false);
        let irp = self.arm(received, Waits::Receive);
        // SAFETY: as the page has it.
        let _ = unsafe { (self.socket.table().WskReceive)(self.socket.0, &raw mut buf, 0, irp) };
    }

    fn send(&self, count: usize) {
        let mut buf = self.memory.buf(0, count);
        let irp = self.arm(sent, Waits::Send);
        // SAFETY: as the page has it.
        let _ = unsafe { (self.socket.table().WskSend)(self.socket.0, &raw mut buf, 0, irp) };
    }

    fn disconnect(&self) {
        let irp = self.arm(disconnected, Waits::Disconnect);
        // SAFETY: as the page has it.
        let _ = unsafe { (self.socket.table().WskDisconnect)(self.socket.0, null_mut(), 0, irp) };
    }
}

/// Sends `size` bytes and reads them back at the same time.
fn peer(at: SocketAddr, seed: u64, size: usize) {
    let mut stream = TcpStream::connect(at).unwrap();
    let mut rng = fastrand::Rng::with_seed(seed);
    let bytes: Vec<u8> = (0..size).map(|_| rng.u8(..)).collect();
    let (mut writer, data) = (stream.try_clone().unwrap(), bytes.clone());
    let sender = std::thread::spawn(move || {
        let mut rest = &data[..];
        while !rest.is_empty() {
            let (now, later) = rest.split_at(rng.usize(1..=rest.len().min(40_000)));
            writer.write_all(now).unwrap();
            rest = later;
            if rng.u8(..) < 8 {
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut back = Vec::new();
    stream.read_to_end(&mut back).unwrap();
    sender.join().unwrap();
    assert!(back == bytes, "{} of {} bytes came back, or others", back.len(), bytes.len());
}

fn echo(config: Config, faults: Faults, connections: usize, size: usize) {
    let bench = Bench::new(config).unwrap();
    let registration = attached();
    let (listener, at) = listener(null_mut(), std::ptr::null());
    bench.provider().set_faults(faults);
    ENDED.store(0, Ordering::SeqCst);
    let peers: Vec<_> = (0..connections).map(|number| std::thread::spawn(move || peer(at, number as u64, size))).collect();
    let mut sockets = Vec::new();
    for _ in 0..connections {
        let connection = Connection::leaked(16_384);
        let socket = accepted(listener.accept(connection.context(), &raw const EVENTS).end().information);
        connection.socket = socket;
        assert_eq!(socket.events(WSK_EVENT_RECEIVE | WSK_EVENT_DISCONNECT, null_mut()), NtStatus::SUCCESS);
        sockets.push((socket, connection.irp, (&raw mut connection.memory) as usize));
    }
    peers.into_iter().for_each(|peer| peer.join().unwrap());
    until("the ends", || ENDED.load(Ordering::SeqCst) == connections);
    bench.provider().set_faults(Faults::default());
    let stats = bench.provider().stats();
    assert_eq!(stats.bytes_out, (connections * size) as u64);
    assert_eq!(stats.bytes_in, stats.bytes_out);
    for (socket, irp, memory) in sockets {
        socket.close();
        // SAFETY: the IRP is back, the buffer no longer in use.
        unsafe {
            IoFreeIrp(irp);
            std::ptr::drop_in_place(memory as *mut Memory);
        }
    }
    listener.close();
    registration.end();
    let verdict = bench.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

isolated! {
    fn every_byte_comes_back() {
        echo(Config::default(), Faults::default(), 16, 1 << 20);
    }
}

isolated! {
    fn every_byte_comes_back_in_small_reads_and_late() {
        let on = |function, p, action| Rule { function, when: When::Chance(p), action };
        let faults = Faults {
            rules: vec![
                on(Function::Receive, 0.02, Action::Fail(NtStatus::DEVICE_BUSY)),
                on(Function::Receive, 0.02, Action::FailLater(NtStatus::DEVICE_BUSY)),
                on(Function::Receive, 0.02, Action::Late(Duration::from_micros(200))),
                on(Function::Send, 0.02, Action::Late(Duration::from_micros(200))),
                on(Function::Send, 0.1, Action::Pending),
                on(Function::Receive, 0.1, Action::CompleteAndReturn(NtStatus::DEVICE_BUSY)),
            ],
            split_reads: Some(1_000),
            ..Faults::default()
        };
        echo(Config { seed: 7, ..Config::default() }, faults, 8, 1 << 18);
    }
}

isolated! {
    fn every_byte_comes_back_on_four_processors() {
        echo(Config { seed: 3, processors: 4, ..Config::default() }, Faults::default(), 32, 1 << 18);
    }
}
