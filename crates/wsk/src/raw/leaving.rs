//! What a binding has to end by itself when it is taken away, besides its sockets: waits that only a change at the provider
//! would end (L22), and security descriptors that the provider keeps (L21).
//!
//! Whoever adds something looks at the gate afterwards: if it is shut, the drain may have looked before, and so what was
//! added is ended by the one who added it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL` for everything here.

use allocator_api2::vec::Vec;

use super::calls::client::Change;
use super::op::Op;
use super::security::Cached;
use crate::sync::{OutOfMemory, Pool, Shared, SpinLock, tag, try_push};

/// Something that is to be ended.
pub(super) enum Ending {
    /// To be cancelled.
    Change(Shared<Op<Change>>),
    /// To be given back.
    Descriptor(Shared<Cached>),
}

impl Ending {
    fn end(self) {
        match self {
            // This reference keeps the operation, and so its IRP, meanwhile (L37).
            Self::Change(op) => op.cancel(),
            Self::Descriptor(cached) => cached.begin_release(),
        }
    }
}

struct List {
    /// The number of the last one that was added.
    last: u64,
    endings: Vec<(u64, Ending), Pool<{ tag(b"WskZ") }>>,
}

/// The list of a binding.
pub(super) struct Endings(SpinLock<List>);

impl Endings {
    pub(super) const fn new() -> Self {
        Self(SpinLock::new(List { last: 0, endings: Vec::new_in(Pool) }))
    }

    /// Adds something; the number is for taking it out.
    pub(super) fn add(&self, ending: Ending) -> Result<u64, OutOfMemory> {
        let mut list = self.0.lock();
        let number = list.last + 1;
        // What does not fit is dropped after the lock: it is a reference beside another one.
        try_push(&mut list.endings, (number, ending))?;
        list.last = number;
        Ok(number)
    }

    /// Takes something out, if it is in.
    pub(super) fn remove(&self, number: u64) {
        let taken = {
            let mut list = self.0.lock();
            let place = list.endings.iter().position(|(listed, _)| *listed == number);
            place.map(|place| list.endings.swap_remove(place))
        };
        drop(taken);
    }

    /// Ends everything that is in.
    pub(super) fn end_all(&self) {
        loop {
            let last = self.0.lock().endings.pop();
            let Some((_, ending)) = last else { return };
            ending.end();
        }
    }
}
