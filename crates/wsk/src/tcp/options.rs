//! Options of TCP sockets.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::time::Duration;

use wsk_sys::IPPROTO::IPPROTO_TCP;
use wsk_sys::{SO_KEEPALIVE, SO_RCVBUF, SO_SNDBUF, SOL_SOCKET, TCP_KEEPCNT, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_NODELAY};

use super::{TcpSocket, TcpStream, finish};
use crate::error::IoError;
use crate::raw::calls::{Call, control};
use crate::raw::socket::Socket;
use crate::sync::Shared;

/// When a connection without traffic is probed, and given up. What is `None` stays as the transport has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepAlive {
    /// The time without traffic before the first probe, in whole seconds (TCP_KEEPIDLE).
    pub time: Option<Duration>,
    /// The time between probes, in whole seconds (TCP_KEEPINTVL).
    pub interval: Option<Duration>,
    /// How many probes stay unanswered before the connection is given up (TCP_KEEPCNT).
    pub count: Option<u32>,
}

async fn set(socket: &Shared<Socket>, level: u32, option: u32, value: u32) -> Result<(), IoError> {
    finish(socket, control::set_option(Call::begin(socket)?, level, option, value)).await.map(|_| ())
}

/// Whole seconds, at least one.
fn seconds(time: Duration) -> u32 {
    u32::try_from(time.as_secs()).unwrap_or(u32::MAX).max(1)
}

async fn set_keep_alive(socket: &Shared<Socket>, keep_alive: Option<KeepAlive>) -> Result<(), IoError> {
    if let Some(KeepAlive { time, interval, count }) = keep_alive {
        let options = [(TCP_KEEPIDLE, time.map(seconds)), (TCP_KEEPINTVL, interval.map(seconds)), (TCP_KEEPCNT, count)];
        for (option, value) in options {
            if let Some(value) = value {
                set(socket, IPPROTO_TCP as _, option, value).await?;
            }
        }
    }
    set(socket, SOL_SOCKET, SO_KEEPALIVE, keep_alive.is_some().into()).await
}

/// Options that a socket has before and after it is connected.
macro_rules! options {
    ($type:ty) => {
        impl $type {
            /// Has the connection probed when it is silent (SO_KEEPALIVE and its family), or not.
            ///
            /// # Errors
            /// [`IoError::Detached`]; no memory; the provider's status.
            ///
            /// # IRQL
            /// `<= DISPATCH_LEVEL`.
            pub async fn set_keep_alive(&self, keep_alive: Option<KeepAlive>) -> Result<(), IoError> {
                set_keep_alive(self.socket(), keep_alive).await
            }

            /// Whether what is sent may wait for more before it goes out (Nagle's algorithm), for sends without
            /// [`WSK_FLAG_NODELAY`](crate::WriteHalf::set_no_delay) (TCP_NODELAY).
            ///
            /// # Errors
            /// As for [`set_keep_alive`](Self::set_keep_alive).
            ///
            /// # IRQL
            /// `<= DISPATCH_LEVEL`.
            pub async fn set_no_delay_option(&self, no_delay: bool) -> Result<(), IoError> {
                set(self.socket(), IPPROTO_TCP as _, TCP_NODELAY, no_delay.into()).await
            }

            /// How many bytes the transport keeps of what was sent (SO_SNDBUF). (WSK completes a send when it has been
            /// acknowledged; it does not copy into such a buffer by itself.)
            ///
            /// # Errors
            /// As for [`set_keep_alive`](Self::set_keep_alive).
            ///
            /// # IRQL
            /// `<= DISPATCH_LEVEL`.
            pub async fn set_send_buffer(&self, bytes: u32) -> Result<(), IoError> {
                set(self.socket(), SOL_SOCKET, SO_SNDBUF, bytes).await
            }

            /// How many bytes the transport keeps of what nobody has received yet (SO_RCVBUF).
            ///
            /// # Errors
            /// As for [`set_keep_alive`](Self::set_keep_alive).
            ///
            /// # IRQL
            /// `<= DISPATCH_LEVEL`.
            pub async fn set_receive_buffer(&self, bytes: u32) -> Result<(), IoError> {
                set(self.socket(), SOL_SOCKET, SO_RCVBUF, bytes).await
            }
        }
    };
}

options!(TcpSocket);
options!(TcpStream);
