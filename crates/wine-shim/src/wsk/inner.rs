//! A call of Wine's provider: an IRP of ours, what it reads and writes, and what is to be done when it is back.
//!
//! A stub answers STATUS_NOT_IMPLEMENTED and never completes the IRP. So the call counts as over when its IRP has come back,
//! or when the function has returned an error without it.

#![allow(unsafe_code)] // IRPs, MDLs, and the provider's functions.

use core::ffi::c_void;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

use nt_abi::kernel::{IoAllocateIrp, IoAllocateMdl, IoFreeIrp, IoFreeMdl, MmBuildMdlForNonPagedPool};
use nt_abi::wsk::{SOCKADDR, WSK_BUF};
use nt_abi::{DEVICE_OBJECT, IRP, MDL, NtStatus, SL_INVOKE_ON_CANCEL, SL_INVOKE_ON_ERROR, SL_INVOKE_ON_SUCCESS};

use super::block::Block;
use super::client::Binding;
use super::irp::Taken;
use super::socket::Socket;

/// The function has returned.
const RETURNED: u8 = 1;
/// The IRP has come back.
const BACK: u8 = 2;

/// Room for an address of any family.
#[repr(C, align(8))]
pub(super) struct Address(pub [u8; 32]);

impl Address {
    pub fn as_ptr(&mut self) -> *mut SOCKADDR {
        self.0.as_mut_ptr().cast()
    }
}

/// Calls whose end has not come.
static OUT: AtomicUsize = AtomicUsize::new(0);

/// How many calls Wine has that have not come to their end.
pub(crate) fn out() -> usize {
    OUT.load(Ordering::Acquire)
}

/// What becomes of a call that is over, by its status and information.
pub(super) type Finish = fn(Block<Inner>, NtStatus, usize);

/// One call.
pub(super) struct Inner {
    irp: *mut IRP,
    state: AtomicU8,
    finish: Finish,
    name: &'static str,
    /// Whose function is called, if it is a socket's; a reference of ours keeps it.
    pub socket: *mut Socket,
    pub binding: *mut Binding,
    /// The driver's IRP that waits for this call; null if none does.
    pub client: *mut IRP,
    pub local: Address,
    pub remote: Address,
    /// Where the driver wants an address or a result.
    pub wanted: [*mut c_void; 2],
    /// What the provider writes a pointer to.
    pub result: *mut c_void,
    bytes: Option<Block<u8>>,
    mdl: *mut MDL,
    pub buffer: WSK_BUF,
}

impl Inner {
    /// Prepares a call. None without memory.
    pub fn new(name: &'static str, finish: Finish) -> Option<Block<Inner>> {
        // SAFETY: no requirements.
        let irp = unsafe { IoAllocateIrp(1, 0) };
        if irp.is_null() {
            return None;
        }
        let call = Block::new(Inner {
            irp,
            state: AtomicU8::new(0),
            finish,
            name,
            socket: null_mut(),
            binding: null_mut(),
            client: null_mut(),
            local: Address([0; 32]),
            remote: Address([0; 32]),
            wanted: [null_mut(); 2],
            result: null_mut(),
            bytes: None,
            mdl: null_mut(),
            buffer: WSK_BUF { Mdl: null_mut(), Offset: 0, Length: 0 },
        });
        if call.is_none() {
            // SAFETY: not sent.
            unsafe { IoFreeIrp(irp) };
        }
        call
    }

    /// Gives the call a buffer of ours, described by one MDL: Wine takes no chains. False without memory.
    pub fn with_bytes(&mut self, length: usize) -> bool {
        let Some(bytes) = Block::bytes(length) else { return false };
        // SAFETY: the memory stays as long as the MDL.
        self.mdl = unsafe { IoAllocateMdl(bytes.as_ptr().cast(), length as u32, 0, 0, null_mut()) };
        if self.mdl.is_null() {
            return false;
        }
        // SAFETY: a new MDL of nonpaged pool.
        unsafe { MmBuildMdlForNonPagedPool(self.mdl) };
        self.buffer = WSK_BUF { Mdl: self.mdl, Offset: 0, Length: length };
        self.bytes = Some(bytes);
        true
    }

    /// The buffer's first bytes.
    pub fn bytes(&mut self, length: usize) -> &mut [u8] {
        let Some(bytes) = &self.bytes else { return &mut [] };
        // SAFETY: the block is that large, and the provider is not in the middle of a call.
        unsafe { core::slice::from_raw_parts_mut(bytes.as_ptr(), length.min(self.buffer.Length)) }
    }

    /// Which function is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The driver's IRP that waits for it.
    pub fn client(&self) -> Option<Taken> {
        // SAFETY: it was taken when it was put here, and is completed once.
        (!self.client.is_null()).then(|| unsafe { Taken::known(self.client) })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.mdl.is_null() {
            // SAFETY: ours, and the call is over.
            unsafe { IoFreeMdl(self.mdl) };
        }
        // SAFETY: as above.
        unsafe { IoFreeIrp(self.irp) };
    }
}

/// Makes the call: `enter` is the provider's function with its arguments. What it came to is told by [`Finish`], before this
/// returns or later.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(super) fn call(call: Block<Inner>, enter: impl FnOnce(&mut Inner, *mut IRP) -> NtStatus) {
    OUT.fetch_add(1, Ordering::AcqRel);
    let raw = call.into_raw();
    // SAFETY: not sent yet, so all of it is ours.
    let inner = unsafe { &mut *raw };
    // SAFETY: as above: the next location is before the current one.
    let next = unsafe { &mut *(*inner.irp).CurrentStackLocation.sub(1) };
    next.CompletionRoutine = Some(completed);
    next.Context = raw.cast();
    next.Control = SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_CANCEL;
    let irp = inner.irp;
    let status = enter(inner, irp);
    // SAFETY: whoever is second of this and `completed` frees it.
    let before = unsafe { (*raw).state.fetch_or(RETURNED, Ordering::AcqRel) };
    if before & BACK != 0 {
        // SAFETY: back, so the status is there.
        unsafe { finish(raw, None) };
    } else if status.is_failure() {
        // SAFETY: a stub: it will not come back.
        unsafe { finish(raw, Some(status)) };
    }
}

/// # Safety
/// The call is over, and nobody else knows of it.
unsafe fn finish(raw: *mut Inner, refused: Option<NtStatus>) {
    // SAFETY: the caller's promise.
    let call = unsafe { Block::from_raw(raw) };
    // SAFETY: as above.
    let outcome = unsafe { (*call.irp).IoStatus };
    let (status, information) = refused.map_or((outcome.Status, outcome.Information), |status| (status, 0));
    let finish = call.finish;
    finish(call, status, information);
    OUT.fetch_sub(1, Ordering::AcqRel);
}

/// # IRQL
/// <= DISPATCH_LEVEL
unsafe extern "win64" fn completed(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, context: *mut c_void) -> NtStatus {
    let raw = context.cast::<Inner>();
    // SAFETY: the call stays until it is over.
    let before = unsafe { (*raw).state.fetch_or(BACK, Ordering::AcqRel) };
    if before & RETURNED != 0 {
        // SAFETY: both have been there.
        unsafe { finish(raw, None) };
    }
    NtStatus::MORE_PROCESSING_REQUIRED
}
