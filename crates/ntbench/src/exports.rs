//! The import table: every function that the bench has for drivers, by module and name.

use std::collections::HashMap;
use std::sync::OnceLock;

use nt_abi::Export;

use crate::{bugcheck, dbg, etw, ex, io, ke, mm, ob, ps, registry, rtl, wsk};

/// All tables.
const TABLES: &[&[Export]] = &[
    ke::irql::EXPORTS,
    ke::processor::EXPORTS,
    ke::spinlock::EXPORTS,
    ke::dpc::EXPORTS,
    ke::event::EXPORTS,
    ke::wait::EXPORTS,
    ke::timer::EXPORTS,
    ke::time::EXPORTS,
    ex::pool::EXPORTS,
    ex::rundown::EXPORTS,
    io::irp::EXPORTS,
    io::complete::EXPORTS,
    io::cancel::EXPORTS,
    io::device::EXPORTS,
    io::workitem::EXPORTS,
    mm::EXPORTS,
    ob::EXPORTS,
    ps::EXPORTS,
    registry::EXPORTS,
    registry::write::EXPORTS,
    rtl::EXPORTS,
    dbg::EXPORTS,
    etw::EXPORTS,
    bugcheck::EXPORTS,
    nmr::EXPORTS,
    wsk::register::EXPORTS,
    kmdf_lite::EXPORTS,
];

type Table = HashMap<(&'static str, &'static str), usize>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = TABLES.iter().copied().flatten();
        all.map(|export| ((export.module, export.name), export.address as usize)).collect()
    })
}

/// The address of an import. `hal.dll` is part of the kernel.
pub(crate) fn find(module: &str, name: &str) -> Option<usize> {
    let module = if module == "hal.dll" { "ntoskrnl.exe" } else { module };
    table().get(&(module, name)).copied()
}

/// Every export, as `module!name`.
pub fn all() -> Vec<String> {
    let mut names: Vec<_> = table().keys().map(|(module, name)| format!("{module}!{name}")).collect();
    names.sort_unstable();
    names
}

/// Each function that `nt_abi::kernel` declares is defined here with the type that it is declared with: the two have
/// one common type.
macro_rules! agree {
    ($($module:path: $($name:ident)*;)*) => {
        $(
            const _: () = {
                use nt_abi::kernel;
                use $module as here;
                $( let _ = if true { here::$name } else { kernel::$name }; )*
            };
        )*
    };
}

agree! {
    crate::ex::pool: ExAllocatePool2 ExFreePool ExFreePoolWithTag;
    crate::ke::event: KeInitializeEvent KeSetEvent KeClearEvent KeResetEvent KeReadStateEvent;
    crate::ke::wait: KeWaitForSingleObject KeDelayExecutionThread;
    crate::ke::time: KeQueryPerformanceCounter KeQueryInterruptTimePrecise KeQuerySystemTimePrecise;
    crate::ke::spinlock: KeInitializeSpinLock KeAcquireSpinLockRaiseToDpc KeReleaseSpinLock
        KeAcquireSpinLockAtDpcLevel KeReleaseSpinLockFromDpcLevel;
    crate::ke::irql: KeGetCurrentIrql KfRaiseIrql KeLowerIrql;
    crate::ke::processor: KeGetCurrentProcessorNumberEx KeQueryActiveProcessorCountEx;
    crate::bugcheck: KeBugCheckEx;
    crate::ke::dpc: KeInitializeDpc KeSetTargetProcessorDpcEx KeInsertQueueDpc KeRemoveQueueDpc KeFlushQueuedDpcs;
    crate::ke::timer: KeInitializeTimer KeInitializeTimerEx KeSetTimer KeSetTimerEx KeCancelTimer;
    crate::io::irp: IoAllocateIrp IoFreeIrp IoReuseIrp;
    crate::io::cancel: IoCancelIrp IoAcquireCancelSpinLock IoReleaseCancelSpinLock;
    crate::io::complete: IofCompleteRequest IofCallDriver IoSetCompletionRoutineEx;
    crate::mm: IoAllocateMdl IoFreeMdl IoBuildPartialMdl MmBuildMdlForNonPagedPool MmMapLockedPagesSpecifyCache;
    crate::io::device: IoCreateDevice IoDeleteDevice IoCreateSymbolicLink IoDeleteSymbolicLink
        IoRegisterShutdownNotification IoRegisterLastChanceShutdownNotification IoUnregisterShutdownNotification;
    crate::io::workitem: IoAllocateWorkItem IoQueueWorkItem IoQueueWorkItemEx IoFreeWorkItem;
    crate::ps: IoGetCurrentProcess PsCreateSystemThread PsTerminateSystemThread PsGetCurrentThreadId;
    crate::ob: ObReferenceObjectByHandle ObfReferenceObject ObfDereferenceObject ZwClose;
    crate::registry: ZwOpenKey ZwQueryValueKey ZwEnumerateKey;
    crate::rtl: RtlInitUnicodeString RtlCopyUnicodeString RtlEqualUnicodeString;
}
