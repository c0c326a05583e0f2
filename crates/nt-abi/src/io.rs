//! IRPs, stack locations, device, driver and file objects.
#![allow(non_camel_case_types, non_snake_case)] // Names and fields are the documented ones.

use core::ffi::c_void;

use crate::base::{LIST_ENTRY, UNICODE_STRING};
use crate::ke::{KDPC, KEVENT};
use crate::layout;
use crate::mm::MDL;
use crate::status::NtStatus;

/// `IO_STATUS_BLOCK`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IO_STATUS_BLOCK {
    /// How it ended.
    pub Status: NtStatus,
    /// Usually the bytes transferred.
    pub Information: usize,
}
layout!(IO_STATUS_BLOCK, 16, Status @ 0, Information @ 8);

/// A completion routine.
pub type IO_COMPLETION_ROUTINE = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP, *mut c_void) -> NtStatus;
/// A cancel routine: entered with the cancel spin lock held.
pub type DRIVER_CANCEL = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP);
/// A dispatch routine.
pub type DRIVER_DISPATCH = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut IRP) -> NtStatus;
/// A driver's entry point.
pub type DRIVER_INITIALIZE = unsafe extern "win64" fn(*mut DRIVER_OBJECT, *mut UNICODE_STRING) -> NtStatus;
/// A driver's unload routine.
pub type DRIVER_UNLOAD = unsafe extern "win64" fn(*mut DRIVER_OBJECT);
/// A work item's routine.
pub type IO_WORKITEM_ROUTINE = unsafe extern "win64" fn(*mut DEVICE_OBJECT, *mut c_void);
/// A work item's routine, extended form: object, context, work item.
pub type IO_WORKITEM_ROUTINE_EX = unsafe extern "win64" fn(*mut c_void, *mut c_void, *mut c_void);

/// `IRP`, followed by its stack locations.
#[repr(C)]
pub struct IRP {
    /// 6.
    pub Type: i16,
    /// Bytes with the stack locations.
    pub Size: u16,
    /// Processor that allocated it.
    pub AllocationProcessorNumber: u16,
    /// Zero.
    pub Reserved: u16,
    /// Buffer of a direct I/O request.
    pub MdlAddress: *mut MDL,
    /// `IRP_*` flags.
    pub Flags: u32,
    /// Master IRP, IRP count, or system buffer.
    pub AssociatedIrp: *mut c_void,
    /// Link in the thread's list.
    pub ThreadListEntry: LIST_ENTRY,
    /// How the request ended.
    pub IoStatus: IO_STATUS_BLOCK,
    /// Kernel or user mode.
    pub RequestorMode: i8,
    /// Copied from the lower stack location while completing.
    pub PendingReturned: u8,
    /// Stack locations there are.
    pub StackCount: i8,
    /// The current one, counted from 1; `stack_count + 1` belongs to the owner.
    pub CurrentLocation: i8,
    /// Not zero once cancelled.
    pub Cancel: u8,
    /// IRQL to release the cancel spin lock to.
    pub CancelIrql: u8,
    /// APC environment.
    pub ApcEnvironment: i8,
    /// How it was allocated.
    pub AllocationFlags: u8,
    /// Status block of the requester.
    pub UserIosb: *mut IO_STATUS_BLOCK,
    /// Event of the requester.
    pub UserEvent: *mut KEVENT,
    /// APC routine and context, or allocation size.
    pub Overlay: [usize; 2],
    /// Cancel routine, or null.
    pub CancelRoutine: Option<DRIVER_CANCEL>,
    /// Output buffer of a `METHOD_NEITHER` request.
    pub UserBuffer: *mut c_void,
    /// For the driver that holds the IRP (`Tail.Overlay.DriverContext`).
    pub DriverContext: [*mut c_void; 4],
    /// Requesting thread.
    pub Thread: *mut c_void,
    /// Auxiliary buffer.
    pub AuxiliaryBuffer: *mut c_void,
    /// For the driver that holds the IRP (`Tail.Overlay.ListEntry`).
    pub ListEntry: LIST_ENTRY,
    /// The current stack location.
    pub CurrentStackLocation: *mut IO_STACK_LOCATION,
    /// File object.
    pub OriginalFileObject: *mut FILE_OBJECT,
    /// Extension.
    pub IrpExtension: *mut c_void,
}
layout!(IRP, 0xd0, MdlAddress @ 8, Flags @ 0x10, AssociatedIrp @ 0x18, ThreadListEntry @ 0x20, IoStatus @ 0x30,
    RequestorMode @ 0x40, PendingReturned @ 0x41, StackCount @ 0x42, CurrentLocation @ 0x43, Cancel @ 0x44,
    CancelIrql @ 0x45, AllocationFlags @ 0x47, UserIosb @ 0x48, UserEvent @ 0x50, Overlay @ 0x58,
    CancelRoutine @ 0x68, UserBuffer @ 0x70, DriverContext @ 0x78, Thread @ 0x98, ListEntry @ 0xa8,
    CurrentStackLocation @ 0xb8, OriginalFileObject @ 0xc0);

