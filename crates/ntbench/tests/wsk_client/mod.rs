//! A WSK client for tests: registers with the NMR and calls the provider as a driver would, by the win64 ABI, but waits
//! like a test. There is one per process, as there is one bench.

#![allow(unsafe_code)] // It does what drivers do.
#![allow(dead_code)] // Each test file uses its part of it.
#![allow(missing_docs)] // A helper of the tests.

use std::ffi::c_void;
use std::net::SocketAddr;
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use nt_abi::kernel::*;
use nt_abi::nmr::*;
use nt_abi::wsk::*;
use nt_abi::{DEVICE_OBJECT, GUID, IRP, NtStatus};
use nt_abi::{SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS};
pub use ntbench::rusty_fork::rusty_fork_test;
use ntbench::{Bench, Config};

/// A test in a process of its own, as a bench wants it.
macro_rules! isolated {
    (fn $name:ident() $body:block) => {
        ntbench::rusty_fork::rusty_fork_test! {
            #[test]
            fn $name() $body
        }
    };
}

mod datagram;
pub mod indications;
mod memory;
pub use datagram::*;
pub use memory::*;

pub const TAG: u32 = u32::from_le_bytes(*b"tseT");
const PATIENCE: Duration = Duration::from_secs(5);

/// What the callbacks of the one client need.
pub static BINDING: AtomicUsize = AtomicUsize::new(0);
static CLIENT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static TABLE: AtomicPtr<WSK_PROVIDER_DISPATCH> = AtomicPtr::new(null_mut());
static DETACHING: AtomicBool = AtomicBool::new(false);
/// 0 answers a detach with STATUS_PENDING, 1 with STATUS_SUCCESS.
pub static DETACH_AT_ONCE: AtomicBool = AtomicBool::new(false);
pub static ATTACH_STATUS: AtomicUsize = AtomicUsize::new(0);
pub static CLEANUPS: AtomicU64 = AtomicU64::new(0);
pub static DETACHES: AtomicU64 = AtomicU64::new(0);

struct Pinned<T>(T);
// SAFETY: never written.
unsafe impl<T> Sync for Pinned<T> {}

pub static ID: GUID = NPI_WSK_INTERFACE_ID;
static MODULE: Pinned<NPI_MODULEID> = Pinned(NPI_MODULEID {
    Length: size_of::<NPI_MODULEID>() as u16,
    Type: MIT_GUID,
    Value: NPI_MODULEID_VALUE { Guid: GUID { Data1: 1, Data2: 2, Data3: 3, Data4: [4; 8] } },
});
static DISPATCH: WSK_CLIENT_DISPATCH = WSK_CLIENT_DISPATCH { Version: WSK_VERSION_1_0, Reserved: 0, WskClientEvent: None };
static CHARACTERISTICS: Pinned<NPI_CLIENT_CHARACTERISTICS> = Pinned(NPI_CLIENT_CHARACTERISTICS {
    Version: 0,
    Length: size_of::<NPI_CLIENT_CHARACTERISTICS>() as u16,
    ClientAttachProvider: Some(attach),
    ClientDetachProvider: Some(detach),
    ClientCleanupBindingContext: Some(cleanup),
    ClientRegistrationInstance: NPI_REGISTRATION_INSTANCE {
        Version: 0,
        Size: size_of::<NPI_REGISTRATION_INSTANCE>() as u16,
        NpiId: &raw const ID,
        ModuleId: &raw const MODULE.0,
        Number: 0,
        NpiSpecificCharacteristics: null(),
    },
});

unsafe extern "win64" fn attach(
    binding: *mut c_void,
    _context: *mut c_void,
    _provider: *const NPI_REGISTRATION_INSTANCE,
) -> NtStatus {
    let (mut client, mut table) = (null_mut(), null());
    BINDING.store(binding as usize, Ordering::SeqCst);
    let (mine, dispatch) = ((&raw const BINDING).cast_mut().cast(), (&raw const DISPATCH).cast());
    // SAFETY: as the page has it.
    let status = unsafe { nmr::NmrClientAttachProvider(binding, mine, dispatch, &raw mut client, &raw mut table) };
    ATTACH_STATUS.store(status.0 as u32 as usize, Ordering::SeqCst);
    if status == NtStatus::SUCCESS {
        DETACHING.store(false, Ordering::SeqCst);
        CLIENT.store(client, Ordering::SeqCst);
        TABLE.store(table.cast_mut().cast(), Ordering::SeqCst);
    }
    status
}

