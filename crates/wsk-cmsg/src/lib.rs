//! What goes with a datagram beside its bytes: control messages, as Windows lays them out on 64-bit systems.
//!
//! A list of them is a sequence of [CMSGHDR](https://learn.microsoft.com/windows/win32/api/ws2def/ns-ws2def-wsacmsghdr)
//! structures (length 8, level 4, type 4 bytes), each followed by its data, each beginning at a multiple of 8 bytes. The
//! length counts the header and the data, without padding.
//!
//! [`Messages`] walks over such a list and trusts nothing in it; [`Control`] is what can be said in one, by meaning.
//!
//! # IRQL
//! Any: this is arithmetic on bytes.
#![no_std]
#![warn(clippy::missing_errors_doc)]
#![forbid(unsafe_code)]

mod control;
mod messages;

pub use control::{Control, Ecn, Family, PacketInfo};
pub use messages::{HEADER, Message, Messages, Writer};
