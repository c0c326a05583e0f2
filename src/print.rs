//! Lines to a kernel debugger, under the component for network drivers of others than Microsoft, and a level.
//!
//! What a debugger shows is chosen there, by the component's filter mask (`nt!Kd_IHVNETWORK_Mask`); by default that is
//! errors alone.
//! [Reading and filtering debugging messages](https://learn.microsoft.com/windows-hardware/drivers/debugger/reading-and-filtering-debugging-messages)
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.
#![allow(unsafe_code)] // a variadic function of the kernel's

use core::fmt;

use wdk::fmt::FlushableFormatBuffer;
use wdk_sys::ntddk::DbgPrintEx;
use wdk_sys::{_DPFLTR_TYPE, DPFLTR_ERROR_LEVEL, DPFLTR_INFO_LEVEL, DPFLTR_WARNING_LEVEL};

/// What one call of DbgPrintEx passes on at most.
const MOST: usize = 512;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Level {
    /// Something is lost that should not be: shown to every debugger.
    Error = DPFLTR_ERROR_LEVEL,
    /// Something does not work, or works less well, for now.
    Warning = DPFLTR_WARNING_LEVEL,
    /// What goes on.
    Info = DPFLTR_INFO_LEVEL,
}

/// Prints `wskclient: ` and the arguments as one line.
/// [`DbgPrintEx`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wdm/nf-wdm-dbgprintex)
pub(crate) fn line(level: Level, arguments: fmt::Arguments<'_>) {
    let mut writer = FlushableFormatBuffer::<_, MOST>::new(|part| {
        let text = part.as_c_str().as_ptr();
        // SAFETY: a format for one string, and a string that ends with a zero and lives during the call.
        unsafe { DbgPrintEx(_DPFLTR_TYPE::DPFLTR_IHVNETWORK_ID as _, level as _, c"%s".as_ptr().cast(), text) };
    });
    // It fails only if the formatting of an argument does: then the line ends there.
    let _ = fmt::write(&mut writer, format_args!("wskclient: {arguments}\n"));
}
