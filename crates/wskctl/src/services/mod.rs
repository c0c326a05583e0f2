//! `wskctl services`: what the driver serves; [`list`] shows it, [`run`](self::run()) starts and stops it, [`set`] changes it.

mod list;
mod running;
mod set;

use clap::{Args, Subcommand};
use control_abi::Text;
use control_abi::services::{FROM_REGISTRY, RemoveRequest, SaveRequest};
use control_abi::settings::MOST_NAME;

use crate::failure::Failure;
use crate::tool::{Tool, name_of};
pub(crate) use list::{kind, listens_at, state};

/// What to do with services.
#[derive(Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Subcommand)]
enum Action {
    /// List them (this is done without a subcommand, too)
    List,
    /// Start one that is stopped
    Start(running::Start),
    /// Stop one: it accepts no more, and its connections get some time to end
    Stop(running::Stop),
    /// Make one, or change one that there is
    ///
    /// What is not said stays as it is; a new one has the defaults of its kind. A service that runs is stopped, and starts again
    /// as it is wanted. It is gone with the driver unless it is saved.
    Set(set::Arguments),
    /// Write one to the registry, from where the next load of the driver reads it
    Save(Named),
    /// Stop one at once and forget it
    Remove(Remove),
}

#[derive(Args)]
struct Named {
    /// The service
    name: String,
}

#[derive(Args)]
struct Remove {
    /// The service
    name: String,
    /// Forget it in the registry, too
    #[arg(long)]
    saved: bool,
}

/// Does it.
pub(crate) fn run(tool: &Tool, arguments: &Arguments) -> Result<(), Failure> {
    match &arguments.action {
        None | Some(Action::List) => list::run(tool),
        Some(Action::Start(start)) => running::start(tool, start),
        Some(Action::Stop(stop)) => running::stop(tool, stop),
        Some(Action::Set(arguments)) => set::run(tool, arguments),
        Some(Action::Save(Named { name })) => save(tool, name),
        Some(Action::Remove(arguments)) => remove(tool, arguments),
    }
}

fn save(tool: &Tool, name: &str) -> Result<(), Failure> {
    let service = tool.service(name)?;
    tool.order("saving", &SaveRequest::new(service.settings.name, 0))?;
    told(tool, name, "saved: it is there at the next load, too")
}

fn remove(tool: &Tool, Remove { name, saved }: &Remove) -> Result<(), Failure> {
    let service = tool.service(name)?;
    let option = if *saved { FROM_REGISTRY } else { 0 };
    tool.order("removing", &RemoveRequest::new(service.settings.name, option))?;
    match tool.output().is_json() {
        true => Ok(()),
        false => tool.output().line(&format!("{}: removed", name_of(&service))),
    }
}

/// Prints what was done, or how the service is now.
fn told(tool: &Tool, name: &str, done: &str) -> Result<(), Failure> {
    let service = tool.service(name)?;
    match tool.output().is_json() {
        true => tool.output().json(&list::Listed::of(&service)),
        false => tool.output().line(&format!("{}: {done}", name_of(&service))),
    }
}

/// The name of a service, of which there may be none yet.
fn new_name(name: &str) -> Result<Text<MOST_NAME>, Failure> {
    let text = Text::new(name).filter(|text| control_abi::settings::check_name(text).is_ok());
    text.ok_or_else(|| {
        Failure::usage(format!("a service's name is 1 to {MOST_NAME} characters of ASCII without \\, not {name:?}"))
    })
}
