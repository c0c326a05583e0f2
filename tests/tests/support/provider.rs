//! The provider's own end of a connection or port: the host's socket behind it, for what options have made of it.
#![allow(unsafe_code)] // a file is looked for by its number

use std::net::SocketAddr;
use std::os::fd::BorrowedFd;

/// The host's socket that has this address.
#[track_caller]
pub fn socket_at(at: SocketAddr) -> BorrowedFd<'static> {
    let all = std::fs::read_dir("/proc/self/fd").expect("the files of this process");
    let numbers = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    // SAFETY: those that are no longer open are refused by the host.
    let mut files = numbers.map(|number| unsafe { BorrowedFd::borrow_raw(number) });
    let has_it = |file: &BorrowedFd<'_>| {
        rustix::net::getsockname(file).is_ok_and(|found| SocketAddr::try_from(found).is_ok_and(|found| found == at))
    };
    files.find(has_it).expect("the provider's socket")
}
