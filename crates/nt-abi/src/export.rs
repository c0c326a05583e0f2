//! [`Export`]: one line of an import table, as the crates that stand in for kernel modules publish them.
#![allow(unsafe_code)] // A table of addresses is shared between threads.

/// A function or variable that a driver can import.
#[derive(Clone, Copy, Debug)]
pub struct Export {
    /// The module that exports it, in lower case with its extension: `ntoskrnl.exe`, `netio.sys`, `wdfldr.sys`.
    pub module: &'static str,
    /// The exported name.
    pub name: &'static str,
    /// Its address.
    pub address: *const (),
}

// SAFETY: the address is that of a function or of a static that lives as long as the program.
unsafe impl Sync for Export {}
// SAFETY: as for `Sync`.
unsafe impl Send for Export {}

impl Export {
    /// An export of `module` called `name` at `address`.
    pub const fn new(module: &'static str, name: &'static str, address: *const ()) -> Export {
        Export { module, name, address }
    }
}

/// Makes a table of exports from functions whose Rust names are the exported names:
/// `nt_abi::export_table!(pub EXPORTS, "netio.sys", [NmrRegisterClient, NmrDeregisterClient]);`
#[macro_export]
macro_rules! export_table {
    ($vis:vis $table:ident, $module:literal, [$($name:ident),* $(,)?]) => {
        /// What this file exports.
        $vis const $table: &[$crate::Export] =
            &[$($crate::Export::new($module, stringify!($name), $name as *const ())),*];
    };
}
