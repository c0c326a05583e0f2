//! Safe, async Winsock Kernel sockets for Rust drivers, with the lifecycle built in.
//!
#![doc = include_str!("../README.md")]
//!
//! # Layers
//!
//! From the bottom up: [`sync`] (pool memory, locks, executor), `raw` (IRPs, the NMR, the provider's tables), and the
//! safe API: [`Client`], [`Binding`], [`TcpListener`], [`TcpStream`], [`UdpSocket`], [`resolve()`], and over them [`entry`], which
//! makes a driver out of one function. `unsafe` is in the first two alone.
//!
//! The rules L01-L38 that comments cite are those of `docs/lifecycle.md`.
#![no_std]
#![warn(clippy::missing_errors_doc)]

mod client;
#[cfg(feature = "driver")]
pub mod entry;
mod error;
mod local_addresses;
mod raw;
mod resolve;
mod security;
mod signal;
mod sockets;
pub mod sync;
mod tcp;
mod transports;
mod udp;
mod wait;

pub use allocator_api2;
pub use client::{Binding, Client, Handler, StaticEvents, Trace, Work};
pub use error::{
    AcceptError, BindError, ChainError, ConnectError, ConnectWithError, Detached, Error, InspectError, IoError, OpenError,
    TransferError,
};
pub use local_addresses::LocalAddresses;
pub use raw::inspections::InspectionId;
pub use raw::wide::Text;
pub use raw::{Batch, Buffer, Chain, Datagram, Datagrams, Device, Indication, NtStatus};
pub use resolve::{AddressList, Hints, Name, NameHints, Protocol, ResolveError, resolve, resolve_name};
pub use security::SecurityDescriptor;
pub use signal::{Signal, Wait};
pub use sockets::{CloseReason, SocketId, SocketInfo, SocketKind, SocketStage};
pub use sync::{
    Executor, Instant, JoinError, JoinHandle, Lane, OutOfMemory, Passive, Runtime, Sleep, SpawnError, current_processor,
    system_time,
};
pub use tcp::{
    Addresses, Bound, Disabling, Event, Family, Indications, Inspection, Inspector, KeepAlive, ListenOptions, Nudge, Pipeline,
    PipelineError, ReadHalf, TcpListener, TcpSocket, TcpStream, Turn, Turned, Turns, Went, WriteHalf,
};
pub use transports::{Transport, Transports, TransportsChanged};
pub use udp::{BatchError, BindOptions, Cast, DatagramIndications, ForwardError, Received, Sent, UdpSocket};
pub use wait::{Either, TimeoutError, first, now, timeout, yield_now};
pub use wsk_cmsg::{Control, Ecn, Message, Messages, PacketInfo};
pub use wsk_lifecycle::job;
pub use wsk_lifecycle::registration::State;
pub use wsk_lifecycle::rundown;
