//! Scenarios of name resolution. The questions are asked on the passive thread.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`, where a function does not say otherwise.

use core::future::Future;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use core::time::Duration;

use wsk::{Binding, Family, Hints, NameHints, Passive, Protocol, ResolveError, TimeoutError, resolve, resolve_name, timeout};

use crate::failure::{Doing, Failure, expect};
use crate::{Outcome, say};

/// Runs a part of a scenario on the passive thread.
async fn on_passive<C, F>(binding: &Binding, part: C) -> Outcome
where
    C: FnOnce(Passive, Binding) -> F + Send + 'static,
    F: Future<Output = Outcome> + 'static,
{
    let ours = binding.clone();
    let task = binding.executor().spawn_passive(move |passive| part(passive, ours)).doing("spawn")?;
    task.await.doing("join")?
}

/// Hosts in text and by name, of one family and of any, with a service and without.
pub(crate) async fn addresses(binding: &Binding, _: SocketAddr) -> Outcome {
    on_passive(binding, |passive, binding| async move { ask_all(passive, &binding).await }).await
}

async fn ask_all(passive: Passive, binding: &Binding) -> Outcome {
    let tcp = Hints { protocol: Some(Protocol::Tcp), ..Hints::default() };
    let numeric = Hints { numeric_host: true, numeric_service: true, ..tcp };
    let list = resolve(passive, binding, "127.0.0.1", "80", numeric).await.doing("IPv4 in text")?;
    expect(list.iter().eq([SocketAddr::from((Ipv4Addr::LOCALHOST, 80))]), "that address")?;
    let list = resolve(passive, binding, "::1", "8080", numeric).await.doing("IPv6 in text")?;
    expect(list.iter().eq([SocketAddr::from((Ipv6Addr::LOCALHOST, 8080))]), "that address")?;
    expect(list.canonical_name().is_none(), "no name that was not asked for")?;
    let v4 = Hints { family: Some(Family::V4), canonical_name: true, ..tcp };
    let list = resolve(passive, binding, "localhost", "", v4).await.doing("localhost")?;
    expect(list.iter().all(|address| address.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST)), "the local host")?;
    expect(list.iter().count() == 1, "once")?;
    expect(list.canonical_name() == Some("localhost"), "its name")?;
    let any = resolve(passive, binding, "localhost", "7", Hints::default()).await.doing("localhost, any")?;
    expect(any.iter().all(|address| address.port() == 7 && address.ip().is_loopback()), "port and host")
}

/// What cannot be answered is refused, by the library or by the provider.
pub(crate) async fn refusals(binding: &Binding, _: SocketAddr) -> Outcome {
    on_passive(binding, |passive, binding| async move { ask_wrongly(passive, &binding).await }).await
}

async fn ask_wrongly(passive: Passive, binding: &Binding) -> Outcome {
    let ask = async |host: &str, service: &str| resolve(passive, binding, host, service, Hints::default()).await.err();
    expect(ask("", "").await == Some(ResolveError::Name), "both empty")?;
    expect(ask("a\0b", "80").await == Some(ResolveError::Name), "a NUL inside")?;
    let long = [b'a'; 1025];
    let long = core::str::from_utf8(&long).doing("text")?;
    expect(ask(long, "80").await == Some(ResolveError::Name), "too long a host")?;
    expect(ask("localhost", long.get(..32).unwrap_or_default()).await == Some(ResolveError::Name), "too long a service")?;
    expect(ask("no-such-name.invalid", "80").await == Some(ResolveError::NotFound), "an unknown name")
}

/// The name of an address, in text and looked up.
pub(crate) async fn names(binding: &Binding, _: SocketAddr) -> Outcome {
    on_passive(binding, |passive, binding| async move { ask_names(passive, &binding).await }).await
}

async fn ask_names(passive: Passive, binding: &Binding) -> Outcome {
    let numeric = NameHints { numeric_host: true, numeric_service: true, ..NameHints::default() };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 8080));
    let name = resolve_name(passive, binding, address, numeric).await.doing("IPv4")?;
    expect(name.host() == "127.0.0.1" && name.service() == "8080", "in text")?;
    let address = SocketAddr::from((Ipv6Addr::LOCALHOST, 9));
    let name = resolve_name(passive, binding, address, numeric).await.doing("IPv6")?;
    expect(name.host() == "::1" && name.service() == "9", "in text")?;
    let by_name = NameHints { numeric_service: true, ..NameHints::default() };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let name = resolve_name(passive, binding, address, by_name).await.doing("by name")?;
    expect(!name.host().is_empty(), "some name")
}

/// Questions whose future is dropped while they are out: what they bring goes back all the same.
pub(crate) async fn dropped(binding: &Binding, _: SocketAddr) -> Outcome {
    on_passive(binding, |passive, binding| async move { drop_some(passive, &binding).await }).await
}

async fn drop_some(passive: Passive, binding: &Binding) -> Outcome {
    for wait in [0, 1, 5, 20] {
        let asked = resolve(passive, binding, "127.0.0.1", "80", Hints::default());
        let ended = timeout(Duration::from_millis(wait), asked).await;
        expect(!matches!(ended, Err(TimeoutError::OutOfMemory)), "a timer")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        let asked = resolve_name(passive, binding, address, NameHints::default());
        let _ = timeout(Duration::from_millis(wait), asked).await;
    }
    Ok(())
}

/// Asks once, and says what came of it: for faults, and for a provider that goes meanwhile.
pub(crate) async fn once(binding: &Binding, _: SocketAddr) -> Outcome {
    on_passive(binding, |passive, binding| async move {
        say("resolve_once", "asking");
        match resolve(passive, &binding, "127.0.0.1", "80", Hints::default()).await {
            Ok(list) => say("resolve_once", format_args!("got {}", list.iter().count())),
            Err(error) => say("resolve_once", format_args!("got {error:?}")),
        }
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 80));
        match resolve_name(passive, &binding, address, NameHints::default()).await {
            Ok(_) => say("resolve_once", "then a name"),
            Err(error) => say("resolve_once", format_args!("then {error:?}")),
        }
        Ok::<(), Failure>(())
    })
    .await
}
