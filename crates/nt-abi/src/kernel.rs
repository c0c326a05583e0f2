//! The kernel's functions, as drivers import them from ntoskrnl.exe.
//!
//! Declared here so that the registrar and the framework can call them wherever they are linked: on Linux `ntbench`
//! defines the symbols, under Windows' ABI an import library does. What each does, and the IRQL that it may be called
//! at, is said where it is defined.
#![allow(unsafe_code)] // Foreign declarations.
#![allow(missing_docs)] // Each function is documented where it is defined.

use core::ffi::c_void;

use crate::{
    CLIENT_ID, DEVICE_OBJECT, DRIVER_OBJECT, HANDLE, IO_COMPLETION_ROUTINE, IO_WORKITEM_ROUTINE, IO_WORKITEM_ROUTINE_EX, IRP,
    KDEFERRED_ROUTINE, KDPC, KEVENT, KSPIN_LOCK, KSTART_ROUTINE, KTIMER, LARGE_INTEGER, MDL, NTSTATUS, OBJECT_ATTRIBUTES,
    PROCESSOR_NUMBER, UNICODE_STRING,
};

// Pool.
unsafe extern "win64" {
    pub fn ExAllocatePool2(flags: u64, bytes: usize, tag: u32) -> *mut c_void;
    pub fn ExFreePool(block: *mut c_void);
    pub fn ExFreePoolWithTag(block: *mut c_void, tag: u32);
}

// Events, waits, time.
unsafe extern "win64" {
    pub fn KeInitializeEvent(event: *mut KEVENT, kind: u32, state: u8);
    pub fn KeSetEvent(event: *mut KEVENT, increment: i32, wait: u8) -> i32;
    pub fn KeClearEvent(event: *mut KEVENT);
    pub fn KeResetEvent(event: *mut KEVENT) -> i32;
    pub fn KeReadStateEvent(event: *mut KEVENT) -> i32;
    pub fn KeWaitForSingleObject(
        object: *mut c_void,
        reason: u32,
        mode: i8,
        alertable: u8,
        timeout: *const LARGE_INTEGER,
    ) -> NTSTATUS;
    pub fn KeDelayExecutionThread(mode: i8, alertable: u8, interval: *const LARGE_INTEGER) -> NTSTATUS;
    pub fn KeQueryPerformanceCounter(frequency: *mut LARGE_INTEGER) -> LARGE_INTEGER;
    pub fn KeQueryInterruptTimePrecise(performance_counter: *mut u64) -> u64;
    pub fn KeQuerySystemTimePrecise(time: *mut LARGE_INTEGER);
}

// Spin locks, IRQL, processors.
unsafe extern "win64" {
    pub fn KeInitializeSpinLock(lock: *mut KSPIN_LOCK);
    pub fn KeAcquireSpinLockRaiseToDpc(lock: *mut KSPIN_LOCK) -> u8;
    pub fn KeReleaseSpinLock(lock: *mut KSPIN_LOCK, irql: u8);
    pub fn KeAcquireSpinLockAtDpcLevel(lock: *mut KSPIN_LOCK);
    pub fn KeReleaseSpinLockFromDpcLevel(lock: *mut KSPIN_LOCK);
    pub fn KeGetCurrentIrql() -> u8;
    pub fn KfRaiseIrql(irql: u8) -> u8;
    pub fn KeLowerIrql(irql: u8);
    pub fn KeGetCurrentProcessorNumberEx(number: *mut PROCESSOR_NUMBER) -> u32;
    pub fn KeQueryActiveProcessorCountEx(group: u16) -> u32;
    pub fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> !;
}

// DPCs and timers.
unsafe extern "win64" {
    pub fn KeInitializeDpc(dpc: *mut KDPC, routine: Option<KDEFERRED_ROUTINE>, context: *mut c_void);
    pub fn KeSetTargetProcessorDpcEx(dpc: *mut KDPC, number: *mut PROCESSOR_NUMBER) -> NTSTATUS;
    pub fn KeInsertQueueDpc(dpc: *mut KDPC, argument1: *mut c_void, argument2: *mut c_void) -> u8;
    pub fn KeRemoveQueueDpc(dpc: *mut KDPC) -> u8;
    pub fn KeFlushQueuedDpcs();
    pub fn KeInitializeTimer(timer: *mut KTIMER);
    pub fn KeInitializeTimerEx(timer: *mut KTIMER, kind: u32);
    pub fn KeSetTimer(timer: *mut KTIMER, due: LARGE_INTEGER, dpc: *mut KDPC) -> u8;
    pub fn KeSetTimerEx(timer: *mut KTIMER, due: LARGE_INTEGER, period: i32, dpc: *mut KDPC) -> u8;
    pub fn KeCancelTimer(timer: *mut KTIMER) -> u8;
}