unsafe extern "win64" fn detach(_binding: *mut c_void) -> NtStatus {
    DETACHING.store(true, Ordering::SeqCst);
    DETACHES.fetch_add(1, Ordering::SeqCst);
    if DETACH_AT_ONCE.load(Ordering::SeqCst) { NtStatus::SUCCESS } else { NtStatus::PENDING }
}

unsafe extern "win64" fn cleanup(_binding: *mut c_void) {
    CLEANUPS.fetch_add(1, Ordering::SeqCst);
}

/// A bench with the client attached, which must end with a clean verdict.
pub fn with_bench(body: impl FnOnce(&Bench)) {
    let bench = Bench::new(Config::default()).unwrap();
    let registration = attached();
    body(&bench);
    registration.end();
    let verdict = bench.verdict();
    assert!(verdict.is_clean(), "{verdict}");
}

/// The client's registration.
pub struct Registration(*mut c_void);

pub fn register() -> Registration {
    let mut handle = null_mut();
    // SAFETY: the characteristics are static.
    let status = unsafe { nmr::NmrRegisterClient(&raw const CHARACTERISTICS.0, null_mut(), &raw mut handle) };
    assert_eq!(status, NtStatus::SUCCESS);
    Registration(handle)
}

/// Registers and waits until the provider is attached.
pub fn attached() -> Registration {
    let registration = register();
    until("the attach", || !TABLE.load(Ordering::SeqCst).is_null());
    registration
}

impl Registration {
    /// Deregisters; the detach is completed as soon as it has begun, if it was answered with STATUS_PENDING.
    pub fn end(self) {
        // SAFETY: the handle of the registration.
        let status = unsafe { nmr::NmrDeregisterClient(self.0) };
        complete_detach();
        if status == NtStatus::PENDING {
            // SAFETY: as above.
            assert_eq!(unsafe { nmr::NmrWaitForClientDeregisterComplete(self.0) }, NtStatus::SUCCESS);
        }
    }
}

/// Reports the detach complete, if one is pending.
pub fn complete_detach() {
    if DETACHING.swap(false, Ordering::SeqCst) && !DETACH_AT_ONCE.load(Ordering::SeqCst) {
        TABLE.store(null_mut(), Ordering::SeqCst);
        // SAFETY: the handle of the binding that is being detached.
        unsafe { nmr::NmrClientDetachProviderComplete(BINDING.load(Ordering::SeqCst) as *mut c_void) };
    }
}

pub fn detaching() -> bool {
    DETACHING.load(Ordering::SeqCst)
}

pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..20_000 {
        if condition() {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    panic!("{what} did not come");
}

pub fn table() -> &'static WSK_PROVIDER_DISPATCH {
    // SAFETY: the provider's table, which is static.
    unsafe { TABLE.load(Ordering::SeqCst).as_ref() }.expect("attached")
}

pub fn client() -> PWSK_CLIENT {
    CLIENT.load(Ordering::SeqCst)
}

// IRPs.

#[derive(Default)]
struct Waiter {
    ended: Mutex<Option<(NtStatus, usize, u8)>>,
    bell: Condvar,
}

/// An IRP that has been given to a function.
pub struct Pending {
    pub irp: *mut IRP,
    pub returned: NtStatus,
    waiter: Arc<Waiter>,
}

// SAFETY: an IRP is used from any thread.
unsafe impl Send for Pending {}

/// How a request went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ended {
    /// What the function returned.
    pub returned: NtStatus,
    /// IoStatus.Status.
    pub status: NtStatus,
    /// IoStatus.Information.
    pub information: usize,
    /// PendingReturned.
    pub pending: bool,
}

unsafe extern "win64" fn completed(_device: *mut DEVICE_OBJECT, irp: *mut IRP, context: *mut c_void) -> NtStatus {
    // SAFETY: `context` is the reference that `request` leaked for this call.
    let waiter = unsafe { Arc::from_raw(context.cast::<Waiter>()) };
    // SAFETY: the IRP is ours again.
    let ended = unsafe { ((*irp).IoStatus.Status, (*irp).IoStatus.Information, (*irp).PendingReturned) };
    let before = waiter.ended.lock().unwrap().replace(ended);
    assert!(before.is_none(), "an IRP was completed twice");
    waiter.bell.notify_all();
    NtStatus::MORE_PROCESSING_REQUIRED
}

