//! [`Tool`]: the driver as commands see it. Each request opens the device and closes it again (L38).

use control_abi::{Request, RequestHeader, State};
use zerocopy::{FromBytes, IntoBytes};

use crate::device::{Connection, ControlError, Device};
use crate::failure::Failure;
use crate::ntstatus::NtStatus;
use crate::output::Output;

/// The driver, and where to print.
pub(crate) struct Tool {
    device: Box<dyn Device>,
    output: Output,
}

impl Tool {
    /// The driver behind a connection.
    pub(crate) fn new(connection: Connection, output: Output) -> Self {
        Self { device: Box::new(connection), output }
    }

    /// Where to print.
    pub(crate) const fn output(&self) -> Output {
        self.output
    }

    /// The state of the driver.
    pub(crate) fn state(&self) -> Result<State, Failure> {
        let answer = self.ask("asking for the state", Request::State, RequestHeader::CURRENT.as_bytes(), size_of::<State>())?;
        State::read_from_bytes(&answer)
            .map_err(|_| Failure::Nonsense { what: "the state", why: format!("{} bytes", answer.len()) })
    }

    /// A request that has neither parameters nor an answer.
    pub(crate) fn order(&self, request: Request) -> Result<(), Failure> {
        let what = match request {
            Request::State => "asking for the state",
            Request::Deactivate => "deactivating",
            Request::Activate => "activating",
        };
        self.ask(what, request, RequestHeader::CURRENT.as_bytes(), 0).map(drop)
    }

    /// Opens, asks, closes.
    fn ask(&self, what: &'static str, request: Request, input: &[u8], room: usize) -> Result<Vec<u8>, Failure> {
        let mut handle = self.device.open()?;
        handle.control(request as u32, input, room).map_err(|error| match error {
            ControlError::Status(NtStatus::REVISION_MISMATCH) => Failure::OtherVersion { driver: 0, ours: control_abi::VERSION },
            ControlError::Status(status) => Failure::Refused { what, status },
            ControlError::Failure(failure) => failure,
        })
    }
}
