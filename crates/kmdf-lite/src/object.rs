//! Framework objects: one list of all that exist, their parents, contexts and deletion.
//!
//! Deleting an object deletes those below it. Each is disposed of (timers stopped, links removed) and its
//! EvtCleanupCallback called, children before parents; then each is taken off the list, its EvtDestroyCallback called,
//! and its memory freed.

#![allow(unsafe_code)] // Objects live in pool blocks and are reached by handle.
#![allow(non_snake_case)] // Functions of the table keep their names.

use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicUsize, Ordering};

use nt_abi::NtStatus;
use nt_abi::wdf::{
    EVT_WDF_OBJECT_CONTEXT, WDF_DRIVER_GLOBALS, WDF_OBJECT_ATTRIBUTES, WDF_OBJECT_CONTEXT_TYPE_INFO, WDFOBJECT,
    WdfExecutionLevelDispatch, WdfExecutionLevelInheritFromParent, WdfExecutionLevelPassive,
    WdfSynchronizationScopeInheritFromParent, WdfSynchronizationScopeNone,
};
use nt_abi::{DISPATCH_LEVEL, PASSIVE_LEVEL};

use crate::bind::Globals;
use crate::device::DeviceBody;
use crate::driver::DriverBody;
use crate::event::{Kind, emit, level, violation};
use crate::kernel::{Locked, allocate_bytes, free_bytes, irql};
use crate::queue::QueueBody;
use crate::registry::KeyBody;
use crate::request::{RequestBody, was_completed};
use crate::sync::SpinLockBody;
use crate::timer::TimerBody;

/// STATUS_WDF_PARENT_ASSIGNMENT_NOT_ALLOWED.
const PARENT_NOT_ALLOWED: NtStatus = NtStatus(0xC020_020F_u32 as i32);

/// An object of any type.
pub(crate) struct Object {
    next: *mut Object,
    pub globals: NonNull<Globals>,
    pub parent: *mut Object,
    cleanup: Option<EVT_WDF_OBJECT_CONTEXT>,
    destroy: Option<EVT_WDF_OBJECT_CONTEXT>,
    context: *mut u8,
    context_type: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    pub execution_level: i32,
    /// Address of the object whose deletion takes this one with it, or 0.
    doomed: AtomicUsize,
    cleaned: bool,
    /// Uses by the framework, and one until it is deleted. The memory goes with the last.
    references: AtomicUsize,
    pub body: Body,
}

/// What tells the types apart.
pub(crate) enum Body {
    Driver(DriverBody),
    Device(DeviceBody),
    Queue(QueueBody),
    Request(RequestBody),
    Key(KeyBody),
    SpinLock(SpinLockBody),
    Timer(TimerBody),
}

impl Body {
    pub fn name(&self) -> &'static str {
        match self {
            Body::Driver(_) => "WDFDRIVER",
            Body::Device(_) => "WDFDEVICE",
            Body::Queue(_) => "WDFQUEUE",
            Body::Request(_) => "WDFREQUEST",
            Body::Key(_) => "WDFKEY",
            Body::SpinLock(_) => "WDFSPINLOCK",
            Body::Timer(_) => "WDFTIMER",
        }
    }
}

impl Object {
    /// The handle that drivers know it by.
    pub fn handle(&self) -> WDFOBJECT {
        !(ptr::from_ref(self) as usize) as WDFOBJECT
    }

    /// Keeps the object's memory until [`release`], whoever deletes it.
    pub fn reference(&'static self) -> &'static Object {
        self.references.fetch_add(1, Ordering::Relaxed);
        self
    }

    fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::Relaxed) != 0
    }

    /// Stops what goes on by itself and takes back what is visible outside.
    fn dispose(&self) {
        match &self.body {
            Body::Device(device) => device.dispose(),
            Body::Timer(timer) => timer.dispose(),
            _ => {}
        }
    }
}

/// All objects, the youngest first: a child is younger than its parent, so it comes before it.
struct List(*mut Object);

static OBJECTS: Locked<List> = Locked::new(List(ptr::null_mut()));

impl List {
    fn find(&self, wanted: impl Fn(&Object) -> bool) -> Option<NonNull<Object>> {
        let mut at = self.0;
        // SAFETY: the list consists of live objects, and the lock is held.
        while let Some(object) = unsafe { at.as_ref() } {
            if wanted(object) {
                return NonNull::new(at);
            }
            at = object.next;
        }
        None
    }

    fn remove(&mut self, object: NonNull<Object>) {
        let mut link = &raw mut self.0;
        // SAFETY: as in `find`; the object is on the list.
        unsafe {
            while *link != object.as_ptr() {
                link = &raw mut (**link).next;
            }
            *link = (*object.as_ptr()).next;
        }
    }
}

