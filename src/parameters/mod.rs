//! The settings under the service key's `Parameters`. A value that cannot be used is traced, with what is used instead; it
//! never fails the load.
//!
//! Each key below `Parameters\Services` is a service of that name. Where there is no such key, the values of `Parameters`
//! itself make one service `echo`, as they did before; where there is one, they are not looked at, but for `StopGraceMs`.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

mod addresses;
mod save;
mod settings;
mod value;
mod wire;

use core::time::Duration;

use allocator_api2::vec::Vec;
use wdk_sys::WDFDRIVER;
use wsk::sync::{Pool, tag, try_push};
use wsk::{NtStatus, OutOfMemory};

use crate::log;
use crate::wdf::{Key, KeyName, Wide};

use settings::MOST_NAME;
pub(crate) use save::{forget, save};
pub(crate) use settings::{HostName, Kind, MOST_DATAGRAM, Settings, Target};
use value::{Source, Text};

/// How many services there are at most.
pub(crate) const MOST_SERVICES: usize = 32;
/// How many keys below `Services` are looked at: whoever wrote more of them did not do it by hand.
const MOST_LOOKED_AT: u32 = 1024;

/// The settings of all services.
pub(crate) type SettingsList = Vec<Settings, Pool<{ tag(b"WskV") }>>;

/// The settings.
pub(crate) struct Parameters {
    pub(crate) services: SettingsList,
    pub(crate) stop_grace: Duration,
}

impl Parameters {
    /// Reads them.
    ///
    /// # Errors
    /// No memory.
    pub(crate) fn read(driver: WDFDRIVER) -> Result<Self, OutOfMemory> {
        let key = Key::parameters(driver);
        if let Err(status) = &key {
            log!("no Parameters key ({status}): using the defaults");
        }
        let key = key.ok();
        let source = Source { key: key.as_ref(), prefix: "" };
        let mut services = SettingsList::new_in(Pool);
        match source.key.and_then(services_key) {
            Some(below) => {
                tell_ignored(&source);
                read_services(&below, &mut services)?;
            }
            None => try_push(&mut services, Settings::of_old(&source))?,
        }
        let stop_grace = Duration::from_millis(source.number("StopGraceMs", 0, 0..=600_000).into());
        Ok(Self { services, stop_grace })
    }
}

/// The key `Services`, if there is one.
fn services_key(parameters: &Key) -> Option<Key> {
    match parameters.open(&Wide::<8>::new("Services").as_unicode()) {
        Ok(key) => Some(key),
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => None,
        Err(status) => {
            log!("Services cannot be opened ({status}): using the values of Parameters");
            None
        }
    }
}

/// Says which values of before do nothing any more.
fn tell_ignored(source: &Source) {
    const OLD: [&str; 5] = ["EchoPort", "EchoAddress", "MaxConnections", "MaxBytes", "BufferSize"];
    for name in OLD.into_iter().filter(|name| source.has(name)) {
        log!("{name} is not looked at, for there is a key Services");
    }
}

/// Reads every service below the key.
fn read_services(services: &Key, list: &mut SettingsList) -> Result<(), OutOfMemory> {
    let mut too_many = 0;
    for number in 0..MOST_LOOKED_AT {
        let child = match services.child(number) {
            Ok(Some(child)) => child,
            Ok(None) => break,
            Err(status) => {
                log!("Services cannot be read on after {number} keys ({status}): the rest is left out");
                break;
            }
        };
        if list.len() >= MOST_SERVICES {
            too_many += 1;
        } else if let Some(settings) = read_service(services, &child) {
            try_push(list, settings)?;
        }
    }
    if too_many > 0 {
        log!("Services has more than {MOST_SERVICES}: the last {too_many} are left out");
    }
    if list.is_empty() {
        log!("Services has none that can be started");
    }
    Ok(())
}

/// Reads the service of that name; `None` if it cannot be one, which is traced.
fn read_service(services: &Key, child: &KeyName) -> Option<Settings> {
    let name = Text::<MOST_NAME>::of(child.units().iter().copied());
    if name.is_cut() {
        log!("Services\\{name}: a name longer than {MOST_NAME} characters: left out");
        return None;
    }
    let mut prefix = Text::<{ MOST_NAME + 16 }>::EMPTY;
    "Services\\".bytes().chain(name.as_str().bytes()).chain(*b"\\").for_each(|byte| prefix.push(byte));
    match services.open(&child.as_unicode()) {
        Ok(key) => Settings::of_key(&Source { key: Some(&key), prefix: prefix.as_str() }, name),
        Err(status) => {
            log!("Services\\{name} cannot be opened ({status}): left out");
            None
        }
    }
}
