//! What can be asked for, and under which IOCTL code.
//!
//! [CTL_CODE](https://learn.microsoft.com/windows-hardware/drivers/kernel/defining-i-o-control-codes): the device type is
//! FILE_DEVICE_NETWORK, the method METHOD_BUFFERED; what changes something needs a handle with write access.

const FILE_DEVICE_NETWORK: u32 = 0x12;
const METHOD_BUFFERED: u32 = 0;
const FILE_READ_ACCESS: u32 = 1;
const FILE_WRITE_ACCESS: u32 = 2;

/// CTL_CODE of the DDK.
const fn control_code(function: u32, access: u32) -> u32 {
    FILE_DEVICE_NETWORK << 16 | access << 14 | function << 2 | METHOD_BUFFERED
}

const fn to_read(function: u32) -> u32 {
    control_code(function, FILE_READ_ACCESS)
}

const fn to_change(function: u32) -> u32 {
    control_code(function, FILE_READ_ACCESS | FILE_WRITE_ACCESS)
}

macro_rules! requests {
    ($($(#[$of_one:meta])* $one:ident = $access:ident($function:literal),)*) => {
        /// What a tool can ask for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum Request {
            $($(#[$of_one])* $one = $access($function),)*
        }

        impl Request {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one),*];
        }
    };
}

requests! {
    /// [`State`](crate::State) comes back.
    State = to_read(0x800),
    /// Deregister from WSK, without unloading; returns once every connection and the binding are gone (L33).
    Deactivate = to_change(0x801),
    /// Register with WSK again.
    Activate = to_change(0x802),
    /// Nothing, and nothing comes back: what a request costs by itself.
    NoOp = to_read(0x803),
    /// [`Version`](crate::version::Version) comes back.
    Version = to_read(0x804),
    /// A page of [`Socket`](crate::sockets::Socket)s comes back.
    Sockets = to_read(0x805),
    /// A page of [`Service`](crate::services::Service)s comes back.
    Services = to_read(0x806),
    /// Start a service.
    ServiceStart = to_change(0x807),
    /// Begin to stop a service.
    ServiceStop = to_change(0x808),
    /// Add a service or change one.
    ServiceSet = to_change(0x809),
    /// Write a service to the registry, from where the next load reads it.
    ServiceSave = to_change(0x80a),
    /// Stop a service and forget it.
    ServiceRemove = to_change(0x80b),
    /// [`Resolved`](crate::resolve::Resolved) comes back, by the provider's resolution of names.
    Resolve = to_read(0x80c),
    /// A page of [`Event`](crate::events::Event)s comes back, at once or when there are some.
    Events = to_read(0x80d),
    /// Start a job of traffic; [`Started`](crate::traffic::Started) comes back.
    TrafficStart = to_change(0x810),
    /// [`Report`](crate::traffic::Report) of a job comes back.
    TrafficAsk = to_read(0x811),
    /// Have a job end.
    TrafficCancel = to_change(0x812),
    /// A page of [`Report`](crate::traffic::Report)s comes back.
    TrafficList = to_read(0x813),
}

impl Request {
    /// The request with this code, if there is one.
    pub fn from_code(code: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|request| request.code() == code)
    }

    /// Its IOCTL code.
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// Whether it changes something, and so needs a handle that was opened for writing too.
    pub const fn changes(self) -> bool {
        self.code() >> 14 & FILE_WRITE_ACCESS != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_that_the_ddk_macro_makes() {
        assert_eq!(Request::State.code(), 0x0012_6000);
        assert_eq!(Request::Deactivate.code(), 0x0012_e004);
        assert_eq!(Request::from_code(0x0012_e008), Some(Request::Activate));
        assert_eq!(Request::from_code(0x0012_6008), None);
        assert!(Request::Activate.changes() && !Request::Events.changes());
    }

    #[test]
    fn each_request_has_a_code_of_its_own() {
        for request in Request::ALL {
            assert_eq!(Request::from_code(request.code()), Some(*request));
        }
    }
}