/// `IO_TYPE_IRP`.
pub const IO_TYPE_IRP: i16 = 6;

/// `IO_STACK_LOCATION`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct IO_STACK_LOCATION {
    /// `IRP_MJ_*`.
    pub MajorFunction: u8,
    /// `IRP_MN_*`.
    pub MinorFunction: u8,
    /// `SL_*` flags of the request.
    pub Flags: u8,
    /// `SL_PENDING_RETURNED`, `SL_INVOKE_ON_*`.
    pub Control: u8,
    /// Four eightbytes; of a device control: output length, input length, code, type 3 buffer.
    pub Parameters: [usize; 4],
    /// Device that the request is for.
    pub DeviceObject: *mut DEVICE_OBJECT,
    /// File that it came through.
    pub FileObject: *mut FILE_OBJECT,
    /// Routine of the driver above.
    pub CompletionRoutine: Option<IO_COMPLETION_ROUTINE>,
    /// Its context.
    pub Context: *mut c_void,
}
layout!(IO_STACK_LOCATION, 0x48, Control @ 3, Parameters @ 8, DeviceObject @ 0x28, FileObject @ 0x30,
    CompletionRoutine @ 0x38, Context @ 0x40);

impl IO_STACK_LOCATION {
    /// A stack location with nothing in it.
    pub const EMPTY: IO_STACK_LOCATION = IO_STACK_LOCATION {
        MajorFunction: 0,
        MinorFunction: 0,
        Flags: 0,
        Control: 0,
        Parameters: [0; 4],
        DeviceObject: core::ptr::null_mut(),
        FileObject: core::ptr::null_mut(),
        CompletionRoutine: None,
        Context: core::ptr::null_mut(),
    };
}

/// `SL_PENDING_RETURNED`.
pub const SL_PENDING_RETURNED: u8 = 0x01;
/// `SL_INVOKE_ON_CANCEL`.
pub const SL_INVOKE_ON_CANCEL: u8 = 0x20;
/// `SL_INVOKE_ON_SUCCESS`.
pub const SL_INVOKE_ON_SUCCESS: u8 = 0x40;
/// `SL_INVOKE_ON_ERROR`.
pub const SL_INVOKE_ON_ERROR: u8 = 0x80;

/// `IRP_MJ_CREATE`.
pub const IRP_MJ_CREATE: u8 = 0x00;
/// `IRP_MJ_CLOSE`.
pub const IRP_MJ_CLOSE: u8 = 0x02;
/// `IRP_MJ_DEVICE_CONTROL`.
pub const IRP_MJ_DEVICE_CONTROL: u8 = 0x0e;
/// `IRP_MJ_SHUTDOWN`.
pub const IRP_MJ_SHUTDOWN: u8 = 0x10;
/// `IRP_MJ_CLEANUP`.
pub const IRP_MJ_CLEANUP: u8 = 0x12;
/// Entries of `DriverObject.major_function`.
pub const IRP_MJ_COUNT: usize = 28;

