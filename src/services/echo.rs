//! Echo (RFC 862): what a peer sends comes back, and its FIN is answered by ours when everything has.
//!
//! # IRQL
//! `<= DISPATCH_LEVEL`.

use wsk::{IoError, TcpStream};

use super::exchange::{self, Answer};
use super::session::Session;

/// Serves one connection.
pub(super) async fn serve(stream: &mut TcpStream, session: &Session) -> Result<(), IoError> {
    exchange::serve(stream, session, Answer::Same).await
}
