//! Kernel-Mode Driver Framework 1.31: the structures that cross the function table, as its public headers lay them out.
//!
//! Neighbours: the `kmdf-lite` crate implements the functions. Handles (`WDFDRIVER`, `WDFDEVICE`, ...) are opaque
//! pointers. Names and fields are Microsoft's, so that layouts can be compared by name.

#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]

use core::ffi::{c_char, c_void};

use crate::{NtStatus, layout};

/// Any framework handle.
pub type WDFOBJECT = *mut c_void;

/// `WDF_VERSION` of the loader's interface.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WDF_VERSION {
    /// 1 for KMDF.
    pub Major: u32,
    /// 31 for the version built against here.
    pub Minor: u32,
    /// Build number, unused.
    pub Build: u32,
}

/// What a driver's entry stub hands to `WdfVersionBind`.
#[repr(C)]
pub struct WDF_BIND_INFO {
    /// Size of this structure (or of the second version that embeds it).
    pub Size: u32,
    /// `KmdfLibrary`, UTF-16, zero-terminated.
    pub Component: *const u16,
    /// The version the driver was built against.
    pub Version: WDF_VERSION,
    /// How many functions it knows.
    pub FuncCount: u32,
    /// Address of the driver's pointer to the table, to be set (the loader's headers call it `WDFFUNC*`).
    pub FuncTable: *mut *const WDFFUNC,
    /// The library that was bound.
    pub Module: *mut c_void,
}
layout!(WDF_BIND_INFO, 48, Size @ 0, Component @ 8, Version @ 16, FuncCount @ 28, FuncTable @ 32, Module @ 40);

/// A slot of the function table.
pub type WDFFUNC = *const ();

/// The driver's own view of its framework globals.
#[repr(C)]
pub struct WDF_DRIVER_GLOBALS {
    /// The `WDFDRIVER`.
    pub Driver: WDFOBJECT,
    /// Flags of `WdfDriverCreate`.
    pub DriverFlags: u32,
    /// The driver's pool tag.
    pub DriverTag: u32,
    /// Service name, zero-terminated.
    pub DriverName: [u8; 32],
    /// Whether the entry stub puts its own unload routine first.
    pub DisplaceDriverUnload: u8,
}
layout!(WDF_DRIVER_GLOBALS, 56, Driver @ 0, DriverFlags @ 8, DriverTag @ 12, DriverName @ 16,
    DisplaceDriverUnload @ 48);

/// `EvtDriverDeviceAdd(Driver, DeviceInit)`.
pub type EVT_WDF_DRIVER_DEVICE_ADD = unsafe extern "win64" fn(WDFOBJECT, *mut c_void) -> NtStatus;
/// `EvtDriverUnload(Driver)`, PASSIVE_LEVEL.
pub type EVT_WDF_DRIVER_UNLOAD = unsafe extern "win64" fn(WDFOBJECT);
/// `EvtCleanupCallback(Object)` and `EvtDestroyCallback(Object)`.
pub type EVT_WDF_OBJECT_CONTEXT = unsafe extern "win64" fn(WDFOBJECT);
/// `EvtIoDefault(Queue, Request)`.
pub type EVT_WDF_IO_QUEUE_IO_DEFAULT = unsafe extern "win64" fn(WDFOBJECT, WDFOBJECT);
/// `EvtIoRead`, `EvtIoWrite`: `(Queue, Request, Length)`.
pub type EVT_WDF_IO_QUEUE_IO_TRANSFER = unsafe extern "win64" fn(WDFOBJECT, WDFOBJECT, usize);
/// `EvtIoDeviceControl(Queue, Request, OutputBufferLength, InputBufferLength, IoControlCode)`.
pub type EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL = unsafe extern "win64" fn(WDFOBJECT, WDFOBJECT, usize, usize, u32);
/// `EvtIoStop(Queue, Request, ActionFlags)`.
pub type EVT_WDF_IO_QUEUE_IO_STOP = unsafe extern "win64" fn(WDFOBJECT, WDFOBJECT, u32);
/// `EvtIoResume`, `EvtIoCanceledOnQueue`: `(Queue, Request)`.
pub type EVT_WDF_IO_QUEUE_REQUEST = unsafe extern "win64" fn(WDFOBJECT, WDFOBJECT);
/// `EvtDeviceShutdownNotification(Device)`.
pub type EVT_WDF_DEVICE_SHUTDOWN_NOTIFICATION = unsafe extern "win64" fn(WDFOBJECT);
/// `EvtTimerFunc(Timer)`.
pub type EVT_WDF_TIMER = unsafe extern "win64" fn(WDFOBJECT);