// IRPs and MDLs.
unsafe extern "win64" {
    pub fn IoAllocateIrp(stack_size: i8, charge_quota: u8) -> *mut IRP;
    pub fn IoFreeIrp(irp: *mut IRP);
    pub fn IoReuseIrp(irp: *mut IRP, status: NTSTATUS);
    pub fn IoCancelIrp(irp: *mut IRP) -> u8;
    pub fn IoAcquireCancelSpinLock(irql: *mut u8);
    pub fn IoReleaseCancelSpinLock(irql: u8);
    pub fn IofCompleteRequest(irp: *mut IRP, boost: i8);
    pub fn IofCallDriver(device: *mut DEVICE_OBJECT, irp: *mut IRP) -> NTSTATUS;
    pub fn IoSetCompletionRoutineEx(
        device: *mut DEVICE_OBJECT,
        irp: *mut IRP,
        routine: Option<IO_COMPLETION_ROUTINE>,
        context: *mut c_void,
        on_success: u8,
        on_error: u8,
        on_cancel: u8,
    ) -> NTSTATUS;
    pub fn IoAllocateMdl(address: *mut c_void, length: u32, secondary: u8, charge_quota: u8, irp: *mut IRP) -> *mut MDL;
    pub fn IoFreeMdl(mdl: *mut MDL);
    pub fn IoBuildPartialMdl(source: *mut MDL, target: *mut MDL, address: *mut c_void, length: u32);
    pub fn MmBuildMdlForNonPagedPool(mdl: *mut MDL);
    pub fn MmMapLockedPagesSpecifyCache(
        mdl: *mut MDL,
        mode: i8,
        cache: u32,
        address: *mut c_void,
        bugcheck: u32,
        priority: u32,
    ) -> *mut c_void;
}

// Devices, drivers, work items.
unsafe extern "win64" {
    pub fn IoCreateDevice(
        driver: *mut DRIVER_OBJECT,
        extension_size: u32,
        name: *const UNICODE_STRING,
        kind: u32,
        characteristics: u32,
        exclusive: u8,
        device: *mut *mut DEVICE_OBJECT,
    ) -> NTSTATUS;
    pub fn IoDeleteDevice(device: *mut DEVICE_OBJECT);
    pub fn IoCreateSymbolicLink(link: *const UNICODE_STRING, device: *const UNICODE_STRING) -> NTSTATUS;
    pub fn IoDeleteSymbolicLink(link: *const UNICODE_STRING) -> NTSTATUS;
    pub fn IoRegisterShutdownNotification(device: *mut DEVICE_OBJECT) -> NTSTATUS;
    pub fn IoRegisterLastChanceShutdownNotification(device: *mut DEVICE_OBJECT) -> NTSTATUS;
    pub fn IoUnregisterShutdownNotification(device: *mut DEVICE_OBJECT);
    pub fn IoAllocateWorkItem(device: *mut DEVICE_OBJECT) -> *mut c_void;
    pub fn IoQueueWorkItem(item: *mut c_void, routine: Option<IO_WORKITEM_ROUTINE>, queue: u32, context: *mut c_void);
    pub fn IoQueueWorkItemEx(item: *mut c_void, routine: Option<IO_WORKITEM_ROUTINE_EX>, queue: u32, context: *mut c_void);
    pub fn IoFreeWorkItem(item: *mut c_void);
    pub fn IoGetCurrentProcess() -> *mut c_void;
}

// Threads, objects, handles.
unsafe extern "win64" {
    pub fn PsCreateSystemThread(
        handle: *mut HANDLE,
        access: u32,
        attributes: *const OBJECT_ATTRIBUTES,
        process: HANDLE,
        client: *mut CLIENT_ID,
        routine: Option<KSTART_ROUTINE>,
        context: *mut c_void,
    ) -> NTSTATUS;
    pub fn PsTerminateSystemThread(status: NTSTATUS) -> NTSTATUS;
    pub fn PsGetCurrentThreadId() -> HANDLE;
    pub fn ObReferenceObjectByHandle(
        handle: HANDLE,
        access: u32,
        kind: *mut c_void,
        mode: i8,
        object: *mut *mut c_void,
        information: *mut c_void,
    ) -> NTSTATUS;
    pub fn ObfReferenceObject(object: *mut c_void) -> isize;
    pub fn ObfDereferenceObject(object: *mut c_void) -> isize;
    pub fn ZwClose(handle: HANDLE) -> NTSTATUS;
    pub fn ZwOpenKey(handle: *mut HANDLE, access: u32, attributes: *const OBJECT_ATTRIBUTES) -> NTSTATUS;
    pub fn ZwQueryValueKey(
        key: HANDLE,
        name: *const UNICODE_STRING,
        class: u32,
        information: *mut c_void,
        length: u32,
        result: *mut u32,
    ) -> NTSTATUS;
    pub fn ZwEnumerateKey(
        key: HANDLE,
        index: u32,
        class: u32,
        information: *mut c_void,
        length: u32,
        result: *mut u32,
    ) -> NTSTATUS;
}

// Strings and debugging output. The variadic functions are declared with as many arguments as their callers here use.
unsafe extern "win64" {
    pub fn RtlInitUnicodeString(target: *mut UNICODE_STRING, source: *const u16);
    pub fn RtlCopyUnicodeString(target: *mut UNICODE_STRING, source: *const UNICODE_STRING);
    pub fn RtlEqualUnicodeString(a: *const UNICODE_STRING, b: *const UNICODE_STRING, fold: u8) -> u8;
}
