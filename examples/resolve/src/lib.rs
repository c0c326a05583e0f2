//! Connects to a host by its name: asks for its addresses, tries one after the other, and asks for the name of the one that
//! answers.
#![no_std]

use core::time::Duration;

use wsk::entry::Parameters;
use wsk::{Binding, Error, Hints, NameHints, Passive, Protocol, TcpStream, resolve, resolve_name, timeout};

wsk::driver! { name: "resolve", module: 0x2be8_70f5_3d91_46ac_9e05_c1b7_84fa_630d, main: main }

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Names are resolved at PASSIVE_LEVEL only: these functions take the token, and so they cannot be called from a task of
/// [`wsk::Lane::Dispatch`]. While the answer is awaited the passive thread does other things.
async fn main(binding: Binding, passive: Passive) -> Result<(), Error> {
    let settings = Parameters::open(passive)?;
    let (mut host, mut service) = ([0; 253], [0; 32]);
    let (host, service) = (settings.text("Host", &mut host)?, settings.text("Service", &mut service)?);

    let hints = Hints { protocol: Some(Protocol::Tcp), ..Hints::default() };
    let addresses = resolve(passive, &binding, host, service, hints).await?;
    for address in addresses.iter() {
        match timeout(PATIENCE, TcpStream::connect(&binding, address)).await? {
            Ok(_stream) => {
                let name = resolve_name(passive, &binding, address, NameHints::default()).await?;
                wdk::println!("resolve: connected to {address}, which is {}, {}", name.host(), name.service());
                return Ok(());
            }
            Err(error) => wdk::println!("resolve: {address}: {error}"),
        }
    }
    wdk::println!("resolve: nobody answers at {host}");
    Ok(())
}
