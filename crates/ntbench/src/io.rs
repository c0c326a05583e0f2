//! The I/O manager: IRPs, their cancellation, devices and files, work items.

pub mod cancel;
pub mod complete;
pub mod device;
pub mod file;
pub mod irp;
pub mod workitem;
