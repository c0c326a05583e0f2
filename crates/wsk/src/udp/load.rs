//! What a datagram can be sent out of.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use super::ForwardError;
use crate::error::{ChainError, IoError, TransferError};
use crate::raw::calls::send_to::Body;
use crate::raw::{Buffer, Chain, Datagrams};

/// Something that goes into a send, and comes back from it.
pub(super) trait Load: Sized {
    /// How it comes back from one that failed.
    type Error;

    /// Whether it may be memory of the provider's, which is to come back at the end of the binding.
    const IS_KEPT: bool;

    /// How many bytes it is.
    fn bytes(&self) -> usize;

    fn into_body(self) -> Body;

    fn from_body(body: Body) -> Option<Self>;

    fn failed(error: IoError, load: Option<Self>) -> Self::Error;
}

impl Load for Buffer {
    type Error = TransferError;

    const IS_KEPT: bool = false;

    fn bytes(&self) -> usize {
        self.filled().len()
    }

    fn into_body(self) -> Body {
        Body::Buffer(self)
    }

    fn from_body(body: Body) -> Option<Self> {
        if let Body::Buffer(buffer) = body { Some(buffer) } else { None }
    }

    fn failed(error: IoError, buffer: Option<Self>) -> TransferError {
        TransferError { error, buffer }
    }
}

impl Load for Chain {
    type Error = ChainError;

    const IS_KEPT: bool = true;

    fn bytes(&self) -> usize {
        self.len()
    }

    fn into_body(self) -> Body {
        Body::Chain(self)
    }

    fn from_body(body: Body) -> Option<Self> {
        if let Body::Chain(chain) = body { Some(chain) } else { None }
    }

    fn failed(error: IoError, chain: Option<Self>) -> ChainError {
        ChainError { error, chain }
    }
}

impl Load for (Datagrams, usize) {
    type Error = ForwardError;

    const IS_KEPT: bool = true;

    fn bytes(&self) -> usize {
        self.0.iter().nth(self.1).map_or(0, |datagram| datagram.len())
    }

    fn into_body(self) -> Body {
        Body::Datagram(self.0, self.1)
    }

    fn from_body(body: Body) -> Option<Self> {
        if let Body::Datagram(datagrams, number) = body { Some((datagrams, number)) } else { None }
    }

    fn failed(error: IoError, load: Option<Self>) -> ForwardError {
        ForwardError { error, datagrams: load.map(|(datagrams, _)| datagrams) }
    }
}
