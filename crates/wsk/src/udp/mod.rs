//! UDP: sockets that send and receive datagrams.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use wsk_cmsg::{Control, Family};
use wsk_sys::{MSG_BCAST, MSG_MCAST};

use crate::error::{BindError, IoError, OpenError, TransferError};
use crate::raw::address::RawAddress;
use crate::raw::calls::datagram::{self, ReceiveFrom};
use crate::raw::calls::messages::SendMessages;
use crate::raw::calls::send_to::{self, SendTo};
use crate::raw::calls::{Call, addressed};
use crate::raw::op::{Back, Ready, Stash};
use crate::raw::socket::{Kind, Socket, SocketHandle};
use crate::raw::{Buffer, NtStatus};
use crate::security::{SecurityDescriptor, secure};
use crate::sync::Shared;
use crate::sync::shared::tagged;
use crate::tcp::{self, Addresses, finish, local_address_of};
use crate::{Binding, Detached, yield_now};
use load::Load;

mod batch;
mod indications;
mod load;
mod options;

pub use batch::{BatchError, Sent};
pub use indications::{DatagramIndications, ForwardError};
pub use options::BindOptions;

/// How many operations may complete at once, one after the other, before a task lets others run.
const STREAK: u8 = 32;

/// Operations of each kind that are kept between two uses: as many in flight allocate nothing.
const KEPT: usize = 8;

/// A datagram socket, bound to an address. Clones are the same socket; the last one closes it.
///
/// All operations take `&self`, and any number of them may be in flight. Up to eight of a kind at a time allocate nothing once
/// they have been used. Each future may be dropped at any point; its buffer goes when the provider has given the IRP back.
#[derive(Clone)]
pub struct UdpSocket(Shared<Inner>);

struct Inner {
    socket: SocketHandle,
    family: Family,
    /// Whether it is for both families.
    both: bool,
    /// Whether the fixed destination, if there is one, is reached by IPv4.
    fixed_v4: AtomicBool,
    /// Whether an option asks for control data with what is received.
    with_control: AtomicBool,
    /// The provider has no WskSendMessages.
    single_only: AtomicBool,
    /// Datagrams were, or are, taken by the event.
    indicated: AtomicBool,
    /// Operations since somebody last let others run. A count that is off by some does no harm.
    streak: AtomicU8,
    receives: Stash<ReceiveFrom, KEPT>,
    sends: Stash<SendTo, KEPT>,
    batches: Stash<SendMessages, KEPT>,
}

tagged!(Inner, b"WskU");

/// How a datagram was addressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cast {
    /// To this host.
    Unicast,
    /// To all hosts of a link, by a link-layer broadcast or by its address.
    Broadcast,
    /// To a group.
    Multicast,
}

impl Cast {
    /// As the flags of a receive, or of an event, say.
    pub(crate) const fn of_flags(flags: u32) -> Self {
        match (flags & MSG_BCAST != 0, flags & MSG_MCAST != 0) {
            (true, _) => Self::Broadcast,
            (false, true) => Self::Multicast,
            (false, false) => Self::Unicast,
        }
    }
}

/// What is known of a received datagram beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Received {
    /// The sender. On a socket for both families an IPv4 address is mapped into IPv6.
    pub from: SocketAddr,
    /// What options have asked for.
    pub control: Control,
    /// Whether it was larger than the buffer, and the rest is lost.
    pub truncated: bool,
    /// How it was addressed.
    pub cast: Cast,
}

