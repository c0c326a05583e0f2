//! A handle may outlive its binding, but not unnoticed: every operation answers with a `Result`, and its error has a case for
//! it that a `match` has to name.

use wsk::{Buffer, IoError, TcpStream, TransferError};

pub async fn the_end_is_an_error(stream: &mut TcpStream, buffer: Buffer) -> Result<Buffer, TransferError> {
    stream.receive(buffer).await
}

#[cfg(wrong)]
pub async fn no_operation_just_succeeds(stream: &mut TcpStream, buffer: Buffer) -> Buffer {
    stream.receive(buffer).await //~ mismatched types
}

pub fn a_match_names_the_end(error: IoError) -> bool {
    match error {
        IoError::Detached => true,
        IoError::OutOfMemory | IoError::Cancelled | IoError::Provider(_) => false,
    }
}

#[cfg(wrong)]
pub fn and_cannot_leave_it_out(error: IoError) -> bool {
    match error {
        //~ non-exhaustive patterns: `IoError::Detached` not covered
        IoError::OutOfMemory | IoError::Cancelled | IoError::Provider(_) => false,
    }
}
