//! One error for functions that do several things.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::fmt;

use super::{BindError, ChainError, ConnectError, ConnectWithError, Detached, InspectError, IoError, OpenError, TransferError};
use crate::resolve::ResolveError;
use crate::sync::{JoinError, OutOfMemory, SpawnError};
use crate::tcp::PipelineError;
use crate::udp::{BatchError, ForwardError};
use crate::wait::TimeoutError;

/// Any error of this library, by the operation that it came from: what `?` makes of them in a function that answers with it.
/// The buffer of a failed transfer is dropped on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// Making a socket, or accepting a connection.
    Open(OpenError),
    /// Making a socket that is bound to an address.
    Bind(BindError),
    /// Connecting.
    Connect(ConnectError),
    /// Resolving a name.
    Resolve(ResolveError),
    /// The verdict about a connection request.
    Inspect(InspectError),
    /// Sending, receiving, and all else that is done with a socket.
    Io(IoError),
    /// Starting a task.
    Spawn(SpawnError),
    /// Waiting for a task.
    Join(JoinError),
    /// Waiting with a time limit.
    Timeout(TimeoutError),
    /// Reading a setting.
    #[cfg(feature = "driver")]
    Setting(crate::entry::ValueError),
    /// Allocating.
    OutOfMemory,
}

macro_rules! from {
    ($($error:ty => $variant:ident),* $(,)?) => {
        $(impl From<$error> for Error {
            fn from(error: $error) -> Self {
                Self::$variant(error.into())
            }
        })*
    };
}

from! {
    OpenError => Open,
    BindError => Bind,
    ConnectError => Connect,
    ConnectWithError => Connect,
    InspectError => Inspect,
    Detached => Io,
    IoError => Io,
    BatchError => Io,
    ChainError => Io,
    ForwardError => Io,
    PipelineError => Io,
    ResolveError => Resolve,
    TransferError => Io,
    SpawnError => Spawn,
    JoinError => Join,
    TimeoutError => Timeout,
}

#[cfg(feature = "driver")]
from! { crate::entry::ValueError => Setting }

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Self {
        Self::OutOfMemory
    }
}

impl From<TransferError> for IoError {
    fn from(failed: TransferError) -> Self {
        failed.error
    }
}

/// Of an error that comes with what was to be used, which is dropped.
impl<T> From<(IoError, T)> for Error {
    fn from((error, _): (IoError, T)) -> Self {
        Self::Io(error)
    }
}

impl From<PipelineError> for IoError {
    fn from(failed: PipelineError) -> Self {
        failed.error
    }
}

impl From<ChainError> for IoError {
    fn from(failed: ChainError) -> Self {
        failed.error
    }
}

impl From<BatchError> for IoError {
    fn from(failed: BatchError) -> Self {
        failed.error
    }
}

impl From<ForwardError> for IoError {
    fn from(failed: ForwardError) -> Self {
        failed.error
    }
}

impl From<ConnectWithError> for ConnectError {
    fn from(failed: ConnectWithError) -> Self {
        failed.error
    }
}

impl fmt::Display for TransferError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for PipelineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for ChainError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for BatchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for ForwardError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl fmt::Display for ConnectWithError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

macro_rules! errors {
    ($($error:ty),* $(,)?) => {
        $(impl core::error::Error for $error {})*
    };
}

errors! {
    BatchError, BindError, ChainError, ConnectError, ConnectWithError, Detached, Error, ForwardError, InspectError, IoError, JoinError, OpenError,
    PipelineError, ResolveError, SpawnError, TimeoutError, TransferError,
}

#[cfg(feature = "driver")]
errors! { crate::entry::ValueError }

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => write!(f, "making a socket: {error}"),
            Self::Bind(error) => error.fmt(f),
            Self::Connect(error) => write!(f, "connecting: {error}"),
            Self::Resolve(error) => write!(f, "resolving a name: {error}"),
            Self::Inspect(error) => write!(f, "a connection request: {error}"),
            Self::Io(error) => write!(f, "a socket: {error}"),
            Self::Spawn(error) => write!(f, "starting a task: {error}"),
            Self::Join(error) => error.fmt(f),
            Self::Timeout(error) => error.fmt(f),
            #[cfg(feature = "driver")]
            Self::Setting(error) => write!(f, "a setting: {error}"),
            Self::OutOfMemory => f.write_str("no memory"),
        }
    }
}