/// `DEVICE_OBJECT`.
#[repr(C, align(16))]
pub struct DEVICE_OBJECT {
    /// 3.
    pub Type: i16,
    /// Bytes with the extension.
    pub Size: u16,
    /// Open handles.
    pub ReferenceCount: i32,
    /// Its driver.
    pub DriverObject: *mut DRIVER_OBJECT,
    /// The driver's next device.
    pub NextDevice: *mut DEVICE_OBJECT,
    /// Device attached above.
    pub AttachedDevice: *mut DEVICE_OBJECT,
    /// IRP in `StartIo`.
    pub CurrentIrp: *mut IRP,
    /// I/O timer.
    pub Timer: *mut c_void,
    /// `DO_*` flags.
    pub Flags: u32,
    /// `FILE_*` characteristics.
    pub Characteristics: u32,
    /// Volume parameter block.
    pub Vpb: *mut c_void,
    /// The driver's extension.
    pub DeviceExtension: *mut c_void,
    /// `FILE_DEVICE_*`.
    pub DeviceType: u32,
    /// Stack locations an IRP for it needs.
    pub StackSize: i8,
    /// Wait context block.
    pub Queue: [usize; 9],
    /// Alignment requirement.
    pub AlignmentRequirement: u32,
    /// Device queue.
    pub DeviceQueue: [usize; 5],
    /// DPC.
    pub Dpc: KDPC,
    /// Threads active.
    pub ActiveThreadCount: u32,
    /// Security descriptor.
    pub SecurityDescriptor: *mut c_void,
    /// Device lock.
    pub DeviceLock: KEVENT,
    /// Sector size.
    pub SectorSize: u16,
    /// Zero.
    pub Spare1: u16,
    /// Extension of the I/O manager.
    pub DeviceObjectExtension: *mut c_void,
    /// Zero.
    pub Reserved: *mut c_void,
}
layout!(DEVICE_OBJECT, 0x150, ReferenceCount @ 4, DriverObject @ 8, NextDevice @ 0x10, AttachedDevice @ 0x18,
    CurrentIrp @ 0x20, Flags @ 0x30, Characteristics @ 0x34, DeviceExtension @ 0x40, DeviceType @ 0x48,
    StackSize @ 0x4c, Queue @ 0x50, AlignmentRequirement @ 0x98, DeviceQueue @ 0xa0, Dpc @ 0xc8,
    ActiveThreadCount @ 0x108, SecurityDescriptor @ 0x110, DeviceLock @ 0x118, SectorSize @ 0x130,
    DeviceObjectExtension @ 0x138);

/// `IO_TYPE_DEVICE`.
pub const IO_TYPE_DEVICE: i16 = 3;
/// `DO_BUFFERED_IO`.
pub const DO_BUFFERED_IO: u32 = 0x4;
/// `DO_EXCLUSIVE`.
pub const DO_EXCLUSIVE: u32 = 0x8;
/// `DO_DEVICE_INITIALIZING`.
pub const DO_DEVICE_INITIALIZING: u32 = 0x80;
/// `FILE_DEVICE_UNKNOWN`.
pub const FILE_DEVICE_UNKNOWN: u32 = 0x22;

