//! The list of services, and what is done with one.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::page::{self, PageRequest};
use crate::settings::{MOST_NAME, Settings, check_name};
use crate::wire::wire_enum;
use crate::{Ask, Refusal, Request, RequestHeader, Text, Totals};

/// Asks for a page of [`Service`]s.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(transparent)]
pub struct ServicesRequest(pub PageRequest);

impl ServicesRequest {
    /// For the page at a cursor.
    pub const fn at(cursor: u64) -> Self {
        Self(PageRequest::at(cursor))
    }
}

impl Ask for ServicesRequest {
    const REQUEST: Request = Request::Services;
    const LEAST_ROOM: usize = page::room::<Service>(1);
}

wire_enum! {
    /// Where a service stands.
    ServiceState {
        /// It does not run.
        Stopped = 1 "stopped",
        /// It is to run, but there is no binding.
        Waiting = 2 "waiting",
        /// It runs, but listens nowhere yet.
        Starting = 3 "starting",
        /// It listens at some of its addresses, not at all.
        Partly = 4 "partly",
        /// It listens at all of its addresses.
        Running = 5 "running",
        /// Its connections are being ended.
        Stopping = 6 "stopping",
    }
}

wire_enum! {
    /// What a service has to do with the registry.
    Origin {
        /// It is as the registry has it.
        Saved = 1 "saved",
        /// The registry has it, but other settings, or it was started or stopped by hand.
        Changed = 2 "changed",
        /// It was made by hand: the registry does not have it, and it ends with the driver.
        ByHand = 3 "by hand",
    }
}

/// A service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Service {
    /// Its number, which no other service or traffic job has while the driver is loaded; its sockets name it. Each start gives a
    /// new one.
    pub id: u64,
    /// A [`ServiceState`].
    pub state: u32,
    /// An [`Origin`].
    pub origin: u32,
    /// Sockets at which it listens.
    pub listening: u32,
    /// How many it is to have.
    pub places: u32,
    /// The NTSTATUS with which listening failed last, for as long as it does not listen everywhere; else 0.
    pub status: i32,
    /// The port of a socket at which it listens, where it asked for one that the provider chooses; else that which it asked for.
    pub port: u32,
    /// Its settings.
    pub settings: Settings,
    /// What it did since it was made, or changed.
    pub totals: Totals,
}

macro_rules! named_request {
    ($(#[$of:meta])* $name:ident, $request:ident, $check:expr) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name {
            /// How every request begins.
            pub header: RequestHeader,
            /// The service's name.
            pub name: Text<MOST_NAME>,
            /// What this request takes besides, else 0.
            pub option: u32,
            /// 0.
            pub reserved: u32,
        }

        impl $name {
            /// The request for the service of this name.
            pub const fn new(name: Text<MOST_NAME>, option: u32) -> Self {
                Self { header: RequestHeader::CURRENT, name, option, reserved: 0 }
            }

            /// Checks every field.
            ///
            /// # Errors
            /// What is wrong.
            pub fn checked(&self) -> Result<Named, Refusal> {
                check_name(&self.name)?;
                let good: fn(u32) -> bool = $check;
                if !good(self.option) {
                    return Err(Refusal::Field("option"));
                }
                if self.reserved != 0 {
                    return Err(Refusal::Reserved);
                }
                Ok(Named { name: self.name, option: self.option })
            }
        }

        impl Ask for $name {
            const REQUEST: Request = Request::$request;
            const LEAST_ROOM: usize = 0;
        }
    };
}

/// A service by its name, with an option; see the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The service's name.
    pub name: Text<MOST_NAME>,
    /// See the request.
    pub option: u32,
}

/// The longest grace for the connections of a service that is being stopped, in milliseconds.
pub const MOST_GRACE_MS: u32 = 600_000;

/// Of [`RemoveRequest`]: the registry is to forget it, too.
pub const FROM_REGISTRY: u32 = 1;

named_request!(
    /// Starts a service; nothing happens if it runs. The option is 0.
    StartRequest,
    ServiceStart,
    |option| option == 0
);
named_request!(
    /// Begins to stop a service, and returns: it accepts no more, and its connections have as many milliseconds as the option says, at
    /// most [`MOST_GRACE_MS`], to end gracefully (L26). It is stopped when the list or an event says so.
    StopRequest,
    ServiceStop,
    |option| option <= MOST_GRACE_MS
);
named_request!(
    /// Writes a service to the registry. The option is 0.
    SaveRequest,
    ServiceSave,
    |option| option == 0
);
named_request!(
    /// Stops a service at once and forgets it; with [`FROM_REGISTRY`] as the option, for good.
    RemoveRequest,
    ServiceRemove,
    |option| option & !FROM_REGISTRY == 0
);

/// Of [`SetRequest`]: it is to run afterwards.
pub const AND_START: u32 = 1;
/// Of [`SetRequest`]: a service of that name must not be there yet.
pub const ONLY_NEW: u32 = 2;

/// Adds a service, which is stopped then, or changes one. A service that runs is stopped at once and starts again with the new
/// settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct SetRequest {
    /// How every request begins.
    pub header: RequestHeader,
    /// A sum of [`AND_START`] and [`ONLY_NEW`].
    pub flags: u32,
    /// 0.
    pub reserved: u32,
    /// The settings.
    pub settings: Settings,
}

/// A service to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Set {
    /// It is to run afterwards.
    pub and_start: bool,
    /// It must not be there yet.
    pub only_new: bool,
    /// Its settings, which have been checked.
    pub settings: Settings,
}

impl SetRequest {
    /// The request for these settings.
    pub const fn new(settings: Settings, flags: u32) -> Self {
        Self { header: RequestHeader::CURRENT, flags, reserved: 0, settings }
    }

    /// Checks every field.
    ///
    /// # Errors
    /// What is wrong.
    pub fn checked(&self) -> Result<Set, Refusal> {
        if self.flags & !(AND_START | ONLY_NEW) != 0 {
            return Err(Refusal::Field("flags"));
        }
        if self.reserved != 0 {
            return Err(Refusal::Reserved);
        }
        self.settings.checked()?;
        let (and_start, only_new) = (self.flags & AND_START != 0, self.flags & ONLY_NEW != 0);
        Ok(Set { and_start, only_new, settings: self.settings })
    }
}

impl Ask for SetRequest {
    const REQUEST: Request = Request::ServiceSet;
    const LEAST_ROOM: usize = 0;
}
