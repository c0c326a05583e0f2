//! The I/O controls of sockets: backlogs, inspect identifiers, lists of addresses, silent mode.
//!
//! Silent mode: NT sends nothing more on such a connection, not even a reset, and does not offer it over loopback. The
//! host cannot be kept from a reset when the connection is closed, and here loopback is all there is, so both differ.

#![allow(unsafe_code)] // Lists of addresses come and go by pointer.
#![allow(non_upper_case_globals)] // The documented names, in patterns.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::Ordering;

use nt_abi::NtStatus;
use nt_abi::wsk::*;

use super::address::{self, Sockaddr};
use super::control::Control;
use super::faults::Function;
use super::request::{Outcome, Request};
use super::socket::{Kind, Socket};
use super::state::{Inner, Phase};
use super::transport::Family;

/// SOCKET_ADDRESS.
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    address: *mut SOCKADDR,
    length: i32,
}

/// Where the entries of a SOCKET_ADDRESS_LIST begin.
const HEAD: usize = 8;

impl Socket {
    /// WskControlSocket with an I/O control that is answered at once.
    pub(super) fn io_control(&self, control: &Control) -> Result<usize, NtStatus> {
        match control.code {
            SIO_WSK_QUERY_IDEAL_SEND_BACKLOG => {
                drop(self.connected()?);
                control.write(self.shared.ideal_backlog.load(Ordering::Acquire))
            }
            SIO_WSK_QUERY_RECEIVE_BACKLOG => {
                let inner = self.connected()?;
                let held = inner.held.as_ref().map_or(0, |held| held.rest().len());
                let waiting = inner.link.endpoint.as_ref().map_or(0, |endpoint| endpoint.waiting());
                control.write(held + waiting)
            }
            SIO_WSK_QUERY_INSPECT_ID => control.write(self.lock().inspected.ok_or(NtStatus::INVALID_DEVICE_REQUEST)?),
            SIO_WSK_SET_TCP_SILENT_MODE => self.silence().map(|()| 0),
            SIO_ADDRESS_LIST_QUERY => self.list_addresses(control),
            SIO_ADDRESS_LIST_SORT => self.sort_addresses(control),
            _ => Err(control.lacking(Function::ControlSocket, self.address())),
        }
    }

    /// The lock of a connection that is connected.
    fn connected(&self) -> Result<std::sync::MutexGuard<'_, Inner>, NtStatus> {
        if self.role() != Kind::Connection {
            return Err(NtStatus::INVALID_DEVICE_REQUEST);
        }
        let inner = self.lock();
        match inner.unconnected() {
            Some(status) => Err(status),
            None => Ok(inner),
        }
    }

    /// SIO_ADDRESS_LIST_CHANGE: waits until the addresses change.
    pub(super) fn await_addresses(&self, request: Request) -> Outcome {
        let mut inner = self.lock();
        if inner.phase == Phase::Over {
            return Outcome::Done(request, NtStatus::FILE_FORCED_CLOSED, 0);
        }
        inner.address_changes.push(request);
        let waits = inner.address_changes.last().is_some_and(Request::await_cancel);
        match inner.address_changes.pop_if(|_| !waits) {
            None => Outcome::Pending,
            Some(request) => {
                request.unpend();
                Outcome::Done(request, NtStatus::CANCELLED, 0)
            }
        }
    }

    /// The addresses have changed.
    pub(super) fn addresses_changed(&self) {
        let mut inner = self.lock();
        let (mine, others): (Vec<_>, Vec<_>) = inner.address_changes.drain(..).partition(Request::claim);
        inner.address_changes = others;
        drop(inner);
        mine.into_iter().for_each(|request| request.complete(NtStatus::SUCCESS, 0));
    }

    /// SIO_WSK_SET_TCP_SILENT_MODE.
    fn silence(&self) -> Result<(), NtStatus> {
        let mut inner = self.connected()?;
        if !inner.sends.is_empty() || inner.disconnect.is_some() {
            drop(inner);
            self.complain("WSK-ARG", Function::ControlSocket, "silent mode is asked for while a send or a disconnect is pending");
            return Err(NtStatus::INVALID_DEVICE_STATE);
        }
        inner.silent = true;
        Ok(())
    }

    fn list_addresses(&self, control: &Control) -> Result<usize, NtStatus> {
        let all = self.shared.transport.addresses(self.family).map_err(|error| address::status(&error))?;
        control.write_addresses(&all, self.family)
    }

    /// SIO_ADDRESS_LIST_SORT.
    fn sort_addresses(&self, control: &Control) -> Result<usize, NtStatus> {
        let mut all = control.read_addresses()?;
        all.sort_by_key(|one| std::cmp::Reverse(precedence(one.ip())));
        control.write_addresses(&all, self.family)
    }
}