/// Looks a handle up. The object stays for as long as nobody deletes it, which is the driver's to know.
pub(crate) fn resolve(function: &'static str, handle: WDFOBJECT) -> Result<&'static Object, NtStatus> {
    let address = !(handle as usize);
    let found = OBJECTS.lock().find(|object| ptr::from_ref(object) as usize == address);
    match found {
        // SAFETY: it was on the list; a driver that deletes it while another call uses it would crash in KMDF too.
        Some(object) => Ok(unsafe { object.as_ref() }),
        None => {
            let text = match handle {
                _ if handle.is_null() => "the handle is null",
                _ if was_completed(handle) => "the request has been completed already",
                _ => "the handle is of an object that was deleted, or of none",
            };
            refuse(function, text, handle, NtStatus::INVALID_HANDLE)
        }
    }
}

/// Reports a violation and answers a status.
pub(crate) fn refuse<T>(function: &'static str, text: &'static str, object: WDFOBJECT, status: NtStatus) -> Result<T, NtStatus> {
    violation(function, text, object as usize);
    Err(status)
}

/// Looks a handle of a certain type up: `body!(function, handle, Device)` is the object and its body.
macro_rules! body {
    ($function:expr, $handle:expr, $type:ident) => {
        match $crate::object::resolve($function, $handle) {
            Ok(object) => match &object.body {
                $crate::object::Body::$type(body) => Ok((object, body)),
                _ => $crate::object::refuse(
                    $function,
                    concat!("the handle is of another type than ", stringify!($type)),
                    $handle,
                    nt_abi::NtStatus::INVALID_HANDLE,
                ),
            },
            Err(status) => Err(status),
        }
    };
}
pub(crate) use body;

/// Object attributes that have been checked.
#[derive(Default)]
pub(crate) struct Attributes {
    cleanup: Option<EVT_WDF_OBJECT_CONTEXT>,
    destroy: Option<EVT_WDF_OBJECT_CONTEXT>,
    pub execution_level: i32,
    pub parent: Option<&'static Object>,
    context_size: usize,
    context_type: Option<NonNull<WDF_OBJECT_CONTEXT_TYPE_INFO>>,
}

impl Attributes {
    /// Reads the attributes that a driver gave; null stands for none.
    ///
    /// # Safety
    /// `from` is null or points to attributes whose context type, if any, is valid.
    pub unsafe fn read(
        function: &'static str,
        from: *const WDF_OBJECT_ATTRIBUTES,
        parent_allowed: bool,
    ) -> Result<Attributes, NtStatus> {
        // SAFETY: the caller's promise.
        let Some(given) = (unsafe { from.as_ref() }) else { return Ok(Attributes::default()) };
        let bad = |text| refuse(function, text, ptr::null_mut(), NtStatus::INVALID_PARAMETER);
        if given.Size as usize != size_of::<WDF_OBJECT_ATTRIBUTES>() {
            return bad("WDF_OBJECT_ATTRIBUTES.Size is wrong");
        }
        if !(WdfExecutionLevelInheritFromParent..=WdfExecutionLevelDispatch).contains(&given.ExecutionLevel) {
            return bad("WDF_OBJECT_ATTRIBUTES.ExecutionLevel is not set: was WDF_OBJECT_ATTRIBUTES_INIT called?");
        }
        check_scope(function, given.SynchronizationScope)?;
        if !given.ParentObject.is_null() && !parent_allowed {
            return refuse(function, "a parent is not allowed here", given.ParentObject, PARENT_NOT_ALLOWED);
        }
        let parent = if given.ParentObject.is_null() { None } else { Some(resolve(function, given.ParentObject)?) };
        let context_type = NonNull::new(given.ContextTypeInfo.cast_mut());
        // SAFETY: the caller's promise.
        let context_size = unsafe { context_size(function, given, context_type) }?;
        Ok(Attributes {
            cleanup: given.EvtCleanupCallback,
            destroy: given.EvtDestroyCallback,
            execution_level: given.ExecutionLevel,
            parent,
            context_size,
            context_type,
        })
    }

    /// Whether callbacks are to run at PASSIVE_LEVEL, given what the parent wants.
    pub fn passive(&self, parent: &Object) -> bool {
        match self.execution_level {
            WdfExecutionLevelPassive => true,
            WdfExecutionLevelDispatch => false,
            _ => parent.execution_level == WdfExecutionLevelPassive,
        }
    }
}

fn check_scope(function: &'static str, scope: i32) -> Result<(), NtStatus> {
    match scope {
        WdfSynchronizationScopeInheritFromParent | WdfSynchronizationScopeNone => Ok(()),
        2 | 3 => {
            let text = "synchronization scopes other than none are not in kmdf-lite";
            refuse(function, text, ptr::null_mut(), NtStatus::NOT_SUPPORTED)
        }
        _ => {
            let text = "WDF_OBJECT_ATTRIBUTES.SynchronizationScope is not set: was WDF_OBJECT_ATTRIBUTES_INIT called?";
            refuse(function, text, ptr::null_mut(), NtStatus::INVALID_PARAMETER)
        }
    }
}

/// # Safety
/// The context type, if any, is valid.
unsafe fn context_size(
    function: &'static str,
    given: &WDF_OBJECT_ATTRIBUTES,
    kind: Option<NonNull<WDF_OBJECT_CONTEXT_TYPE_INFO>>,
) -> Result<usize, NtStatus> {
    let bad = |text| refuse(function, text, ptr::null_mut(), NtStatus::INVALID_PARAMETER);
    let Some(kind) = kind else {
        return match given.ContextSizeOverride {
            0 => Ok(0),
            _ => bad("ContextSizeOverride is set without a context type"),
        };
    };
    // SAFETY: the caller's promise.
    let kind = unsafe { kind.as_ref() };
    if kind.Size as usize != size_of::<WDF_OBJECT_CONTEXT_TYPE_INFO>() {
        return bad("WDF_OBJECT_CONTEXT_TYPE_INFO.Size is wrong");
    }
    if kind.ContextName.is_null() || kind.UniqueType.is_null() {
        return bad("WDF_OBJECT_CONTEXT_TYPE_INFO without a name or a unique type");
    }
    match given.ContextSizeOverride {
        0 => Ok(kind.ContextSize),
        size if size >= kind.ContextSize => Ok(size),
        _ => bad("ContextSizeOverride is less than the context type's size"),
    }
}

/// Makes an object and lists it. A parent that is being deleted takes no new children.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn create(
    globals: NonNull<Globals>,
    parent: Option<&Object>,
    attributes: &Attributes,
    body: Body,
) -> Result<&'static Object, NtStatus> {
    const HEADER: usize = size_of::<Object>().next_multiple_of(16);
    let inherited = parent.map_or(0, |parent| parent.execution_level);
    let kind = body.name();
    let block = allocate_bytes(HEADER + attributes.context_size).ok_or(NtStatus::INSUFFICIENT_RESOURCES)?;
    // SAFETY: the block is that much larger than the header; pool blocks are zeroed, as contexts are.
    let context = unsafe { block.add(HEADER) };
    let object = Object {
        next: ptr::null_mut(),
        globals,
        parent: parent.map_or(ptr::null_mut(), |parent| ptr::from_ref(parent).cast_mut()),
        cleanup: attributes.cleanup,
        destroy: attributes.destroy,
        context: context.as_ptr(),
        context_type: attributes.context_type.map_or(ptr::null(), |kind| kind.as_ptr()),
        execution_level: match attributes.execution_level {
            WdfExecutionLevelPassive | WdfExecutionLevelDispatch => attributes.execution_level,
            _ => inherited,
        },
        doomed: AtomicUsize::new(0),
        cleaned: false,
        references: AtomicUsize::new(1),
        body,
    };
    let block = block.cast::<Object>();
    // SAFETY: fresh, large enough, aligned to 16 as pool blocks are.
    unsafe { block.write(object) };
    if !enlist(block, parent) {
        // SAFETY: never listed.
        unsafe { discard(block) };
        return Err(NtStatus::DELETE_PENDING);
    }
    // SAFETY: listed now; it stays until it is deleted.
    let object = unsafe { block.as_ref() };
    emit(Kind::Create { kind }, object.handle() as usize);
    Ok(object)
}

