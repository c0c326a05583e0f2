//! The one way in: code, input and room of a request to what is to be done, or to how it is refused.

use crate::events::{Events, EventsRequest};
use crate::resolve::{Resolve, ResolveRequest};
use crate::services::{Named, RemoveRequest, SaveRequest, ServicesRequest, Set, SetRequest, StartRequest, StopRequest};
use crate::sockets::{Cursor, SocketsRequest};
use crate::state::{ActivateRequest, DeactivateRequest, NoOpRequest, StateRequest};
use crate::version::VersionRequest;
use crate::{Ask, Refusal, Request, traffic};

/// What is to be done. Everything in it has been checked, and none of it is in the request's buffer any more, where the
/// answer is going to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it is made once per request, on the stack, and a box would take memory")]
pub enum Command {
    /// [`Request::State`]
    State,
    /// [`Request::Deactivate`]
    Deactivate,
    /// [`Request::Activate`]
    Activate,
    /// [`Request::NoOp`]
    NoOp,
    /// [`Request::Version`]
    Version,
    /// [`Request::Sockets`]
    Sockets(Cursor),
    /// [`Request::Services`], from the service after this number.
    Services(u64),
    /// [`Request::ServiceStart`]
    ServiceStart(Named),
    /// [`Request::ServiceStop`]
    ServiceStop(Named),
    /// [`Request::ServiceSet`]
    ServiceSet(Set),
    /// [`Request::ServiceSave`]
    ServiceSave(Named),
    /// [`Request::ServiceRemove`]
    ServiceRemove(Named),
    /// [`Request::Resolve`]
    Resolve(Resolve),
    /// [`Request::Events`]
    Events(Events),
    /// [`Request::TrafficStart`]
    TrafficStart(traffic::Wanted),
    /// [`Request::TrafficAsk`]
    TrafficAsk {
        /// The job's number.
        id: u64,
        /// Whether its lease is renewed.
        renew: bool,
    },
    /// [`Request::TrafficCancel`] of the job of this number.
    TrafficCancel(u64),
    /// [`Request::TrafficList`], from the job after this number.
    TrafficList(u64),
}

/// What is to be done for a request with this code, this input and so much room for the answer.
///
/// The first fault decides: the code, the length of the header, the version, the header's reserved field, the length, each
/// field in turn, and the room last.
///
/// # Errors
/// See [`Refusal`].
pub fn parse(code: u32, input: &[u8], room: usize) -> Result<Command, Refusal> {
    match Request::from_code(code).ok_or(Refusal::Unknown)? {
        Request::State => one::<StateRequest>(input, room, |_| Ok(Command::State)),
        Request::Deactivate => one::<DeactivateRequest>(input, room, |_| Ok(Command::Deactivate)),
        Request::Activate => one::<ActivateRequest>(input, room, |_| Ok(Command::Activate)),
        Request::NoOp => one::<NoOpRequest>(input, room, |_| Ok(Command::NoOp)),
        Request::Version => one::<VersionRequest>(input, room, |_| Ok(Command::Version)),
        Request::Sockets => one(input, room, |asked: &SocketsRequest| Cursor::from_wire(asked.0.cursor).map(Command::Sockets)),
        Request::Services => one(input, room, |asked: &ServicesRequest| Ok(Command::Services(asked.0.cursor))),
        Request::ServiceStart => one(input, room, |asked: &StartRequest| asked.checked().map(Command::ServiceStart)),
        Request::ServiceStop => one(input, room, |asked: &StopRequest| asked.checked().map(Command::ServiceStop)),
        Request::ServiceSet => one(input, room, |asked: &SetRequest| asked.checked().map(Command::ServiceSet)),
        Request::ServiceSave => one(input, room, |asked: &SaveRequest| asked.checked().map(Command::ServiceSave)),
        Request::ServiceRemove => one(input, room, |asked: &RemoveRequest| asked.checked().map(Command::ServiceRemove)),
        Request::Resolve => one(input, room, |asked: &ResolveRequest| asked.checked().map(Command::Resolve)),
        Request::Events => one(input, room, |asked: &EventsRequest| asked.checked().map(Command::Events)),
        Request::TrafficStart => {
            one(input, room, |asked: &traffic::StartRequest| asked.asked.checked().map(Command::TrafficStart))
        }
        Request::TrafficAsk => {
            one(input, room, |asked: &traffic::AskRequest| asked.checked().map(|(id, renew)| Command::TrafficAsk { id, renew }))
        }
        Request::TrafficCancel => one(input, room, |asked: &traffic::CancelRequest| Ok(Command::TrafficCancel(asked.id))),
        Request::TrafficList => one(input, room, |asked: &traffic::ListRequest| Ok(Command::TrafficList(asked.0.cursor))),
    }
}

fn one<A: Ask>(input: &[u8], room: usize, check: impl FnOnce(&A) -> Result<Command, Refusal>) -> Result<Command, Refusal> {
    let command = check(A::in_bytes(input)?)?;
    A::has_room(room)?;
    Ok(command)
}
