//! TCP: listeners and streams.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::{Future, poll_fn};
use core::net::SocketAddr;
use core::pin::pin;
use core::task::Poll;

use crate::error::IoError;
use crate::raw::NtStatus;
use crate::raw::calls::addressed::Addressed;
use crate::raw::op::{Payload, Pending};
use crate::raw::socket::{ACTIVE, NUDGE_IDLE, NUDGE_STOP, RECEIVING, Socket};
use crate::sync::{Shared, Watching};
use crate::wait::yield_now;

mod events;
mod halves;
mod indications;
mod inspect;
mod listen_options;
mod listener;
mod options;
mod pipeline;
mod socket;
mod stream;
mod turns;

pub use events::{Disabling, Event};
pub use halves::{ReadHalf, WriteHalf};
pub use indications::{Bound, Indications};
pub use inspect::{Inspection, Inspector};
pub use listen_options::{Addresses, ListenOptions};
pub use listener::TcpListener;
pub use options::KeepAlive;
pub use pipeline::{Pipeline, PipelineError};
pub(crate) use socket::opened;
pub use socket::{Family, TcpSocket};
pub use stream::TcpStream;
pub use turns::{Turn, Turned, Turns, Went};

/// A word from the owner of a service to the task that reads a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nudge {
    /// Give the buffer back if nothing has come or gone since the last nudge of this kind.
    Idle,
    /// End gracefully: [`TcpStream::receive`] answers [`IoError::Cancelled`] from now on, once the receive in flight is back.
    Stop,
}

impl Nudge {
    pub(crate) fn apply(self, socket: &Shared<Socket>) {
        match self {
            Self::Idle if socket.take_flags(ACTIVE) != 0 || socket.flags() & RECEIVING == 0 => {}
            Self::Idle => socket.raise(NUDGE_IDLE),
            Self::Stop => socket.raise(NUDGE_STOP),
        }
    }
}

/// How many operations may complete at once, one after the other, before the task lets others run: a peer that is fast
/// enough must not keep a task going at DISPATCH_LEVEL for ever.
const STREAK: u8 = 32;

/// Operations of one socket since its task last let others run.
#[derive(Default)]
struct Streak(u8);

impl Streak {
    /// Counts one more, and lets others run when it is time.
    async fn count(&mut self) {
        self.0 += 1;
        if self.0 < STREAK {
            return;
        }
        self.0 = 0;
        yield_now().await;
    }
}

/// Waits for an operation and takes its status for the result. One that fails while its socket is at its end says that.
pub(crate) async fn finish<P: Payload>(socket: &Socket, pending: Result<Pending<P>, NtStatus>) -> Result<P, IoError> {
    let ended = |status: NtStatus| if socket.is_ending() { IoError::Detached } else { status.into() };
    let done = pending?.await.map_err(ended)?;
    done.status.ok().map_err(ended)?;
    Ok(done.payload)
}

/// Waits for an operation that asks for a socket's own address.
pub(crate) async fn local_address_of(
    socket: &Socket,
    pending: Result<Pending<Addressed>, NtStatus>,
) -> Result<SocketAddr, IoError> {
    address_of(socket, pending).await.inspect(|local| socket.account().bound_to(Some(*local)))
}

/// Waits for an operation that asks for an address.
pub(crate) async fn address_of(socket: &Socket, pending: Result<Pending<Addressed>, NtStatus>) -> Result<SocketAddr, IoError> {
    let asked = finish(socket, pending).await?;
    asked.0.to_address().ok_or(IoError::Provider(NtStatus::INVALID_PARAMETER))
}

/// Awaits an operation, and asks for its cancellation when one of the nudges comes.
async fn cancel_on<P: Payload>(
    socket: &Shared<Socket>,
    watching: &mut Watching,
    pending: Pending<P>,
    nudges: u32,
) -> <Pending<P> as Future>::Output {
    let mut pending = pin!(pending);
    poll_fn(|context| {
        if let Poll::Ready(done) = pending.as_mut().poll(context) {
            return Poll::Ready(done);
        }
        if nudges != 0 {
            socket.reader.watch(watching, context.waker());
            if socket.flags() & nudges != 0 {
                // A stop stays: it holds for all that follows.
                socket.take_flags(nudges & NUDGE_IDLE);
                pending.cancel();
                // It may have come back inside the cancellation, with no wake to follow.
                return pending.as_mut().poll(context);
            }
        }
        Poll::Pending
    })
    .await
}
