//! `KeBugCheckEx`: what stops Windows ends the driver's process here, with its numbers on a line.

#![allow(unsafe_code)] // Ends the process.
#![allow(non_snake_case)] // Its name is what drivers import.

use crate::print::say;
use crate::wine::ExitProcess;

nt_abi::export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [KeBugCheckEx]);

/// # IRQL
/// Any
unsafe extern "win64" fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
    say!("violation: bugcheck {code:#x} ({p1:#x}, {p2:#x}, {p3:#x}, {p4:#x})");
    // SAFETY: nothing is left to be done.
    unsafe { ExitProcess(code) }
}