impl UdpSocket {
    /// Makes a socket and binds it to an address. [`Addresses::Both`] lets an IPv6 wildcard serve IPv4 too.
    ///
    /// API: [`WskSocket`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_socket),
    /// [`WskBind`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_bind).
    ///
    /// # Errors
    /// See [`BindError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind(binding: &Binding, address: SocketAddr, addresses: Addresses) -> Result<Self, BindError> {
        Self::bind_with(binding, address, &BindOptions::new().addresses(addresses)).await
    }

    /// Makes a socket and binds it to an address, in a certain way.
    ///
    /// # Errors
    /// See [`BindError`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind_with(binding: &Binding, address: SocketAddr, options: &BindOptions) -> Result<Self, BindError> {
        let both = address.is_ipv6() && options.serves_both();
        let this = Self::open(binding, tcp::Family::of(address), both).await.map_err(BindError::Open)?;
        this.set_before_bind(options).await?;
        this.bind_to(address).await.map_err(BindError::Bind)?;
        Ok(this)
    }

    /// As [`bind_with`](Self::bind_with), with a word on who may share the address (SO_WSK_SECURITY).
    ///
    /// # Errors
    /// See [`BindError`]; a descriptor of another binding is refused as [`IoError::Detached`].
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn bind_secured(
        binding: &Binding,
        address: SocketAddr,
        options: &BindOptions,
        descriptor: &SecurityDescriptor,
    ) -> Result<Self, BindError> {
        let both = address.is_ipv6() && options.serves_both();
        let this = Self::open(binding, tcp::Family::of(address), both).await.map_err(BindError::Open)?;
        secure(&this.0.socket, descriptor).await.map_err(BindError::Option)?;
        this.set_before_bind(options).await?;
        this.bind_to(address).await.map_err(BindError::Bind)?;
        Ok(this)
    }

    async fn open(binding: &Binding, family: tcp::Family, both: bool) -> Result<Self, OpenError> {
        let inner = Inner {
            socket: tcp::opened(binding, Kind::Datagram, family).await?,
            family: if family == tcp::Family::V4 { Family::V4 } else { Family::V6 },
            both,
            fixed_v4: AtomicBool::new(family == tcp::Family::V4),
            with_control: AtomicBool::new(false),
            single_only: AtomicBool::new(false),
            indicated: AtomicBool::new(false),
            streak: AtomicU8::new(0),
            receives: Stash::new(),
            sends: Stash::new(),
            batches: Stash::new(),
        };
        Ok(Self(Shared::try_new(inner)?))
    }

    async fn bind_to(&self, address: SocketAddr) -> Result<(), IoError> {
        finish(&self.0.socket, addressed::bind(self.call()?, RawAddress::new(address))).await.map(|_| ())
    }

    pub(crate) fn socket(&self) -> &Shared<Socket> {
        &self.0.socket
    }

    fn call(&self) -> Result<Call<'_>, Detached> {
        Call::begin(&self.0.socket)
    }

    /// The address that it is bound to.
    ///
    /// API: [`WskGetLocalAddress`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_get_local_address).
    ///
    /// # Errors
    /// Detach has begun, no memory, or the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn local_address(&self) -> Result<SocketAddr, IoError> {
        local_address_of(&self.0.socket, addressed::local_address(self.call()?)).await
    }

    /// Receives one datagram into the buffer. What does not fit of it is lost, and [`Received::truncated`] says so.
    ///
    /// API: [`WskReceiveFrom`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_receive_from).
    ///
    /// # Errors
    /// With the buffer: [`IoError::Detached`]; no memory; the provider's status. A status may be about a datagram that was
    /// sent before (the port is unreachable): the socket can be used on.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub async fn receive_from(&self, buffer: Buffer) -> Result<(Buffer, Received), TransferError> {
        self.pace().await;
        let started = match self.start_receive() {
            Ok((call, ready)) => datagram::receive_from(call, ready, buffer, self.0.with_control.load(Ordering::Relaxed)),
            Err(error) => return Err(TransferError { error, buffer: Some(buffer) }),
        };
        let pending = started.map_err(|(status, buffer)| TransferError { error: status.into(), buffer })?;
        let mut back = pending.await.map_err(|status| TransferError { error: self.ended(status), buffer: None })?;
        let received = self.received(&mut back);
        self.0.receives.put(back);
        received
    }

    fn start_receive(&self) -> Result<(Call<'_>, Ready<ReceiveFrom>), IoError> {
        let call = self.call()?;
        match self.0.receives.take() {
            Some(ready) => Ok((call, ready)),
            None => Ok((call, ReceiveFrom::ready(&self.0.socket).map_err(NtStatus::from)?)),
        }
    }

    fn received(&self, back: &mut Back<ReceiveFrom>) -> Result<(Buffer, Received), TransferError> {
        let status = back.status;
        let payload = back.payload();
        let buffer = payload.take_buffer();
        if !status.is_success() && !payload.is_truncated() {
            return Err(TransferError { error: self.ended(status), buffer });
        }
        match (buffer, payload.from()) {
            (Some(buffer), Some(from)) => {
                self.0.socket.count_received_by_many(buffer.filled().len());
                Ok((buffer, describe(from, payload)))
            }
            (buffer, _) => Err(TransferError { error: IoError::Provider(NtStatus::INVALID_PARAMETER), buffer }),
        }
    }

    /// Sends what is filled of the buffer as one datagram, and gives the buffer back when the stack is done with it.
    ///
    /// API: [`WskSendTo`](https://learn.microsoft.com/windows-hardware/drivers/ddi/wsk/nc-wsk-pfn_wsk_send_to).
    ///
    /// # Errors
    /// With the buffer: [`IoError::Detached`]; no memory; an IPv6 address on a socket for IPv4
    /// (STATUS_INVALID_PARAMETER); the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn send_to(&self, buffer: Buffer, to: SocketAddr) -> impl Future<Output = Result<Buffer, TransferError>> + Send {
        self.send_any(buffer, Some(to), &Control::NONE)
    }

    /// As [`send_to`](Self::send_to), with control data: source address, ECN, traffic class, or the size of the datagrams into
    /// which the stack is to cut the buffer.
    ///
    /// # Errors
    /// As for [`send_to`](Self::send_to); also control data that cannot be said for a datagram to that address
    /// (STATUS_INVALID_PARAMETER).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn send_to_with(
        &self,
        buffer: Buffer,
        to: SocketAddr,
        control: &Control,
    ) -> impl Future<Output = Result<Buffer, TransferError>> + Send {
        self.send_any(buffer, Some(to), control)
    }

    /// Sends to the destination that [`set_remote`](Self::set_remote) or [`set_send_to`](Self::set_send_to) has fixed.
    ///
    /// # Errors
    /// As for [`send_to`](Self::send_to); without a fixed destination the provider's status.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn send(&self, buffer: Buffer) -> impl Future<Output = Result<Buffer, TransferError>> + Send {
        self.send_any(buffer, None, &Control::NONE)
    }

    /// As [`send`](Self::send), with control data.
    ///
    /// # Errors
    /// As for [`send_to_with`](Self::send_to_with).
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub fn send_with(&self, buffer: Buffer, control: &Control) -> impl Future<Output = Result<Buffer, TransferError>> + Send {
        self.send_any(buffer, None, control)
    }

    async fn send_any<L: Load>(&self, load: L, to: Option<SocketAddr>, control: &Control) -> Result<L, L::Error> {
        self.pace().await;
        let to = match self.0.reachable(to) {
            Ok(to) => to,
            Err(error) => return Err(L::failed(error, Some(load))),
        };
        let started = match self.start_send(to, control) {
            Ok((call, ready)) => send_to::send_to(call, ready, load.into_body(), to),
            Err(error) => return Err(L::failed(error, Some(load))),
        };
        let pending = started.map_err(|(status, body)| L::failed(status.into(), body.and_then(L::from_body)))?;
        let awaited = if L::IS_KEPT { self.unless_ended(pending).await } else { pending.await };
        let mut back = awaited.map_err(|status| L::failed(self.ended(status), None))?;
        let (status, body) = (back.status, back.payload().take_body());
        self.0.sends.put(back);
        match (status.ok(), body.and_then(L::from_body)) {
            (Ok(()), Some(load)) => {
                self.0.socket.count_sent_by_many(load.bytes());
                Ok(load)
            }
            (_, load) => Err(L::failed(self.ended(status), load)),
        }
    }

    fn start_send(&self, to: Option<SocketAddr>, control: &Control) -> Result<(Call<'_>, Ready<SendTo>), IoError> {
        let call = self.call()?;
        let mut ready = match self.0.sends.take() {
            Some(ready) => ready,
            None => SendTo::ready(&self.0.socket).map_err(NtStatus::from)?,
        };
        match ready.payload().control().set(control, self.0.family_of(to)) {
            true => Ok((call, ready)),
            false => Err(IoError::Provider(NtStatus::INVALID_PARAMETER)),
        }
    }

    /// Lets others run when this socket has kept a task going for long.
    async fn pace(&self) {
        let count = self.0.streak.load(Ordering::Relaxed);
        if count < STREAK {
            self.0.streak.store(count + 1, Ordering::Relaxed);
            return;
        }
        self.0.streak.store(0, Ordering::Relaxed);
        yield_now().await;
    }

    /// What an operation's failure means: one that comes from the end of the socket says so.
    fn ended(&self, status: NtStatus) -> IoError {
        if self.0.socket.is_ending() || status == NtStatus::FILE_FORCED_CLOSED { IoError::Detached } else { status.into() }
    }
}

impl Inner {
    /// The address as this socket's provider takes it: for a socket for both families IPv4 is mapped into IPv6.
    fn reachable(&self, to: Option<SocketAddr>) -> Result<Option<SocketAddr>, IoError> {
        match (self.family, to) {
            (Family::V6, Some(SocketAddr::V4(v4))) => Ok(Some(SocketAddr::new(v4.ip().to_ipv6_mapped().into(), v4.port()))),
            (Family::V4, Some(SocketAddr::V6(_))) => Err(IoError::Provider(NtStatus::INVALID_PARAMETER)),
            _ => Ok(to),
        }
    }

    /// The IP version that a datagram to that address travels in.
    fn family_of(&self, to: Option<SocketAddr>) -> Family {
        match to.map(|to| to.ip().to_canonical()) {
            Some(IpAddr::V4(_)) => Family::V4,
            Some(IpAddr::V6(_)) => Family::V6,
            None if self.fixed_v4.load(Ordering::Relaxed) => Family::V4,
            None => Family::V6,
        }
    }
}

fn describe(from: SocketAddr, payload: &ReceiveFrom) -> Received {
    Received { from, control: payload.control(), truncated: payload.is_truncated(), cast: Cast::of_flags(payload.flags()) }
}
