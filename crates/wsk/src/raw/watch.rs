//! A wait that only a change at the provider would end: the drain cancels it (L22).
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, ready};

use super::binding::Shell;
use super::calls::client::{self, Change};
use super::leaving::Ending;
use super::op::Pending;
use crate::IoError;
use crate::sync::Shared;

/// The wait for a change of the transports. Dropping it cancels it.
pub(crate) struct Watch {
    pending: Pending<Change>,
    shell: Shared<Shell>,
    /// Its number among what the drain has to end; 0: none.
    number: u64,
}

impl Watch {
    /// # Errors
    /// Detach has begun, or there is no memory.
    pub(crate) fn begin(shell: &Shared<Shell>) -> Result<Self, IoError> {
        let pending = client::transport_change(shell)?;
        let mut watch = Self { pending, shell: shell.clone(), number: 0 };
        if let Some(op) = watch.pending.operation() {
            watch.number = shell.endings.add(Ending::Change(op.clone()))?;
        }
        if !shell.is_open() {
            // The drain may have looked before.
            watch.pending.cancel();
        }
        Ok(watch)
    }
}

impl Future for Watch {
    type Output = Result<(), IoError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let done = ready!(Pin::new(&mut self.pending).poll(context));
        let outcome = done.and_then(|done| done.status.ok());
        Poll::Ready(outcome.map_err(|status| if self.shell.is_open() { status.into() } else { IoError::Detached }))
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shell.endings.remove(self.number);
    }
}
