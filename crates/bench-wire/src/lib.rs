//! How tools on Linux reach a driver that runs on the bench: what `\\.\WskClient` and DeviceIoControl are on Windows.
//!
//! A bench listens at a Unix socket of its own, in a folder that only its user can enter ([`place`]). A connection stands for a
//! handle ([`frame`]): it is opened by name, carries one request at a time, and is closed by hanging up, so that a tool that
//! dies has closed it. The bench's end is in `tests/`, the tool's in `wskctl`.
#![cfg(unix)]

pub mod frame;
pub mod place;
