//! On Linux: a driver on the bench, by the bench's own socket.

use std::io::ErrorKind;
use std::path::PathBuf;

use bench_wire::frame::{Client, Question, Reply};
use bench_wire::place;
use clap::Args;

use super::{ControlError, Device, Handle};
use crate::failure::Failure;
use crate::ntstatus::NtStatus;

const NAME: &str = r"\\.\WskClient";

/// Which driver to talk to.
#[derive(Args)]
pub(crate) struct Connection {
    /// The socket of the bench to talk to; needed only while several are running
    #[arg(long, global = true, value_name = "PATH", env = "WSKCTL_SOCKET")]
    socket: Option<PathBuf>,
}

impl Connection {
    fn path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        match place::running().as_slice() {
            [] => Err(Failure::NoBench),
            [only] => Ok(only.clone()),
            several => Err(Failure::SeveralBenches(several.to_vec())),
        }
    }
}

impl Device for Connection {
    fn open(&self) -> Result<Box<dyn Handle>, Failure> {
        let path = self.path()?;
        let connected = Client::connect(&path);
        let mut client = connected.map_err(|error| match error.kind() {
            ErrorKind::PermissionDenied => Failure::NoRights,
            _ => Failure::NotABench(path, error),
        })?;
        let Reply { status, .. } = client.ask(&Question::Open(NAME.to_owned())).map_err(|_| Failure::Gone)?;
        match NtStatus(status) {
            status if status.is_success() => Ok(Box::new(Opened(client))),
            NtStatus::OBJECT_NAME_NOT_FOUND => Err(Failure::NotLoaded),
            NtStatus::ACCESS_DENIED => Err(Failure::NoRights),
            status => Err(Failure::Unopened(status.to_string())),
        }
    }
}

struct Opened(Client);

impl Handle for Opened {
    fn control(&mut self, code: u32, input: &[u8], room: usize) -> Result<Vec<u8>, ControlError> {
        let question = Question::Control { code, input: input.to_vec(), room };
        let Reply { status, output, .. } = self.0.ask(&question).map_err(|_| ControlError::Failure(Failure::Gone))?;
        match NtStatus(status) {
            status if status.is_success() => Ok(output),
            status => Err(ControlError::Status(status)),
        }
    }
}