/// IoSetCompletionRoutine.
pub unsafe fn set_routine(irp: *mut IRP, routine: nt_abi::IO_COMPLETION_ROUTINE, context: *mut c_void) {
    // SAFETY: the IRP has a location below its current one.
    unsafe {
        let next = (*irp).CurrentStackLocation.sub(1);
        (*next).CompletionRoutine = Some(routine);
        (*next).Context = context;
        (*next).Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    }
}

/// Makes an IRP and gives it to a function.
pub fn request(call: impl FnOnce(*mut IRP) -> NtStatus) -> Pending {
    let waiter = Arc::new(Waiter::default());
    // SAFETY: IoAllocateIrp takes any stack size.
    let irp = unsafe { IoAllocateIrp(1, 0) };
    assert!(!irp.is_null());
    // SAFETY: a fresh IRP with one location.
    unsafe { set_routine(irp, completed, Arc::into_raw(Arc::clone(&waiter)).cast_mut().cast()) };
    let returned = call(irp);
    Pending { irp, returned, waiter }
}

impl Pending {
    pub fn is_done(&self) -> bool {
        self.waiter.ended.lock().unwrap().is_some()
    }

    pub fn cancel(&self) -> bool {
        // SAFETY: we have not freed it.
        unsafe { IoCancelIrp(self.irp) != 0 }
    }

    /// Waits for the IRP and frees it.
    pub fn end(self) -> Ended {
        self.end_within(PATIENCE).expect("the IRP did not come back")
    }

    /// The same, for so long.
    pub fn end_within(self, time: Duration) -> Option<Ended> {
        let ended = self.waiter.ended.lock().unwrap();
        let (ended, _) = self.waiter.bell.wait_timeout_while(ended, time, |ended| ended.is_none()).unwrap();
        let (status, information, pending) = (*ended)?;
        drop(ended);
        // SAFETY: the IRP is ours again, and its completion routine has at least recorded everything.
        unsafe { IoFreeIrp(self.irp) };
        Some(Ended { returned: self.returned, status, information, pending: pending != 0 })
    }
}

/// A function that must succeed; its information.
pub fn done(call: impl FnOnce(*mut IRP) -> NtStatus) -> usize {
    let ended = request(call).end();
    assert_eq!(ended.status, NtStatus::SUCCESS);
    assert!(ended.returned == ended.status || ended.returned == NtStatus::PENDING, "{ended:?}");
    ended.information
}

// Sockets.

/// A socket of the client's. It must be closed.
#[derive(Clone, Copy)]
pub struct Socket(pub *mut WSK_SOCKET, pub bool);

// SAFETY: a socket is used from any thread.
unsafe impl Send for Socket {}

pub fn make(family: u16, flags: u32, context: *mut c_void, dispatch: *const c_void) -> Pending {
    let nobody = null_mut();
    let (kind, protocol) = (SOCK_STREAM, IPPROTO_TCP);
    // SAFETY: as the page has it.
    request(|irp| unsafe {
        (table().WskSocket)(client(), family, kind, protocol, flags, context, dispatch, nobody, nobody, nobody, irp)
    })
}

pub fn socket(family: u16, flags: u32, context: *mut c_void, dispatch: *const c_void) -> Socket {
    let ended = make(family, flags, context, dispatch).end();
    assert_eq!(ended.status, NtStatus::SUCCESS);
    Socket(ended.information as *mut WSK_SOCKET, flags == WSK_FLAG_LISTEN_SOCKET)
}

/// The connection that an accept brought.
pub fn accepted(information: usize) -> Socket {
    assert_ne!(information, 0);
    Socket(information as *mut WSK_SOCKET, false)
}

/// A listening socket on loopback, and where.
pub fn listener(context: *mut c_void, dispatch: *const WSK_CLIENT_LISTEN_DISPATCH) -> (Socket, SocketAddr) {
    let socket = socket(AF_INET, WSK_FLAG_LISTEN_SOCKET, context, dispatch.cast());
    assert_eq!(socket.bind("127.0.0.1:0").end().status, NtStatus::SUCCESS);
    let at = socket.local();
    (socket, at)
}

