//! `wskctl` sees and steers `wskclient.sys` while it runs.
//!
//! From the outside in: [`cli`] is the command line, and there is a module for each command ([`status`], [`sockets`],
//! [`services`], [`activation`], [`resolve`], [`events`], [`metrics`], [`top`],
//! [`completions`]). They ask the driver by [`tool`], which opens the [`device`], sends one request and closes it, so that no handle
//! is held between requests (L38). [`output`] is what they print, [`failure`] what they end with.

mod activation;
mod cli;
mod completions;
mod device;
mod events;
mod failure;
mod metrics;
mod ntstatus;
mod output;
mod resolve;
mod services;
mod sockets;
mod status;
#[cfg(test)]
mod tests;
mod text;
mod tool;
mod top;
mod traffic;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
