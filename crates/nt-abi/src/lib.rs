//! The NT kernel's structures and functions as the bench knows them.
//!
//! Written independently of `sdk/` from the public documentation, so that one wrong layout cannot hide in both; the
//! layouts are those of x64. From the bottom up: [`status`], [`base`] (strings, lists, handles), [`ke`] (dispatcher
//! objects, DPCs, timers), [`mm`] (MDLs), [`io`] (IRPs, devices, drivers), then the framework's ([`wdf`]), the
//! registrar's ([`nmr`]) and Winsock Kernel's ([`wsk`]) tables; [`kernel`] declares the kernel's functions.
#![no_std]

pub mod base;
pub mod etw;
pub mod export;
pub mod io;
pub mod ke;
pub mod kernel;
pub mod mm;
pub mod nmr;
pub mod status;
pub mod wdf;
pub mod wsk;

pub use base::*;
pub use etw::*;
pub use export::Export;
pub use io::*;
pub use ke::*;
pub use mm::*;
pub use status::NtStatus;

/// The documented name of [`NtStatus`].
pub type NTSTATUS = NtStatus;
/// Another spelling of [`GUID`].
pub type Guid = GUID;

/// Asserts a structure's size and the offsets of its fields at compile time.
#[macro_export]
macro_rules! layout {
    ($type:ty, $size:expr $(, $field:ident @ $offset:expr)* $(,)?) => {
        const _: () = {
            assert!(core::mem::size_of::<$type>() == $size);
            $( assert!(core::mem::offset_of!($type, $field) == $offset); )*
        };
    };
}
