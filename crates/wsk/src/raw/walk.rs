//! Walks over the open sockets of a binding, for whoever holds a right, or gets one for it.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use super::binding::{DrainRight, Enter, Shell, SocketTable};
use super::socket::Socket;
use crate::sync::{Shared, SpinLock};

/// The next socket of the table at the cursor, looking at a bounded number of slots with the lock held.
pub(super) fn next_socket(table: &SpinLock<SocketTable>, cursor: &mut u32) -> Option<Shared<Socket>> {
    const LOOK: usize = 64;
    loop {
        let table = table.lock();
        if let Some(socket) = table.next_full(cursor, LOOK) {
            return Some(socket.clone());
        }
        if table.at_end(*cursor) {
            return None;
        }
    }
}

impl Shared<Shell> {
    /// A walk over the open sockets, while the binding admits new work.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`; `each` is called with no lock held.
    pub(crate) fn each_socket(&self, mut each: impl FnMut(&Shared<Socket>)) {
        let Ok(enter) = Enter::acquire(self) else { return };
        let mut cursor = 0;
        while let Some(socket) = next_socket(enter.table(), &mut cursor) {
            each(&socket);
        }
    }

    /// How many sockets are open, also while it drains.
    ///
    /// # IRQL
    /// `<= DISPATCH_LEVEL`.
    pub(crate) fn open_sockets(&self) -> u32 {
        let count = |table: &SpinLock<SocketTable>| table.lock().len() as u32;
        match Enter::acquire(self) {
            Ok(enter) => count(enter.table()),
            Err(_) => DrainRight::unless_ended(self).map_or(0, |right| count(right.table())),
        }
    }
}

/// The next open socket at the cursor or after it, also while the binding drains.
///
/// # IRQL
/// `<= DISPATCH_LEVEL`.
pub(crate) fn next_socket_while_there(shell: &Shared<Shell>, cursor: &mut u32) -> Option<Shared<Socket>> {
    match Enter::acquire(shell) {
        Ok(enter) => next_socket(enter.table(), cursor),
        Err(_) => next_socket(DrainRight::unless_ended(shell)?.table(), cursor),
    }
}
