//! Names, resolved by the provider.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::net::SocketAddr;
use core::time::Duration;

use control_abi::resolve::{MOST_ADDRESSES, Outcome, Resolve, Resolved};
use control_abi::{Text, WireAddress};
use wsk::sync::{Event as Flag, Pool, Shared, SpinLock, Tagged, tag};
use wsk::{AddressList, Binding, Family, Hints, Instant, NtStatus, Passive, ResolveError, resolve};

use super::io::Io;
use crate::driver::Driver;

/// How long a cancelled request may take to be seen.
const LOOK: Duration = Duration::from_millis(20);

/// A question, and its answer once it has come.
struct Asking {
    answered: Flag,
    answer: SpinLock<Option<Result<Resolved, NtStatus>>>,
}

impl Tagged for Asking {
    type Pool = Pool<{ tag(b"WskM") }>;
}

/// Asks the provider, and waits for as long as it was asked to, and no longer than until the request is cancelled.
pub(super) fn ask(passive: Passive, driver: &Driver, io: &Io, asked: &Resolve) -> Result<Resolved, NtStatus> {
    let began = Instant::now();
    let limit = Duration::from_millis(asked.timeout_ms.into());
    let Some(binding) = driver.client().and_then(wsk::Client::binding) else { return Ok(outcome(Outcome::Detached)) };
    let asking = Shared::try_new(Asking { answered: Flag::notification(false)?, answer: SpinLock::new(None) })?;
    let (answering, question, executor) = (asking.clone(), *asked, binding.executor().clone());
    let task = executor.spawn_passive(move |passive| async move {
        let answer = answer(passive, &binding, &question).await;
        answering.answer.with(|place| *place = Some(answer));
        answering.answered.set();
    });
    let task = task.map_err(|_| NtStatus::INSUFFICIENT_RESOURCES)?;
    let given_up = |outcome| {
        task.abort();
        outcome
    };
    while !asking.answered.wait_for(passive, LOOK.min(limit)) {
        if io.is_cancelled() {
            return given_up(Err(NtStatus::CANCELLED));
        }
        if began.elapsed() >= limit {
            return given_up(Ok(outcome(Outcome::TimedOut)));
        }
    }
    let answer = asking.answer.with(|answer| answer.take()).unwrap_or(Err(NtStatus::CANCELLED))?;
    Ok(Resolved { took_us: began.elapsed().as_micros() as u64, ..answer })
}

async fn answer(passive: Passive, binding: &Binding, asked: &Resolve) -> Result<Resolved, NtStatus> {
    let family = match asked.family {
        4 => Some(Family::V4),
        6 => Some(Family::V6),
        _ => None,
    };
    let hints = Hints { family, canonical_name: asked.canonical_name, ..Hints::default() };
    let (host, service) = (asked.host.as_str().unwrap_or_default(), asked.service.as_str().unwrap_or_default());
    match resolve(passive, binding, host, service, hints).await {
        Ok(list) => Ok(found(&list)),
        Err(ResolveError::NotFound | ResolveError::Name) => Ok(outcome(Outcome::NotFound)),
        Err(ResolveError::Detached) => Ok(outcome(Outcome::Detached)),
        Err(ResolveError::Provider(status)) => Ok(Resolved { status: status.0, ..outcome(Outcome::Failed) }),
        Err(ResolveError::OutOfMemory) => Err(NtStatus::INSUFFICIENT_RESOURCES),
    }
}

fn found(list: &AddressList) -> Resolved {
    let mut resolved = outcome(if list.iter().next().is_some() { Outcome::Found } else { Outcome::NotFound });
    for (place, address) in resolved.addresses.iter_mut().zip(list.iter()) {
        *place = WireAddress::from(address);
        resolved.count += 1;
    }
    resolved.total = list.iter().fold(0, |count, _: SocketAddr| count + 1);
    resolved.canonical_name = list.canonical_name().map_or(Text::EMPTY, Text::cut);
    resolved
}

/// An answer without addresses.
fn outcome(outcome: Outcome) -> Resolved {
    Resolved {
        version: control_abi::VERSION,
        outcome: outcome.to_wire(),
        status: 0,
        total: 0,
        count: 0,
        reserved: 0,
        took_us: 0,
        canonical_name: Text::EMPTY,
        addresses: [WireAddress::NONE; MOST_ADDRESSES],
    }
}