fn enlist(mut block: NonNull<Object>, parent: Option<&Object>) -> bool {
    let mut list = OBJECTS.lock();
    if parent.is_some_and(Object::is_doomed) {
        return false;
    }
    // SAFETY: not listed yet, so the caller's alone.
    unsafe { block.as_mut() }.next = list.0;
    list.0 = block.as_ptr();
    true
}

/// # Safety
/// The object is on no list and nobody uses it.
unsafe fn discard(block: NonNull<Object>) {
    // SAFETY: the caller's promise.
    unsafe { block.drop_in_place() };
    // SAFETY: as above.
    unsafe { free_bytes(block.cast()) };
}

/// Deletes an object and all that is below it.
///
/// # IRQL
/// <= DISPATCH_LEVEL (PASSIVE_LEVEL for drivers, devices and keys)
pub(crate) fn delete(root: &'static Object) -> Result<(), NtStatus> {
    let tag = ptr::from_ref(root) as usize;
    if !doom(root, tag) {
        return refuse("WdfObjectDelete", "the object is being deleted already", root.handle(), NtStatus::DELETE_PENDING);
    }
    while let Some(object) = next_to_clean(tag) {
        object.dispose();
        if let Some(cleanup) = object.cleanup {
            // SAFETY: the driver's own callback, with the handle of an object that still exists.
            unsafe { cleanup(object.handle()) };
        }
    }
    while let Some(object) = next_to_release(tag) {
        release(object);
    }
    Ok(())
}

