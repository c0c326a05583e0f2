//! Numbers that stand for something.

/// An enumeration that goes over the wire as a number of 32 bits.
macro_rules! wire_enum {
    ($(#[$of:meta])* $name:ident { $($(#[$of_one:meta])* $one:ident = $number:literal $text:literal,)* }) => {
        $(#[$of])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u32)]
        pub enum $name {
            $($(#[$of_one])* $one = $number,)*
        }

        impl $name {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$one),*];

            /// What a number stands for, if it stands for something.
            pub const fn from_wire(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$one),)*
                    _ => None,
                }
            }

            /// Its number.
            pub const fn to_wire(self) -> u32 {
                self as u32
            }

            /// Its name, for people and for machines.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$one => $text,)*
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

pub(crate) use wire_enum;
