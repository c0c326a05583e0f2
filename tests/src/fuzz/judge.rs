//! What is wrong with an answer.

use control_abi::events::Event;
use control_abi::resolve::Resolved;
use control_abi::services::Service;
use control_abi::sockets::Socket;
use control_abi::traffic::{Report, Started};
use control_abi::version::Version;
use control_abi::{Command, Page, State};
use ntbench::{Bench, Handle, IoctlError, NtStatus};

use super::Input;

/// Sends a request and judges the answer.
///
/// # Errors
/// What is wrong with it.
pub fn judge(bench: &Bench, device: &Handle, input: &Input) -> Result<Option<IoctlError>, String> {
    let answer = device.ioctl(input.code, &input.bytes, input.room);
    match (input.parsed(), answer) {
        (Err(refusal), Err(error)) => {
            let wanted = IoctlError { status: NtStatus(refusal.status()), information: refusal.needed() };
            if error == wanted { Ok(Some(error)) } else { Err(format!("{error}, but {refusal}: {wanted}")) }
        }
        (Err(refusal), Ok(answer)) => Err(format!("{} bytes were answered, but {refusal}", answer.len())),
        (Ok(command), Ok(answer)) => {
            check_length(&command, &answer)?;
            check_bytes(bench, &answer).map(|()| None)
        }
        (Ok(_), Err(error)) => check_failure(error).map(Some),
    }
}

/// What a right request can fail with.
fn check_failure(error: IoctlError) -> Result<IoctlError, String> {
    const WRONG: [NtStatus; 4] =
        [NtStatus::INVALID_DEVICE_REQUEST, NtStatus::BUFFER_TOO_SMALL, NtStatus::ACCESS_VIOLATION, NtStatus::UNSUCCESSFUL];
    if WRONG.contains(&error.status) || error.information != 0 {
        return Err(format!("{error}, but nothing is wrong with the request"));
    }
    Ok(error)
}

/// The answer is what a tool can read.
fn check_length(command: &Command, answer: &[u8]) -> Result<(), String> {
    let read = match command {
        Command::State => State::read(answer).map(drop),
        Command::Version => Version::read(answer).map(drop),
        Command::Resolve(_) => Resolved::read(answer).map(drop),
        Command::Sockets(_) => Page::<Socket>::read(answer).map(drop),
        Command::Services(_) => Page::<Service>::read(answer).map(drop),
        Command::Events(_) => Page::<Event>::read(answer).map(drop),
        Command::TrafficStart(_) => Started::read(answer).map(drop),
        Command::TrafficAsk { .. } => Report::read(answer).map(drop),
        Command::TrafficList(_) => Page::<Report>::read(answer).map(drop),
        _ if answer.is_empty() => Ok(()),
        _ => return Err(format!("{} bytes were answered where there is no answer", answer.len())),
    };
    read.map_err(|error| format!("{} bytes were answered: {error}", answer.len()))
}

/// No address of the kernel's goes out, and no memory that nobody has written.
fn check_bytes(bench: &Bench, answer: &[u8]) -> Result<(), String> {
    for (at, bytes) in answer.windows(8).enumerate() {
        let number = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        if number == Handle::UNWRITTEN {
            return Err(format!("the answer's bytes from {at} on were never written"));
        }
        // What is no address of a Linux process need not be looked up.
        let is_address = (1 << 16..1 << 47).contains(&number) && bench.is_kernel_address(number as usize);
        if is_address {
            return Err(format!("a kernel address in the answer's bytes from {at} on: {number:#x}"));
        }
    }
    Ok(())
}