/// Marks the object and everything below it. False if it is marked already.
fn doom(root: &Object, tag: usize) -> bool {
    let list = OBJECTS.lock();
    if root.is_doomed() {
        return false;
    }
    root.doomed.store(tag, Ordering::Relaxed);
    let below = |object: &Object| {
        // SAFETY: a listed object's parent is listed: parents go last.
        !object.is_doomed() && unsafe { object.parent.as_ref() }.is_some_and(|p| p.doomed.load(Ordering::Relaxed) == tag)
    };
    while let Some(object) = list.find(below) {
        // SAFETY: listed, and the lock is held.
        unsafe { object.as_ref() }.doomed.store(tag, Ordering::Relaxed);
    }
    true
}

/// The next of the doomed objects that has not been cleaned up. Children come before their parents.
fn next_to_clean(tag: usize) -> Option<&'static Object> {
    let list = OBJECTS.lock();
    let mut found = list.find(|object| object.doomed.load(Ordering::Relaxed) == tag && !object.cleaned)?;
    // SAFETY: listed, the lock is held, and only the deleting thread looks at `cleaned`.
    unsafe { found.as_mut() }.cleaned = true;
    // SAFETY: it is released by this thread, later.
    Some(unsafe { found.as_ref() })
}

/// The next of the doomed objects, cut loose from its parent and from the deletion. Children come before their parents.
fn next_to_release(tag: usize) -> Option<&'static Object> {
    let list = OBJECTS.lock();
    let mut found = list.find(|object| object.doomed.load(Ordering::Relaxed) == tag)?;
    // SAFETY: listed, and the lock is held.
    let object = unsafe { found.as_mut() };
    object.parent = ptr::null_mut();
    object.doomed.store(usize::MAX, Ordering::Relaxed);
    // SAFETY: its first reference has not been released.
    Some(unsafe { found.as_ref() })
}

/// Gives up one use of an object. With the last, its EvtDestroyCallback is called and its memory freed.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) fn release(object: &'static Object) {
    if object.references.fetch_sub(1, Ordering::AcqRel) != 1 {
        return;
    }
    let (handle, kind) = (object.handle(), object.body.name());
    if let Some(callback) = object.destroy {
        // SAFETY: the driver's own callback; the context is still there.
        unsafe { callback(handle) };
    }
    emit(Kind::Delete { kind }, handle as usize);
    let block = NonNull::from(object);
    OBJECTS.lock().remove(block);
    // SAFETY: off the list, and this was the last use.
    unsafe { discard(block) };
}

/// Deletes an object by its handle.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfObjectDelete(_globals: *mut WDF_DRIVER_GLOBALS, handle: WDFOBJECT) {
    const NAME: &str = "WdfObjectDelete";
    let _ = delete_by_handle(NAME, handle);
}

fn delete_by_handle(function: &'static str, handle: WDFOBJECT) -> Result<(), NtStatus> {
    level(function, DISPATCH_LEVEL)?;
    let object = resolve(function, handle)?;
    let text = match object.body {
        Body::Driver(_) => "a WDFDRIVER cannot be deleted by the driver",
        Body::Queue(_) => "a WDFQUEUE of a device is deleted with the device",
        Body::Request(_) => "a WDFREQUEST that the framework made is deleted by completing it",
        Body::Device(_) | Body::Key(_) if irql() > PASSIVE_LEVEL => "this object must be deleted at PASSIVE_LEVEL",
        _ => return delete(object),
    };
    refuse(function, text, handle, NtStatus::INVALID_DEVICE_REQUEST)
}

/// The context that an object was made with, or null if it has none of that type.
///
/// # IRQL
/// <= DISPATCH_LEVEL
pub(crate) unsafe extern "win64" fn WdfObjectGetTypedContextWorker(
    _globals: *mut WDF_DRIVER_GLOBALS,
    handle: WDFOBJECT,
    kind: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
) -> *mut c_void {
    match resolve("WdfObjectGetTypedContextWorker", handle) {
        // SAFETY: both types are null or valid, as drivers hand them over.
        Ok(object) if unsafe { same_type(object.context_type, kind) } => object.context.cast(),
        _ => ptr::null_mut(),
    }
}

/// # Safety
/// Both are null or valid.
unsafe fn same_type(a: *const WDF_OBJECT_CONTEXT_TYPE_INFO, b: *const WDF_OBJECT_CONTEXT_TYPE_INFO) -> bool {
    // SAFETY: the caller's promise.
    match unsafe { (a.as_ref(), b.as_ref()) } {
        (Some(a), Some(b)) => ptr::eq(a.UniqueType, b.UniqueType),
        _ => false,
    }
}
