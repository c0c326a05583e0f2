//! wskclient.sys: network services in the kernel, on Winsock Kernel.
//!
//! From the outside in: `entry` is start-up and its mirror, unload; `control` the device that tools talk to;
//! `driver` what exists once per load; `services` what is served; `traffic` the driver as client; `limits` what that may hold; `parameters` the
//! settings, `registry` where they are written; `lacking` what is done without what a provider lacks; `trace` tells what
//! happens, to tools by events and to a kernel debugger by `print`; `ids` numbers what events name; `wdf` the calls into the
//! framework. Sockets and the lifecycle are the `wsk` crate's, and `sockets` puts them into the words of tools.
//!
//! The rules L01-L38 that comments cite are those of `docs/lifecycle.md`.
#![no_std]

// The panic handler: a bugcheck `RPNC` with file and line.
extern crate wdk_panic;

mod control;
mod driver;
mod entry;
mod ids;
mod lacking;
mod limits;
mod parameters;
mod print;
mod registry;
mod services;
mod sockets;
mod trace;
mod traffic;
mod wdf;

/// For what the `alloc` crate might ask for behind our back. The driver itself allocates fallibly under its own tags, so
/// nothing with the tag `rust` is ever seen (the bench checks that).
#[global_allocator]
static ALLOCATOR: wdk_alloc::WdkAllocator = wdk_alloc::WdkAllocator;

/// A line to the kernel debugger: `log!("…")`, or `log!(Warning, "…")` at a level other than [`Level::Info`](print::Level).
macro_rules! log {
    ($level:ident, $($argument:tt)*) => {
        crate::print::line(crate::print::Level::$level, format_args!($($argument)*))
    };
    ($($argument:tt)*) => {
        crate::log!(Info, $($argument)*)
    };
}
pub(crate) use log;
