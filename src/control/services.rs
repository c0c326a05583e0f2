//! The list of services, and what is done with one.
//!
//! # IRQL
//! `PASSIVE_LEVEL`.

use core::time::Duration;

use control_abi::page::{END, PageHeader, entries_in};
use control_abi::services::{FROM_REGISTRY, Named, Service, Set};
use wsk::NtStatus;

use super::io::{Answer, Output};
use crate::driver::Driver;
use crate::parameters::Settings;
use crate::services::Services;

/// Answers with a page of services, from the one after that number.
pub(super) fn list(services: &Services, after: u64, output: &mut Output<'_>) -> Answer {
    let most = entries_in::<Service>(output.room());
    let (mut number, mut count) = (after, 0);
    let mut next = END;
    while let Some((its, service)) = services.describe_after(number) {
        if count == most {
            next = number;
            break;
        }
        output.entry(count, &service)?;
        (number, count) = (its, count + 1);
    }
    let (total, mark) = services.count();
    output.page::<Service>(PageHeader { version: 0, count: count as u32, next, total, mark })
}

/// Starts one.
pub(super) fn start(services: &Services, named: &Named) -> Answer {
    Ok(services.start_one(name(named)?).map(|()| 0)?)
}

/// Begins to stop one.
pub(super) fn stop(services: &Services, named: &Named) -> Answer {
    Ok(services.stop_one(name(named)?, Duration::from_millis(named.option.into())).map(|()| 0)?)
}

/// Adds or changes one.
pub(super) fn set(services: &Services, set: &Set) -> Answer {
    let settings = Settings::of_wire(&set.settings).ok_or(NtStatus::INVALID_PARAMETER)?;
    Ok(services.set_one(settings, set.and_start, set.only_new).map(|()| 0)?)
}

/// Writes one to the registry.
pub(super) fn save(driver: &Driver, named: &Named) -> Answer {
    Ok(driver.save_service(name(named)?).map(|()| 0)?)
}

/// Stops one and forgets it.
pub(super) fn remove(driver: &Driver, named: &Named) -> Answer {
    Ok(driver.remove_service(name(named)?, named.option & FROM_REGISTRY != 0).map(|()| 0)?)
}

fn name(named: &Named) -> Result<&str, NtStatus> {
    named.name.as_str().ok_or(NtStatus::INVALID_PARAMETER)
}
