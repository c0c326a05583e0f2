//! Stands in for the `windows` crate when wdk-build is compiled on another system: a registry without keys.
#![allow(non_snake_case, missing_docs, dead_code)]

pub mod core {
    pub use crate::s;

    #[derive(Clone, Copy)]
    pub struct PCSTR(pub *const u8);
}

#[macro_export]
macro_rules! s {
    ($text:literal) => {
        $crate::core::PCSTR(concat!($text, "\0").as_ptr())
    };
}

pub mod Win32 {
    pub mod System {
        pub mod Registry {
            use crate::core::PCSTR;

            #[derive(Clone, Copy)]
            pub struct HKEY(*const ());
            pub const HKEY_LOCAL_MACHINE: HKEY = HKEY(std::ptr::null());
            pub const KEY_READ: u32 = 0x20019;
            pub const RRF_RT_REG_SZ: u32 = 2;

            impl Default for HKEY {
                fn default() -> Self {
                    HKEY_LOCAL_MACHINE
                }
            }

            /// ERROR_FILE_NOT_FOUND, always.
            pub struct NotFound;

            impl NotFound {
                pub fn is_ok(&self) -> bool {
                    false
                }

                pub fn ok(self) -> Result<(), &'static str> {
                    Err("there is no registry here")
                }
            }

            impl NotFound {
                fn new() -> Self {
                    Self
                }
            }

            pub unsafe fn RegOpenKeyExA(_: HKEY, _: PCSTR, _: Option<u32>, _: u32, _: *mut HKEY) -> NotFound {
                NotFound::new()
            }

            pub unsafe fn RegGetValueA(
                _: HKEY,
                _: Option<PCSTR>,
                _: PCSTR,
                _: u32,
                _: Option<*mut u32>,
                _: Option<*mut std::ffi::c_void>,
                _: Option<*mut u32>,
            ) -> NotFound {
                NotFound::new()
            }

            pub unsafe fn RegCloseKey(_: HKEY) -> NotFound {
                NotFound::new()
            }
        }
    }
}