/// The default policy table of RFC 6724.
fn precedence(address: IpAddr) -> u32 {
    let v6 = match address {
        IpAddr::V4(_) => return 35,
        IpAddr::V6(v6) => v6,
    };
    let [first, second, ..] = v6.segments();
    match (first, second) {
        _ if v6 == Ipv6Addr::LOCALHOST => 50,
        _ if v6.to_ipv4_mapped().is_some() => 35,
        (0x2002, _) => 30,
        (0x2001, 0) => 5,
        (0xfc00..=0xfdff, _) => 3,
        (0x3ffe, _) | (0xfec0..=0xfeff, _) | (0, 0) => 1,
        _ => 40,
    }
}

impl Control {
    /// Writes a SOCKET_ADDRESS_LIST; its addresses follow it.
    fn write_addresses(&self, all: &[SocketAddr], family: Family) -> Result<usize, NtStatus> {
        let each = if family == Family::V4 { size_of::<SOCKADDR_IN>() } else { size_of::<SOCKADDR_IN6>() };
        let room = each.next_multiple_of(8);
        let entries = HEAD + all.len() * size_of::<Entry>();
        let size = entries + all.len() * room;
        if self.output.0.is_null() || self.output.1 < size {
            self.tell(size);
            return Err(NtStatus::BUFFER_OVERFLOW);
        }
        let base = self.output.0.cast::<u8>();
        // SAFETY: the buffer is as large as the caller says, which is enough.
        unsafe { base.cast::<i32>().write_unaligned(all.len() as i32) };
        for (index, one) in all.iter().enumerate() {
            let to = base.wrapping_add(entries + index * room).cast();
            // SAFETY: as above.
            unsafe { address::write(to, *one, family) };
            let entry = Entry { address: to, length: each as i32 };
            // SAFETY: as above.
            unsafe { base.wrapping_add(HEAD).cast::<Entry>().add(index).write_unaligned(entry) };
        }
        self.tell(size);
        Ok(size)
    }

    /// Reads a SOCKET_ADDRESS_LIST of IPv6 addresses.
    fn read_addresses(&self) -> Result<Vec<SocketAddr>, NtStatus> {
        // SAFETY: the buffer is as large as the caller says; any four bytes are a number.
        let count = unsafe { self.read::<i32>()? };
        let count = usize::try_from(count).map_err(|_| NtStatus::INVALID_PARAMETER)?;
        let needed = count.checked_mul(size_of::<Entry>()).and_then(|size| size.checked_add(HEAD));
        if needed.is_none_or(|needed| self.input.1 < needed) {
            return Err(NtStatus::INVALID_PARAMETER);
        }
        let entries = self.input.0.cast::<u8>().wrapping_add(HEAD).cast::<Entry>();
        // SAFETY: so many entries are there.
        let entries = (0..count).map(|index| unsafe { entries.add(index).read_unaligned() });
        // SAFETY: the caller's addresses are as long as it says.
        entries.map(|entry| unsafe { address::read_sized(entry.address, entry.length.cast_unsigned()) }).collect()
    }
}

const _: () = assert!(size_of::<Entry>() == 16 && size_of::<Sockaddr>() <= 32);
