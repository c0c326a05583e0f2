//! What can go wrong, one small type per kind of operation.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

mod any;

use core::fmt;

pub use any::Error;

use crate::raw::{Buffer, Chain, NtStatus};

/// The binding is being taken away, or this socket closed: there is nothing more to be had from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detached;

/// Why a socket could not be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// See [`Detached`].
    Detached,
    /// No memory for it.
    OutOfMemory,
    /// The binding has as many sockets as it can have.
    TooMany,
    /// The provider's answer.
    Provider(NtStatus),
}

/// Why an operation on a socket did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoError {
    /// See [`Detached`].
    Detached,
    /// No memory for it.
    OutOfMemory,
    /// The operation was cancelled by the driver's own wish.
    Cancelled,
    /// The provider's answer.
    Provider(NtStatus),
}

/// Why no listener came about: making the socket, or binding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindError {
    /// The socket could not be made.
    Open(OpenError),
    /// An option was refused.
    Option(IoError),
    /// The address was refused.
    Bind(IoError),
    /// Listening itself was refused.
    Listen(IoError),
}

/// Why a verdict on a connection request had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InspectError {
    /// The request has been dropped meanwhile, by the peer or by the transport.
    Aborted,
    /// See [`Detached`].
    Detached,
    /// No memory for it.
    OutOfMemory,
    /// The provider's answer.
    Provider(NtStatus),
}

/// Why no connection came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// See [`Detached`].
    Detached,
    /// No memory for it.
    OutOfMemory,
    /// The binding has as many sockets as it can have.
    TooMany,
    /// Nobody listens there.
    Refused,
    /// There is no way there.
    Unreachable,
    /// There was no answer in time.
    TimedOut,
    /// The provider does not have what was asked for.
    NotSupported,
    /// The provider's answer.
    Provider(NtStatus),
}

/// A connecting with data that did not succeed, with its buffer unless the provider kept it (L35).
#[derive(Debug)]
pub struct ConnectWithError {
    /// Why.
    pub error: ConnectError,
    /// The buffer, for another use.
    pub buffer: Option<Buffer>,
}

/// Why no connection was accepted.
pub type AcceptError = OpenError;

/// A transfer that did not succeed, with its buffer unless the provider kept it (L35).
#[derive(Debug)]
pub struct TransferError {
    /// Why.
    pub error: IoError,
    /// The buffer, for another use.
    pub buffer: Option<Buffer>,
}

/// A chain that was not sent, or not all of it. It comes back unless the provider kept it (L35).
#[derive(Debug)]
pub struct ChainError {
    /// Why.
    pub error: IoError,
    /// The chain, for another use.
    pub chain: Option<Chain>,
}

impl From<Detached> for OpenError {
    fn from(_: Detached) -> Self {
        Self::Detached
    }
}

impl From<Detached> for IoError {
    fn from(_: Detached) -> Self {
        Self::Detached
    }
}

impl From<crate::sync::OutOfMemory> for OpenError {
    fn from(_: crate::sync::OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<crate::sync::OutOfMemory> for IoError {
    fn from(_: crate::sync::OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<NtStatus> for OpenError {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::INSUFFICIENT_RESOURCES => Self::OutOfMemory,
            NtStatus::FILE_FORCED_CLOSED => Self::Detached,
            other => Self::Provider(other),
        }
    }
}

impl From<OpenError> for ConnectError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Detached => Self::Detached,
            OpenError::OutOfMemory => Self::OutOfMemory,
            OpenError::TooMany => Self::TooMany,
            OpenError::Provider(status) => status.into(),
        }
    }
}

impl From<IoError> for ConnectError {
    fn from(error: IoError) -> Self {
        match error {
            IoError::Detached => Self::Detached,
            IoError::OutOfMemory => Self::OutOfMemory,
            IoError::Cancelled => Self::Provider(NtStatus::CANCELLED),
            IoError::Provider(status) => status.into(),
        }
    }
}

impl From<NtStatus> for ConnectError {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::INSUFFICIENT_RESOURCES => Self::OutOfMemory,
            NtStatus::FILE_FORCED_CLOSED => Self::Detached,
            NtStatus::CONNECTION_REFUSED => Self::Refused,
            NtStatus::NETWORK_UNREACHABLE | NtStatus::HOST_UNREACHABLE => Self::Unreachable,
            NtStatus::IO_TIMEOUT => Self::TimedOut,
            NtStatus::NOT_SUPPORTED | NtStatus::NOT_IMPLEMENTED => Self::NotSupported,
            other => Self::Provider(other),
        }
    }
}

impl From<NtStatus> for InspectError {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::INSUFFICIENT_RESOURCES => Self::OutOfMemory,
            NtStatus::FILE_FORCED_CLOSED => Self::Detached,
            other => Self::Provider(other),
        }
    }
}

impl From<NtStatus> for IoError {
    fn from(status: NtStatus) -> Self {
        match status {
            NtStatus::INSUFFICIENT_RESOURCES => Self::OutOfMemory,
            NtStatus::FILE_FORCED_CLOSED => Self::Detached,
            NtStatus::CANCELLED => Self::Cancelled,
            other => Self::Provider(other),
        }
    }
}

impl fmt::Display for Detached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the binding is being taken away")
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => Detached.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for a socket"),
            Self::TooMany => f.write_str("too many sockets"),
            Self::Provider(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Display for IoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => Detached.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for the operation"),
            Self::Cancelled => f.write_str("cancelled"),
            Self::Provider(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Detached => Detached.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for a connection"),
            Self::TooMany => f.write_str("too many sockets"),
            Self::Refused => f.write_str("refused"),
            Self::Unreachable => f.write_str("unreachable"),
            Self::TimedOut => f.write_str("no answer in time"),
            Self::NotSupported => f.write_str("not supported"),
            Self::Provider(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Aborted => f.write_str("the request has been dropped"),
            Self::Detached => Detached.fmt(f),
            Self::OutOfMemory => f.write_str("no memory for the verdict"),
            Self::Provider(status) => write!(f, "status {status}"),
        }
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "making the socket: {error}"),
            Self::Option(error) => write!(f, "setting an option: {error}"),
            Self::Bind(error) => write!(f, "binding: {error}"),
            Self::Listen(error) => write!(f, "listening: {error}"),
        }
    }
}
