//! What the verifier finds in the use of IRPs: each misuse, in a process of its own, with its rule and history.
#![allow(unsafe_code)] // Kernel functions are called.

mod support;

use std::ffi::c_void;
use std::ptr::null_mut;

use nt_abi::kernel::*;
use nt_abi::*;
use ntbench::io::irp::{accept, complete, set_cancel_routine};
use ntbench::{Bench, Config, OnViolation};

unsafe extern "win64" fn keep(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, _context: *mut c_void) -> NtStatus {
    NtStatus::MORE_PROCESSING_REQUIRED
}

unsafe extern "win64" fn let_go(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, _context: *mut c_void) -> NtStatus {
    NtStatus::SUCCESS
}

unsafe extern "win64" fn waits(_device: *mut DEVICE_OBJECT, _irp: *mut IRP, _context: *mut c_void) -> NtStatus {
    let interval = -10_000;
    // SAFETY: the interval is valid; waiting here is what is to be found.
    let _ = unsafe { KeDelayExecutionThread(KERNEL_MODE, 0, &raw const interval) };
    NtStatus::MORE_PROCESSING_REQUIRED
}

unsafe extern "win64" fn cancelled(_device: *mut DEVICE_OBJECT, _irp: *mut IRP) {}

/// An IRP with a completion routine in its next stack location.
fn irp(routine: IO_COMPLETION_ROUTINE, control: u8) -> *mut IRP {
    // SAFETY: the IRP is new and has one stack location.
    unsafe {
        let irp = IoAllocateIrp(1, 0);
        let next = (*irp).CurrentStackLocation.sub(1);
        (*next).CompletionRoutine = Some(routine);
        (*next).Control = control;
        irp
    }
}

const ALL: u8 = SL_INVOKE_ON_CANCEL | SL_INVOKE_ON_ERROR | SL_INVOKE_ON_SUCCESS;

fn device() -> *mut DEVICE_OBJECT {
    // SAFETY: an all-zero driver object is one without devices; it is leaked, for its device refers to it.
    let driver = Box::leak(Box::new(unsafe { std::mem::zeroed::<DRIVER_OBJECT>() }));
    let mut device = null_mut();
    // SAFETY: the pointers are valid.
    assert!(unsafe { IoCreateDevice(driver, 0, std::ptr::null(), 0x22, 0, 0, &raw mut device) }.is_success());
    device
}

macro_rules! finds {
    ($($name:ident: $wanted:literal, $history:literal, $body:block)*) => {
        $(
            #[test]
            fn $name() {
                let body = || {
                    let bench = Bench::new(Config { on_violation: OnViolation::Record, provider: false, ..Config::default() });
                    let bench = bench.expect("a bench");
                    // SAFETY: each misuse is one that the bench survives.
                    unsafe { $body };
                    println!("{}", bench.verdict());
                };
                if let Some(output) = support::isolated(stringify!($name), body) {
                    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
                    assert!(text.contains(concat!("1 violation\nviolation of ", $wanted)), "{text}");
                    assert!(text.contains(concat!("before: ", $history)), "{text}");
                }
            }
        )*
    };
}

finds! {
    sending_again_without_reuse: "irp-state: ", "allocated, sent, completed", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        complete(irp, NtStatus::SUCCESS, 0);
        assert!(!accept(irp));
    }
    sending_what_is_pending: "irp-state: ", "allocated, sent", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        assert!(!accept(irp));
    }
    sending_what_was_freed: "irp-state: ", "allocated, freed", {
        let irp = irp(keep, ALL);
        IoFreeIrp(irp);
        assert!(!accept(irp));
    }
    sending_without_every_flag: "irp-completion-routine: ", "allocated, sent", {
        assert!(accept(irp(keep, SL_INVOKE_ON_SUCCESS | SL_INVOKE_ON_ERROR)));
    }
    reusing_what_is_pending: "irp-state: ", "allocated, sent", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        IoReuseIrp(irp, NtStatus::SUCCESS);
    }
    freeing_what_is_pending: "irp-free-pending: ", "allocated, sent", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        IoFreeIrp(irp);
    }
    completing_twice: "irp-double-completion: ", "allocated, sent, completed", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        complete(irp, NtStatus::SUCCESS, 0);
        complete(irp, NtStatus::SUCCESS, 0);
    }
    completing_what_was_freed: "irp-use-after-free: ", "allocated, sent, completed, freed", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        complete(irp, NtStatus::SUCCESS, 0);
        IoFreeIrp(irp);
        complete(irp, NtStatus::SUCCESS, 0);
    }
    completing_as_pending: "irp-status-pending: ", "allocated, sent", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        complete(irp, NtStatus::PENDING, 0);
    }
    completing_with_a_cancel_routine: "irp-cancel-routine: ", "allocated, sent", {
        let irp = irp(keep, ALL);
        assert!(accept(irp));
        set_cancel_routine(irp, Some(cancelled));
        complete(irp, NtStatus::SUCCESS, 0);
    }
    not_keeping_an_irp_of_ones_own: "irp-not-kept: ", "allocated, sent, completed", {
        let irp = irp(let_go, ALL);
        assert!(accept(irp));
        complete(irp, NtStatus::SUCCESS, 0);
    }
    l37_cancelling_what_was_freed: "L37: ", "allocated, freed", {
        let irp = irp(keep, ALL);
        IoFreeIrp(irp);
        IoCancelIrp(irp);
    }
    l31_freeing_an_armed_irp: "L31: ", "allocated, armed", {
        let irp = irp(keep, ALL);
        let _ = IoSetCompletionRoutineEx(device(), irp, Some(keep), null_mut(), 1, 1, 1);
        IoFreeIrp(irp);
    }
    l31_reusing_an_armed_irp: "L31: ", "allocated, armed", {
        let irp = irp(keep, ALL);
        let _ = IoSetCompletionRoutineEx(device(), irp, Some(keep), null_mut(), 1, 1, 1);
        IoReuseIrp(irp, NtStatus::SUCCESS);
    }
}

#[test]
fn l30_waiting_in_a_completion_routine_is_found() {
    let body = || {
        let bench =
            Bench::new(Config { on_violation: OnViolation::Record, provider: false, ..Config::default() }).expect("a bench");
        // SAFETY: the IRP is sent and completed as it should be.
        unsafe {
            let irp = irp(waits, ALL);
            assert!(accept(irp));
            complete(irp, NtStatus::SUCCESS, 0);
        }
        println!("{}", bench.verdict());
    };
    if let Some(output) = support::isolated("l30_waiting_in_a_completion_routine_is_found", body) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("1 violation\nviolation of wait: KeDelayExecutionThread inside a callback (Completion)"), "{text}");
    }
}
