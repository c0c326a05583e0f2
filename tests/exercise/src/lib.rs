//! A driver that runs one scenario of the `wsk` library for each binding, and prints how it went.
//!
//! The settings `Scenario` (REG_SZ) and `Target` (REG_SZ, address:port of the peer on the host) say which. A scenario is an
//! `async fn(&Binding, SocketAddr) -> Outcome` in the module of its feature, listed in `scenarios!`; it prints
//! `exercise: <name>: ok` or `exercise: <name>: FAILED: <why>`, and with `at` where it listens (with `say` anything else). The host's side is
//! `tests/tests/support/exercise.rs`.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.
#![no_std]

mod control;
mod datagrams;
mod failure;
mod perf;
mod resolve;
mod runtime;
mod tcp;
mod tcp_connect;
mod tcp_inspect;
mod tcp_listen;
mod tcp_stream;
mod tcp_turns;
mod udp;
mod udp_adverse;
mod wire;
mod zero_copy;

use core::net::SocketAddr;

use wsk::entry::Parameters;
use wsk::{Binding, Handler, Lane, Passive, StaticEvents};

use failure::Failure;

/// How a scenario ends.
type Outcome = Result<(), Failure>;

wsk::driver! { name: "exercise", module: 0x2f9c_11d7_5c0e_4f5a_9c3b_70d1_8a44_e6b2, handler: EXERCISE }

/// Runs the scenario named by the settings at each attachment. It is not dropped when the binding ends: how it ends then is
/// for the scenario to show.
struct Exercise;

static EXERCISE: Exercise = Exercise;

/// The scenarios: each by its name, which is the function's with the module before it.
macro_rules! scenarios {
    ($($module:ident: $($name:ident),+;)+) => {
        /// Runs the scenario of this name.
        ///
        /// # IRQL
        /// As it is spawned: each may say more in its own place.
        async fn run(name: &str, binding: &Binding, target: SocketAddr) -> Outcome {
            $($(if name == concat!(stringify!($module), "_", stringify!($name)) {
                return $module::$name(binding, target).await;
            })+)+
            Err(Failure::new("choosing", "no such scenario"))
        }
    };
}

scenarios! {
    control: transports, change, change_at_detach, descriptors, descriptor_at_detach, addresses;
    resolve: addresses, refusals, names, dropped, once;
    runtime: join, abort, lost, limits, flood, aligned, until_detach;
    tcp: echo_once;
    tcp_connect: greet_once, bound, options, unbound, stream_socket, with_data, report, report_in_steps, dropped, dropped_in_steps, ends;
    tcp_listen: by_event, whichever, static_event, refuses, inherits, dropped, both_families, one_family, address_in_use,
        stream_socket, stream_socket_by_event, ends, kept;
    tcp_inspect: accepts, accepts_by_event, decides, aborted, too_many, report, verdict_dropped, verdict_stays, ends, not_conditional;
    tcp_stream: halves_at_once, full_duplex, one_half_goes, reader_stays, abort, finish_with, exact, drain, backlogs, events,
        static_events, disabling, pipeline, pipeline_dropped, silence, ends;
    tcp_turns: echo, sends, dropped, late, ends;
    zero_copy: echo, tight, copies, vectors, bound, hold, queue, dropped, forward;
    perf: zero_copy, copying, buffered;
    datagrams: copies, bound, forward, stuck, held, disable, disabling, forgotten, gone, from_the_start, cast;
    udp_adverse: faults, dropped, ended;
    udp: echo, chain, dual, truncated, in_flight, batch, fixed, options, settings, control, segments, hops;
}

/// Says where a scenario listens: `exercise: <name>: at <address>`.
fn at(name: &str, address: SocketAddr) {
    wdk::println!("exercise: {name}: at {address}");
}

/// Says something else: `exercise: <name>: <what>`.
#[allow(dead_code)] // not every set of scenarios has something to say
fn say(name: &str, what: impl core::fmt::Display) {
    wdk::println!("exercise: {name}: {what}");
}

impl Handler for Exercise {
    /// The setting `StaticEvents` (REG_DWORD): none, those of TCP (1), or those of UDP (2).
    fn static_events(&self, passive: Passive) -> StaticEvents {
        let on = Parameters::open(passive).and_then(|key| key.number("StaticEvents")).unwrap_or(0);
        let tcp = on == 1;
        StaticEvents { receive: tcp, send_backlog: tcp, accept: tcp, receive_from: on == 2 }
    }

    fn attached(&self, passive: Passive, binding: Binding) {
        let mut name = [0; 64];
        let settings = Parameters::open(passive);
        let settings = settings.and_then(|key| Ok((key.text("Scenario", &mut name)?.len(), key.address("Target")?)));
        let (length, target) = match settings {
            Ok(settings) => settings,
            Err(error) => return wdk::println!("exercise: Scenario or Target: {error}"),
        };
        let executor = binding.executor().clone();
        let scenario = async move {
            let name = name.get(..length).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("?");
            match run(name, &binding, target).await {
                Ok(()) => wdk::println!("exercise: {name}: ok"),
                Err(failure) => wdk::println!("exercise: {name}: FAILED: {failure}"),
            }
        };
        if executor.spawn(Lane::Dispatch, scenario).is_err() {
            wdk::println!("exercise: no memory for the scenario");
        }
    }
}
