//! What `wskclient.sys` and its tools say to one another: IOCTL codes, requests, answers, and the checks of both.
//!
//! A file per subject: [`code`] the requests by number, [`header`] how each begins, [`refusal`] how one is refused, [`parse`](mod@parse) the
//! one way in; then [`version`], [`state`], [`sockets`], [`services`] with their [`settings`], [`resolve`], [`events`] and [`traffic`]; [`text`], [`address`] and
//! [`page`] are what these have in common.
//!
//! Fixed widths, little-endian, no padding, no pointers; METHOD_BUFFERED throughout, on a device that only SYSTEM and
//! administrators can open. Driver and tools ship together, so versions are compared for equality; the one request that is
//! answered whatever the version is that for the [`version`] itself.
//!
//! A tool fills a structure of this crate, sends its bytes under its [`Ask::REQUEST`] and reads the answer by the function
//! `read` of its type. The driver hands code, input and room to [`parse()`], and gets a [`Command`] of which every length,
//! count, number of an enumeration, flag and reserved field has been checked, or a [`Refusal`].
#![no_std]

pub mod address;
pub mod code;
pub mod events;
pub mod header;
pub mod page;
pub mod parse;
pub mod refusal;
pub mod resolve;
pub mod services;
pub mod settings;
pub mod sockets;
pub mod state;
pub mod text;
pub mod traffic;
pub mod version;
mod wire;

pub use address::WireAddress;
pub use code::Request;
pub use header::{Ask, RequestHeader};
pub use page::{Malformed, Page, PageHeader, PageRequest};
pub use parse::{Command, parse};
pub use refusal::Refusal;
pub use state::{Gate, PoolUse, Registration, State, Totals};
pub use text::Text;

/// The name of the device in the object manager.
pub const DEVICE_NAME: &str = r"\Device\WskClient";
/// The link by which programs open it, as `\\.\WskClient`.
pub const LINK_NAME: &str = r"\DosDevices\WskClient";
/// The version of this protocol.
pub const VERSION: u32 = 2;