/// `WDF_DRIVER_INIT_FLAGS`: no AddDevice routine.
pub const WdfDriverInitNonPnpDriver: u32 = 1;
/// `WDF_DRIVER_INIT_FLAGS`: the framework leaves the dispatch table alone.
pub const WdfDriverInitNoDispatchOverride: u32 = 2;

/// How a driver wants to be run.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WDF_DRIVER_CONFIG {
    /// Size of this structure.
    pub Size: u32,
    /// Null for a non-PnP driver.
    pub EvtDriverDeviceAdd: Option<EVT_WDF_DRIVER_DEVICE_ADD>,
    /// Called first at unload.
    pub EvtDriverUnload: Option<EVT_WDF_DRIVER_UNLOAD>,
    /// `WdfDriverInit...`
    pub DriverInitFlags: u32,
    /// Tag for what the framework allocates on the driver's behalf.
    pub DriverPoolTag: u32,
}
layout!(WDF_DRIVER_CONFIG, 32, EvtDriverDeviceAdd @ 8, EvtDriverUnload @ 16, DriverInitFlags @ 24,
    DriverPoolTag @ 28);

/// `WdfExecutionLevelInheritFromParent`.
pub const WdfExecutionLevelInheritFromParent: i32 = 1;
/// `WdfExecutionLevelPassive`.
pub const WdfExecutionLevelPassive: i32 = 2;
/// `WdfExecutionLevelDispatch`.
pub const WdfExecutionLevelDispatch: i32 = 3;
/// `WdfSynchronizationScopeInheritFromParent`.
pub const WdfSynchronizationScopeInheritFromParent: i32 = 1;
/// `WdfSynchronizationScopeNone`.
pub const WdfSynchronizationScopeNone: i32 = 4;

/// What an object is created with.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WDF_OBJECT_ATTRIBUTES {
    /// Size of this structure.
    pub Size: u32,
    /// Called when deletion begins.
    pub EvtCleanupCallback: Option<EVT_WDF_OBJECT_CONTEXT>,
    /// Called when the last reference is gone.
    pub EvtDestroyCallback: Option<EVT_WDF_OBJECT_CONTEXT>,
    /// `WdfExecutionLevel...`
    pub ExecutionLevel: i32,
    /// `WdfSynchronizationScope...`
    pub SynchronizationScope: i32,
    /// The object whose deletion deletes this one.
    pub ParentObject: WDFOBJECT,
    /// If not 0, replaces the type's context size.
    pub ContextSizeOverride: usize,
    /// The driver's context for this object.
    pub ContextTypeInfo: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
}
layout!(WDF_OBJECT_ATTRIBUTES, 56, EvtCleanupCallback @ 8, EvtDestroyCallback @ 16, ExecutionLevel @ 24,
    SynchronizationScope @ 28, ParentObject @ 32, ContextSizeOverride @ 40, ContextTypeInfo @ 48);

/// Describes a driver's context type; its address is the type's identity.
#[repr(C)]
pub struct WDF_OBJECT_CONTEXT_TYPE_INFO {
    /// Size of this structure.
    pub Size: u32,
    /// Name of the type.
    pub ContextName: *const c_char,
    /// Bytes of the context.
    pub ContextSize: usize,
    /// The descriptor that stands for the type (often this one).
    pub UniqueType: *const WDF_OBJECT_CONTEXT_TYPE_INFO,
    /// Finds the unique descriptor at run time; may be null.
    pub EvtDriverGetUniqueContextType: Option<unsafe extern "win64" fn() -> *const WDF_OBJECT_CONTEXT_TYPE_INFO>,
}
layout!(WDF_OBJECT_CONTEXT_TYPE_INFO, 40, ContextName @ 8, ContextSize @ 16, UniqueType @ 24,
    EvtDriverGetUniqueContextType @ 32);

