//! What is known of a socket, one bit each.

/// Something was indicated that a receive will fetch: data, or the end of the stream.
pub(crate) const READABLE: u32 = 1;
/// The provider says that the socket is gone.
pub(crate) const GONE: u32 = 2;
/// Its close has begun.
pub(crate) const CLOSING: u32 = 4;
/// The owner of the service wants the reader to give its buffer back (idle).
pub(crate) const NUDGE_IDLE: u32 = 8;
/// The owner of the service wants the reader to end gracefully.
pub(crate) const NUDGE_STOP: u32 = 16;
/// A receive is waited for: a nudge has something to interrupt.
pub(crate) const RECEIVING: u32 = 64;
/// A receive or send has completed since the last look.
pub(crate) const ACTIVE: u32 = 32;
/// The receive and disconnect events are on.
pub(crate) const EVENTS: u32 = 128;
/// The ideal send backlog has changed.
pub(crate) const BACKLOG: u32 = 256;
/// Of a listener: connections that an event brings have their events on.
pub(crate) const BEQUEATH: u32 = 512;
/// The peer has ended its direction of the stream, as the disconnect event told.
pub(crate) const ENDED: u32 = 1 << 16;
/// The peer has reset the connection, as the disconnect event told.
pub(crate) const RESET: u32 = 1 << 17;