/// `DRIVER_OBJECT`.
#[repr(C)]
pub struct DRIVER_OBJECT {
    /// 4.
    pub Type: i16,
    /// Bytes.
    pub Size: u16,
    /// First device.
    pub DeviceObject: *mut DEVICE_OBJECT,
    /// Flags.
    pub Flags: u32,
    /// Image base.
    pub DriverStart: *mut c_void,
    /// Image size.
    pub DriverSize: u32,
    /// Loader entry.
    pub DriverSection: *mut c_void,
    /// Driver extension.
    pub DriverExtension: *mut DRIVER_EXTENSION,
    /// `\Driver\name`.
    pub DriverName: UNICODE_STRING,
    /// Registry path of the hardware description.
    pub HardwareDatabase: *mut UNICODE_STRING,
    /// Fast I/O table.
    pub FastIoDispatch: *mut c_void,
    /// Entry point.
    pub DriverInit: Option<DRIVER_INITIALIZE>,
    /// `StartIo`.
    pub DriverStartIo: *mut c_void,
    /// Unload routine.
    pub DriverUnload: Option<DRIVER_UNLOAD>,
    /// Dispatch routines.
    pub MajorFunction: [Option<DRIVER_DISPATCH>; IRP_MJ_COUNT],
}
layout!(DRIVER_OBJECT, 0x150, DeviceObject @ 8, Flags @ 0x10, DriverStart @ 0x18, DriverSize @ 0x20,
    DriverSection @ 0x28, DriverExtension @ 0x30, DriverName @ 0x38, HardwareDatabase @ 0x48,
    FastIoDispatch @ 0x50, DriverInit @ 0x58, DriverStartIo @ 0x60, DriverUnload @ 0x68, MajorFunction @ 0x70);

/// `IO_TYPE_DRIVER`.
pub const IO_TYPE_DRIVER: i16 = 4;

/// `DRIVER_EXTENSION`, its documented beginning.
#[repr(C)]
pub struct DRIVER_EXTENSION {
    /// Back pointer.
    pub DriverObject: *mut DRIVER_OBJECT,
    /// `AddDevice` routine.
    pub AddDevice: *mut c_void,
    /// Times reinitialized.
    pub Count: u32,
    /// Name of the service key.
    pub ServiceKeyName: UNICODE_STRING,
}
layout!(DRIVER_EXTENSION, 40, AddDevice @ 8, Count @ 16, ServiceKeyName @ 24);

/// `FILE_OBJECT`.
#[repr(C)]
pub struct FILE_OBJECT {
    /// 5.
    pub Type: i16,
    /// Bytes.
    pub Size: i16,
    /// The device it is open on.
    pub DeviceObject: *mut DEVICE_OBJECT,
    /// Volume parameter block.
    pub Vpb: *mut c_void,
    /// For the driver.
    pub FsContext: *mut c_void,
    /// For the driver.
    pub FsContext2: *mut c_void,
    /// Section object pointers.
    pub SectionObjectPointer: *mut c_void,
    /// Cache map.
    pub PrivateCacheMap: *mut c_void,
    /// Final status.
    pub FinalStatus: NtStatus,
    /// File it was opened relative to.
    pub RelatedFileObject: *mut FILE_OBJECT,
    /// Eight booleans.
    pub Booleans: [u8; 8],
    /// `FO_*` flags.
    pub Flags: u32,
    /// Name below the device.
    pub FileName: UNICODE_STRING,
    /// Offset.
    pub CurrentByteOffset: i64,
    /// Waiters.
    pub Waiters: u32,
    /// Busy.
    pub Busy: u32,
    /// Last lock.
    pub LastLock: *mut c_void,
    /// Lock.
    pub Lock: KEVENT,
    /// Event.
    pub Event: KEVENT,
    /// Completion context.
    pub CompletionContext: *mut c_void,
    /// Lock of the IRP list.
    pub IrpListLock: usize,
    /// IRP list.
    pub IrpList: LIST_ENTRY,
    /// Extension.
    pub FileObjectExtension: *mut c_void,
}
layout!(FILE_OBJECT, 0xd8, DeviceObject @ 8, FsContext @ 0x18, FsContext2 @ 0x20, FinalStatus @ 0x38,
    RelatedFileObject @ 0x40, Flags @ 0x50, FileName @ 0x58, Lock @ 0x80, Event @ 0x98, IrpList @ 0xc0);

/// `IO_TYPE_FILE`.
pub const IO_TYPE_FILE: i16 = 5;
