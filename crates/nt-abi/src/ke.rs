//! Dispatcher objects, DPCs, timers, spin locks, interrupt request levels.
#![allow(non_camel_case_types, non_snake_case)] // Names and fields are the documented ones.

use core::ffi::c_void;

use crate::base::LIST_ENTRY;
use crate::layout;

/// `KIRQL`.
pub type KIRQL = u8;
/// Thread level.
pub const PASSIVE_LEVEL: KIRQL = 0;
/// Level of asynchronous procedure calls.
pub const APC_LEVEL: KIRQL = 1;
/// Level of the scheduler, of DPCs and of spin locks.
pub const DISPATCH_LEVEL: KIRQL = 2;
/// The highest level.
pub const HIGH_LEVEL: KIRQL = 15;

/// `KSPIN_LOCK`: zero when free.
pub type KSPIN_LOCK = usize;

/// `DISPATCHER_HEADER`: how every object that can be waited for begins.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct DISPATCHER_HEADER {
    /// `KOBJECTS` value.
    pub Type: u8,
    /// Signalling, absolute or timer flags.
    pub Signalling: u8,
    /// Size in units of four bytes.
    pub Size: u8,
    /// Zero.
    pub Reserved: u8,
    /// Not zero when signalled. The bench keeps a flag for waiters beside it.
    pub SignalState: i32,
    /// Those who wait.
    pub WaitListHead: LIST_ENTRY,
}
layout!(DISPATCHER_HEADER, 24, Type @ 0, Size @ 2, SignalState @ 4, WaitListHead @ 8);

/// `EventNotificationObject`.
pub const KOBJECT_NOTIFICATION_EVENT: u8 = 0;
/// `EventSynchronizationObject`.
pub const KOBJECT_SYNCHRONIZATION_EVENT: u8 = 1;
/// `ProcessObject`.
pub const KOBJECT_PROCESS: u8 = 3;
/// `ThreadObject`.
pub const KOBJECT_THREAD: u8 = 6;
/// `TimerNotificationObject`.
pub const KOBJECT_NOTIFICATION_TIMER: u8 = 8;
/// `TimerSynchronizationObject`.
pub const KOBJECT_SYNCHRONIZATION_TIMER: u8 = 9;

/// `NotificationEvent` as an `EVENT_TYPE`.
pub const NOTIFICATION_EVENT: u32 = 0;
/// `SynchronizationEvent` as an `EVENT_TYPE`.
pub const SYNCHRONIZATION_EVENT: u32 = 1;

/// `KEVENT`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KEVENT {
    /// All there is.
    pub Header: DISPATCHER_HEADER,
}
layout!(KEVENT, 24, Header @ 0);

impl KEVENT {
    /// Memory for an event that `KeInitializeEvent` has yet to fill.
    pub const UNINITIALIZED: KEVENT = KEVENT {
        Header: DISPATCHER_HEADER {
            Type: 0,
            Signalling: 0,
            Size: 0,
            Reserved: 0,
            SignalState: 0,
            WaitListHead: LIST_ENTRY::UNLINKED,
        },
    };
}

/// `KTIMER`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KTIMER {
    /// The waitable part.
    pub Header: DISPATCHER_HEADER,
    /// When it is due, in interrupt time.
    pub DueTime: u64,
    /// Link in the timer table.
    pub TimerListEntry: LIST_ENTRY,
    /// DPC to queue when due, or null.
    pub Dpc: *mut KDPC,
    /// Processor.
    pub Processor: u16,
    /// Notification or synchronization.
    pub TimerType: u16,
    /// Period in milliseconds, or zero.
    pub Period: u32,
}
layout!(KTIMER, 64, Header @ 0, DueTime @ 0x18, TimerListEntry @ 0x20, Dpc @ 0x30, Processor @ 0x38,
    TimerType @ 0x3a, Period @ 0x3c);

/// A DPC's routine.
pub type KDEFERRED_ROUTINE = unsafe extern "win64" fn(*mut KDPC, *mut c_void, *mut c_void, *mut c_void);

/// `KDPC`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct KDPC {
    /// `KOBJECTS` value, 19.
    pub Type: u8,
    /// `KDPC_IMPORTANCE`.
    pub Importance: u8,
    /// Target processor; the bench writes the number plus one, zero for none.
    pub Number: u16,
    /// Link in a queue.
    pub DpcListEntry: *mut c_void,
    /// Processors that ran it.
    pub ProcessorHistory: usize,
    /// The routine.
    pub DeferredRoutine: Option<KDEFERRED_ROUTINE>,
    /// Its first argument after the DPC.
    pub DeferredContext: *mut c_void,
    /// Second.
    pub SystemArgument1: *mut c_void,
    /// Third.
    pub SystemArgument2: *mut c_void,
    /// Not null while queued.
    pub DpcData: *mut c_void,
}
layout!(KDPC, 64, Type @ 0, Importance @ 1, Number @ 2, DpcListEntry @ 8, DeferredRoutine @ 0x18,
    DeferredContext @ 0x20, SystemArgument1 @ 0x28, SystemArgument2 @ 0x30, DpcData @ 0x38);

/// `DpcObject`.
pub const KOBJECT_DPC: u8 = 19;

/// A system thread's routine.
pub type KSTART_ROUTINE = unsafe extern "win64" fn(*mut c_void);

/// `Executive` as a `KWAIT_REASON`.
pub const WAIT_EXECUTIVE: u32 = 0;
/// `KernelMode` as a `KPROCESSOR_MODE`.
pub const KERNEL_MODE: i8 = 0;
/// `UserMode` as a `KPROCESSOR_MODE`.
pub const USER_MODE: i8 = 1;
