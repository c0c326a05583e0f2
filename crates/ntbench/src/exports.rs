//! The import table: every function that the bench has for drivers, by module and name.

use std::collections::HashMap;
use std::sync::OnceLock;

use nt_abi::Export;

use crate::{bugcheck, dbg, ex, io, ke, mm, ob, ps, registry, rtl};

/// All tables.
const TABLES: &[&[Export]] = &[
    ke::irql::EXPORTS,
    ke::processor::EXPORTS,
    ke::spinlock::EXPORTS,
    ke::dpc::EXPORTS,
    ke::event::EXPORTS,
    ke::wait::EXPORTS,
    ke::timer::EXPORTS,
    ke::time::EXPORTS,
    ex::pool::EXPORTS,
    ex::rundown::EXPORTS,
    io::irp::EXPORTS,
    io::complete::EXPORTS,
    io::cancel::EXPORTS,
    io::device::EXPORTS,
    io::workitem::EXPORTS,
    mm::EXPORTS,
    ob::EXPORTS,
    ps::EXPORTS,
    registry::EXPORTS,
    rtl::EXPORTS,
    dbg::EXPORTS,
    bugcheck::EXPORTS,
    nmr::EXPORTS,
    kmdf_lite::EXPORTS,
];

type Table = HashMap<(&'static str, &'static str), usize>;

fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let all = TABLES.iter().copied().flatten();
        all.map(|export| ((export.module, export.name), export.address as usize)).collect()
    })
}

/// The address of an import. `hal.dll` is part of the kernel.
pub(crate) fn find(module: &str, name: &str) -> Option<usize> {
    let module = if module == "hal.dll" { "ntoskrnl.exe" } else { module };
    table().get(&(module, name)).copied()
}

/// Every export, as `module!name`.
pub fn all() -> Vec<String> {
    let mut names: Vec<_> = table().keys().map(|(module, name)| format!("{module}!{name}")).collect();
    names.sort_unstable();
    names
}
