//! What is imported from Wine, beside what `nt-abi` declares.

#![allow(unsafe_code)] // Foreign declarations.
#![allow(non_snake_case)] // Their names are what Wine exports.

use core::ffi::c_void;

use nt_abi::wsk::{WSK_CLIENT_NPI, WSK_PROVIDER_NPI, WSK_REGISTRATION};
use nt_abi::{HANDLE, NtStatus};

#[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "win64" {
    /// With "%s" and a text, as it is used here.
    pub fn DbgPrint(format: *const u8, text: *const u8) -> u32;
    pub fn ExAllocatePoolWithTag(kind: u32, bytes: usize, tag: u32) -> *mut c_void;
}

/// What the crates below call: named here, so that there is something to link it to.
#[allow(dead_code)]
mod below {
    #[link(name = "ntoskrnl.exe", kind = "raw-dylib", modifiers = "+verbatim")]
    unsafe extern "win64" {
        fn IoReleaseCancelSpinLock(irql: u8);
        fn IoRegisterShutdownNotification(device: *mut u8) -> i32;
        fn IoUnregisterShutdownNotification(device: *mut u8);
        fn IoCreateSymbolicLink(link: *const u8, device: *const u8) -> i32;
        fn IoDeleteSymbolicLink(link: *const u8) -> i32;
    }
}

#[link(name = "ntdll.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "win64" {
    pub fn NtEnumerateKey(
        key: HANDLE,
        index: u32,
        class: u32,
        information: *mut c_void,
        length: u32,
        result: *mut u32,
    ) -> NtStatus;
    pub fn NtProtectVirtualMemory(
        process: HANDLE,
        base: *mut *mut c_void,
        size: *mut usize,
        protection: u32,
        before: *mut u32,
    ) -> NtStatus;
    pub fn NtYieldExecution() -> NtStatus;
    pub fn NtGetCurrentProcessorNumber() -> u32;
    pub fn NtQuerySystemTime(time: *mut i64) -> NtStatus;
    pub fn NtQueryPerformanceCounter(counter: *mut i64, frequency: *mut i64) -> NtStatus;
}

#[link(name = "kernel32.dll", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "win64" {
    pub fn TlsAlloc() -> u32;
    pub fn TlsFree(slot: u32) -> i32;
    pub fn GetModuleHandleA(name: *const u8) -> *mut c_void;
    pub fn GetModuleHandleExA(flags: u32, name: *const u8, module: *mut *mut c_void) -> i32;
    pub fn GetProcAddress(module: *mut c_void, name: *const u8) -> *const c_void;
    pub fn TlsGetValue(slot: u32) -> usize;
    pub fn TlsSetValue(slot: u32, value: usize) -> i32;
    pub fn ExitProcess(code: u32) -> !;
}

#[link(name = "netio.sys", kind = "raw-dylib", modifiers = "+verbatim")]
unsafe extern "win64" {
    pub fn WskRegister(npi: *const WSK_CLIENT_NPI, registration: *mut WSK_REGISTRATION) -> NtStatus;
    pub fn WskDeregister(registration: *mut WSK_REGISTRATION);
    pub fn WskCaptureProviderNPI(registration: *mut WSK_REGISTRATION, wait: u32, npi: *mut WSK_PROVIDER_NPI) -> NtStatus;
    pub fn WskReleaseProviderNPI(registration: *mut WSK_REGISTRATION);
}