/// `WdfDeviceShutdown`.
pub const WdfDeviceShutdown: u8 = 1;
/// `WdfDeviceLastChanceShutdown`.
pub const WdfDeviceLastChanceShutdown: u8 = 2;
/// `WdfDeviceIoNeither`.
pub const WdfDeviceIoNeither: i32 = 1;
/// `WdfDeviceIoBuffered`.
pub const WdfDeviceIoBuffered: i32 = 2;
/// `WdfDeviceIoDirect`.
pub const WdfDeviceIoDirect: i32 = 3;
/// `WdfIoQueueDispatchSequential`.
pub const WdfIoQueueDispatchSequential: i32 = 1;
/// `WdfIoQueueDispatchParallel`.
pub const WdfIoQueueDispatchParallel: i32 = 2;
/// `WdfIoQueueDispatchManual`.
pub const WdfIoQueueDispatchManual: i32 = 3;

/// How a queue dispatches requests.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WDF_IO_QUEUE_CONFIG {
    /// Size of this structure.
    pub Size: u32,
    /// `WdfIoQueueDispatch...`
    pub DispatchType: i32,
    /// `WDF_TRI_STATE`: 0, 1, or 2 for the default.
    pub PowerManaged: i32,
    /// Whether requests of length 0 reach read and write callbacks.
    pub AllowZeroLengthRequests: u8,
    /// Whether the device sends its requests here.
    pub DefaultQueue: u8,
    /// Requests with no callback of their own.
    pub EvtIoDefault: Option<EVT_WDF_IO_QUEUE_IO_DEFAULT>,
    /// Reads.
    pub EvtIoRead: Option<EVT_WDF_IO_QUEUE_IO_TRANSFER>,
    /// Writes.
    pub EvtIoWrite: Option<EVT_WDF_IO_QUEUE_IO_TRANSFER>,
    /// Device controls.
    pub EvtIoDeviceControl: Option<EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL>,
    /// Internal device controls.
    pub EvtIoInternalDeviceControl: Option<EVT_WDF_IO_QUEUE_IO_DEVICE_CONTROL>,
    /// Power-managed queues only.
    pub EvtIoStop: Option<EVT_WDF_IO_QUEUE_IO_STOP>,
    /// Power-managed queues only.
    pub EvtIoResume: Option<EVT_WDF_IO_QUEUE_REQUEST>,
    /// A request was cancelled while it was queued.
    pub EvtIoCanceledOnQueue: Option<EVT_WDF_IO_QUEUE_REQUEST>,
    /// How many requests a parallel queue presents at once.
    pub NumberOfPresentedRequests: u32,
    /// The driver, for class extensions.
    pub Driver: WDFOBJECT,
}
layout!(WDF_IO_QUEUE_CONFIG, 96, DispatchType @ 4, PowerManaged @ 8, AllowZeroLengthRequests @ 12,
    DefaultQueue @ 13, EvtIoDefault @ 16, EvtIoDeviceControl @ 40, EvtIoCanceledOnQueue @ 72,
    NumberOfPresentedRequests @ 80, Driver @ 88);

/// How a timer runs.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct WDF_TIMER_CONFIG {
    /// Size of this structure.
    pub Size: u32,
    /// Called when the timer fires.
    pub EvtTimerFunc: Option<EVT_WDF_TIMER>,
    /// Period in milliseconds; 0 for a timer that fires once.
    pub Period: u32,
    /// Whether the callback is serialized with those of the parent.
    pub AutomaticSerialization: u8,
    /// Tolerance in milliseconds.
    pub TolerableDelay: u32,
    /// Whether a high-resolution timer is wanted (aligned to 8 bytes).
    pub UseHighResolutionTimer: TimerResolution,
}
layout!(WDF_TIMER_CONFIG, 40, EvtTimerFunc @ 8, Period @ 16, AutomaticSerialization @ 20, TolerableDelay @ 24,
    UseHighResolutionTimer @ 32);

/// A BOOLEAN aligned to 8 bytes.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub struct TimerResolution(pub u8);