impl Socket {
    pub fn listen_table(self) -> &'static WSK_PROVIDER_LISTEN_DISPATCH {
        // SAFETY: a listening socket's table, which is static.
        unsafe { &*(*self.0).Dispatch.cast() }
    }

    pub fn table(self) -> &'static WSK_PROVIDER_CONNECTION_DISPATCH {
        // SAFETY: a connection's table, which is static. The first members are those of every table.
        unsafe { &*(*self.0).Dispatch.cast() }
    }

    pub fn bind(self, to: &str) -> Pending {
        let mut to = address(any(to));
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskBind)(self.0, to.at(), 0, irp) })
    }

    pub fn connect(self, to: SocketAddr) -> Pending {
        let to = Box::leak(Box::new(address(to)));
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskConnect)(self.0, to.at(), 0, irp) })
    }

    pub fn local(self) -> SocketAddr {
        let mut at = address(any("[::]:0"));
        let to = at.at();
        // SAFETY: as the page has it; listening sockets have the function elsewhere in their table.
        done(|irp| unsafe {
            match self.1 {
                true => (self.listen_table().WskGetLocalAddress)(self.0, to, irp),
                false => (self.table().WskGetLocalAddress)(self.0, to, irp),
            }
        });
        at.read()
    }

    pub fn remote(self) -> SocketAddr {
        let mut at = address(any("[::]:0"));
        // SAFETY: as the page has it.
        done(|irp| unsafe { (self.table().WskGetRemoteAddress)(self.0, at.at(), irp) });
        at.read()
    }

    pub fn accept(self, context: *mut c_void, dispatch: *const WSK_CLIENT_CONNECTION_DISPATCH) -> Pending {
        let accept = self.listen_table().WskAccept;
        // SAFETY: as the page has it.
        request(|irp| unsafe { accept(self.0, 0, context, dispatch, null_mut(), null_mut(), irp) })
    }

    pub fn send(self, buf: WSK_BUF, flags: u32) -> Pending {
        let mut buf = buf;
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskSend)(self.0, &raw mut buf, flags, irp) })
    }

    pub fn receive(self, buf: WSK_BUF, flags: u32) -> Pending {
        let mut buf = buf;
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskReceive)(self.0, &raw mut buf, flags, irp) })
    }

    pub fn disconnect(self, buf: Option<WSK_BUF>, flags: u32) -> Pending {
        let mut buf = buf;
        let at = buf.as_mut().map_or(null_mut(), |buf| &raw mut *buf);
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().WskDisconnect)(self.0, at, flags, irp) })
    }

    pub fn release(self, list: *mut WSK_DATA_INDICATION) -> NtStatus {
        // SAFETY: as the page has it.
        unsafe { (self.table().WskRelease)(self.0, list) }
    }

    pub fn begin_close(self) -> Pending {
        // SAFETY: as the page has it.
        request(|irp| unsafe { (self.table().Basic.WskCloseSocket)(self.0, irp) })
    }

    pub fn close(self) {
        assert_eq!(self.begin_close().end().status, NtStatus::SUCCESS);
    }

    /// WskControlSocket that sets an option to a number.
    pub fn set(self, level: u32, option: u32, value: u32) -> Ended {
        let mut value = value;
        let (input, none) = ((&raw mut value).cast(), null_mut());
        let control = self.table().Basic.WskControlSocket;
        // SAFETY: as the page has it.
        request(|irp| unsafe { control(self.0, WskSetOption, option, level, 4, input, 0, none, null_mut(), irp) }).end()
    }

    /// SO_WSK_EVENT_CALLBACK.
    pub fn events(self, mask: u32, irp: *mut IRP) -> NtStatus {
        let mut wish = WSK_EVENT_CALLBACK_CONTROL { NpiId: &raw const ID, EventMask: mask };
        let (input, none) = ((&raw mut wish).cast(), null_mut());
        let size = size_of::<WSK_EVENT_CALLBACK_CONTROL>();
        let control = self.table().Basic.WskControlSocket;
        // SAFETY: as the page has it.
        unsafe { control(self.0, WskSetOption, SO_WSK_EVENT_CALLBACK, SOL_SOCKET, size, input, 0, none, null_mut(), irp) }
    }
}
