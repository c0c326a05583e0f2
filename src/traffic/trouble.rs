//! What goes wrong on connections of a job: counted by kind, and the first kept.
//!
//! # IRQL
//! Any.

use core::sync::atomic::{AtomicU64, Ordering};

use control_abi::traffic::{ERROR_KINDS, ErrorKind, Report};
use wsk::{BindError, ConnectError, IoError, NtStatus, OpenError, OutOfMemory};

/// The peer has ended its direction (STATUS_CONNECTION_DISCONNECTED).
const CONNECTION_DISCONNECTED: NtStatus = NtStatus(0xc000_020c_u32 as i32);
/// This end has given up the connection (STATUS_CONNECTION_ABORTED).
const CONNECTION_ABORTED: NtStatus = NtStatus(0xc000_0241_u32 as i32);
/// Nobody has bound the port of a datagram (STATUS_PORT_UNREACHABLE).
const PORT_UNREACHABLE: NtStatus = NtStatus(0xc000_023f_u32 as i32);

/// Something that went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) kind: ErrorKind,
    status: NtStatus,
}

/// All of a job's.
#[derive(Default)]
pub(super) struct Troubles {
    counts: [AtomicU64; ERROR_KINDS],
    /// Kind and status of the first.
    first: AtomicU64,
}

impl Troubles {
    pub(super) fn count(&self, trouble: Trouble) {
        let place = self.counts.get((trouble.kind.to_wire() as usize).wrapping_sub(1));
        place.into_iter().for_each(|count| _ = count.fetch_add(1, Ordering::Relaxed));
        let first = u64::from(trouble.kind.to_wire()) << 32 | u64::from(trouble.status.0 as u32);
        // Only if it is the first.
        let _ = self.first.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Writes everything into a report.
    pub(super) fn write(&self, report: &mut Report) {
        for (place, count) in report.errors.iter_mut().zip(&self.counts) {
            *place = count.load(Ordering::Relaxed);
        }
        let first = self.first.load(Ordering::Relaxed);
        (report.first_error, report.first_status) = ((first >> 32) as u32, first as u32);
    }
}

impl Trouble {
    pub(super) const NO_MEMORY: Self = Self::of(ErrorKind::NoMemory);
    pub(super) const DETACHED: Self = Self::of(ErrorKind::Detached);
    pub(super) const CLOSED: Self = Self::of(ErrorKind::Closed);
    pub(super) const SILENT: Self = Self::of(ErrorKind::Silent);
    pub(super) const TIMED_OUT: Self = Self::of(ErrorKind::TimedOut);

    /// One without a status.
    const fn of(kind: ErrorKind) -> Self {
        Self { kind, status: NtStatus::SUCCESS }
    }
}

impl From<NtStatus> for Trouble {
    fn from(status: NtStatus) -> Self {
        let kind = match status {
            NtStatus::CONNECTION_REFUSED | PORT_UNREACHABLE => ErrorKind::Refused,
            NtStatus::NETWORK_UNREACHABLE | NtStatus::HOST_UNREACHABLE => ErrorKind::Unreachable,
            NtStatus::IO_TIMEOUT => ErrorKind::TimedOut,
            NtStatus::CONNECTION_RESET | CONNECTION_ABORTED => ErrorKind::Reset,
            CONNECTION_DISCONNECTED => ErrorKind::Closed,
            NtStatus::INSUFFICIENT_RESOURCES => ErrorKind::NoMemory,
            _ => ErrorKind::Other,
        };
        Self { kind, status }
    }
}

impl From<OutOfMemory> for Trouble {
    fn from(_: OutOfMemory) -> Self {
        Self::NO_MEMORY
    }
}

impl From<IoError> for Trouble {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Detached => Self::DETACHED,
            IoError::OutOfMemory => Self::NO_MEMORY,
            IoError::Cancelled => NtStatus::CANCELLED.into(),
            IoError::Provider(status) => status.into(),
        }
    }
}

impl From<OpenError> for Trouble {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Detached => Self::DETACHED,
            OpenError::OutOfMemory | OpenError::TooMany => Self::NO_MEMORY,
            OpenError::Provider(status) => status.into(),
        }
    }
}

impl From<BindError> for Trouble {
    fn from(error: BindError) -> Self {
        match error {
            BindError::Open(error) => error.into(),
            BindError::Option(error) | BindError::Bind(error) | BindError::Listen(error) => error.into(),
        }
    }
}

impl From<ConnectError> for Trouble {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::Detached => Self::DETACHED,
            ConnectError::OutOfMemory | ConnectError::TooMany => Self::NO_MEMORY,
            ConnectError::Refused => NtStatus::CONNECTION_REFUSED.into(),
            ConnectError::Unreachable => NtStatus::HOST_UNREACHABLE.into(),
            ConnectError::TimedOut => NtStatus::IO_TIMEOUT.into(),
            ConnectError::NotSupported => NtStatus::NOT_SUPPORTED.into(),
            ConnectError::Provider(status) => status.into(),
        }
    }
}
