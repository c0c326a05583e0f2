//! Settings, written to where the next load reads them.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::fmt::{self, Write};

use wdk_sys::WDFDRIVER;
use wsk::NtStatus;

use super::settings::{Kind, MOST_NAME, Protocols, Settings};
use super::value::Text;
use crate::registry::{MOST_TEXT, WritableKey};
use crate::wdf::{Key, Wide};

/// Writes a service's settings under its name. Where there is no key `Services` yet, the `others` that the values of before make
/// are written too, since nobody will look at those values any more.
///
/// # Errors
/// The registry's status.
pub(crate) fn save<'a>(
    driver: WDFDRIVER,
    settings: &Settings,
    others: impl Iterator<Item = &'a Settings>,
) -> Result<(), NtStatus> {
    let parameters = Key::parameters_to_write(driver)?;
    let (services, is_new) = WritableKey::below(&parameters, &Wide::<8>::new("Services").as_unicode())?;
    if is_new {
        for other in others {
            write(&services, other)?;
        }
    }
    write(&services, settings)
}

/// Deletes what is written of a service; nothing happens if nothing is.
///
/// # Errors
/// The registry's status.
pub(crate) fn forget(driver: WDFDRIVER, settings: &Settings) -> Result<(), NtStatus> {
    let parameters = Key::parameters_to_write(driver)?;
    let services = match parameters.open(&Wide::<8>::new("Services").as_unicode()) {
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(()),
        services => services?,
    };
    let name = Wide::<MOST_NAME>::new(settings.name.as_str());
    match services.open(&name.as_unicode()) {
        Err(NtStatus::OBJECT_NAME_NOT_FOUND) => return Ok(()),
        found => drop(found?),
    }
    let (key, _) = WritableKey::below(&services, &name.as_unicode())?;
    key.delete()
}

fn write(services: &WritableKey, settings: &Settings) -> Result<(), NtStatus> {
    let key = services.child(&Wide::<MOST_NAME>::new(settings.name.as_str()).as_unicode())?;
    key.text("Kind", settings.kind.name())?;
    key.text("Protocol", settings.protocols.name())?;
    key.text("Address", in_text(format_args!("{}", settings.addresses)).as_str())?;
    if let Some(target) = &settings.target {
        key.text("Target", in_text(format_args!("{target}")).as_str())?;
    }
    key.number("Port", settings.port.into())?;
    key.number("MaxConnections", settings.max_connections)?;
    key.number("MaxBytes", u32::try_from(settings.max_bytes).unwrap_or(u32::MAX))?;
    key.number("BufferSize", settings.buffer_size)?;
    key.number("IdleTimeoutMs", settings.idle_timeout.map_or(0, |limit| limit.as_millis() as u32))?;
    key.number("RatePerSource", settings.rate_per_source)
}

fn in_text(arguments: fmt::Arguments<'_>) -> Text<MOST_TEXT> {
    let mut text = Text::EMPTY;
    // It never fails; what is too long is cut off.
    let _ = text.write_fmt(arguments);
    text
}

impl<const N: usize> Write for Text<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.push(byte));
        Ok(())
    }
}

impl Kind {
    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, kind)| *kind == self).map_or("", |(name, _)| name)
    }
}

impl Protocols {
    const fn name(self) -> &'static str {
        match self {
            Self { tcp: true, udp: true } => "both",
            Self { udp: true, .. } => "udp",
            Self { .. } => "tcp",
        }
    }
}
