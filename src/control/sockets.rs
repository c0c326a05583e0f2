//! The list of sockets, page by page: first those of a binding that is being taken away, then those of the open one.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use control_abi::page::{END, PageHeader, entries_in};
use control_abi::sockets::{Cursor, Socket};

use super::io::{Answer, Output};
use crate::driver::Driver;
use crate::sockets::to_wire;

/// Answers with a page of sockets.
pub(super) fn answer(driver: &Driver, from: Cursor, output: &mut Output<'_>) -> Answer {
    let client = driver.client();
    let (leaving, open) = (client.and_then(wsk::Client::leaving), client.and_then(wsk::Client::binding));
    let bindings = [leaving, open];
    let mut page = PageHeader { next: END, ..PageHeader::default() };
    let most = entries_in::<Socket>(output.room());
    let mut count = 0;
    for binding in bindings.iter().flatten() {
        let generation = binding.generation();
        (page.mark, page.total) = (generation, page.total + u64::from(binding.socket_count()));
        if page.next != END || generation < from.binding {
            continue;
        }
        let mut slot = if generation == from.binding { from.slot } else { 0 };
        while let Some(socket) = binding.next_socket(&mut slot) {
            output.entry(count, &to_wire(&socket, generation))?;
            count += 1;
            if count == most {
                page.next = Cursor { binding: generation, slot }.to_wire();
                break;
            }
        }
    }
    output.page::<Socket>(PageHeader { count: count as u32, ..page })
}
