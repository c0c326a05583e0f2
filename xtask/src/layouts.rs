//! Judges the structures of `sdk/`: their sizes and the offsets of their fields, against three independent sources.
//!
//! clang prints the layout of every structure that the headers declare: ours, mingw-w64's (its DDK and its
//! Winsock headers) and Wine's (its Winsock Kernel header among them). The windows-sys crate is asked by `offset_of!`.
//! Two sources are compared in every structure and every field that both have. A structure that nobody else has is
//! accepted only if `UNJUDGED` names the page that it was written from.

mod dump;
mod windows_sys;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    apt, kit,
    report::table,
    toolchain::Llvm,
    workspace::{output, target},
};

/// The size of a structure and the offset of each field by its path (`Tail.Overlay.Thread`; anonymous members do not
/// count).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    pub size: u64,
    pub fields: BTreeMap<String, u64>,
}

/// Layouts by the canonical name of the structure.
pub type Layouts = BTreeMap<String, Layout>;

/// One source of layouts other than ours.
struct Judge {
    name: &'static str,
    layouts: Layouts,
}

/// Structures that no other source has, and where they are documented.
const UNJUDGED: &[(&str, &str)] = &[
    ("NPI_", "the netioddk pages of the DDI reference, e.g. ns-netioddk-_npi_client_characteristics"),
    ("WSK_TRANSPORT", "ns-wsk-_wsk_transport"),
    ("WSK_TDI_MAP", "ns-wsk-_wsk_tdi_map, ns-wsk-_wsk_tdi_map_info"),
    ("WSK_EVENT_CALLBACK_CONTROL", "ns-wsk-_wsk_event_callback_control"),
    ("WSK_EXTENSION_CONTROL_", "ns-wsk-_wsk_extension_control_in, ns-wsk-_wsk_extension_control_out"),
    ("WSK_CLIENT_DATAGRAM_DISPATCH", "ns-wsk-_wsk_client_datagram_dispatch"),
    ("WSK_CLIENT_STREAM_DISPATCH", "ns-wsk-_wsk_client_stream_dispatch"),
    ("WSK_PROVIDER_CHARACTERISTICS", "ns-wsk-_wsk_provider_characteristics"),
    ("WDF_", "the wdfdriver, wdfobject, wdfio and wdftimer pages of the DDI reference (KMDF's headers are public)"),
];

/// Differences that are the other side's, word for word, and why.
const DISPUTED: &[(&str, &str, &str)] = &[
    (
        "DEVICE_OBJECT",
        "size 336 is 328 elsewhere",
        "aligned to 16 in the WDK (debuggers show 0x150), which the others do not copy",
    ),
    ("DEVICE_OBJECT", "Dpc.Importance at 1608 is at 1624 elsewhere (Wine)", "Wine has the KDPC of Windows XP"),
    ("KDPC", "Importance at 8 is at 24 elsewhere (Wine)", "Wine has the KDPC of Windows XP"),
    ("FILE_OBJECT", "size 216 is 184 elsewhere (Wine)", "Wine's ends before IrpListLock"),
    ("KTIMER", "Period at 480 is at 448 elsewhere (Wine)", "Wine has the KTIMER of 32-bit Windows, without Processor"),
];

/// The outcome for one structure.
#[derive(Debug, PartialEq, Eq)]
struct Verdict {
    structure: String,
    /// Who has the structure, and how many fields were compared.
    judges: Vec<(&'static str, usize)>,
    differences: Vec<String>,
}

/// Compares all structures, prints who judged which, and fails if one differs or has no judge.
pub fn check(llvm: &Llvm) -> Result<()> {
    let ours = sdk(llvm, &kit::include_folders())?;
    let verdicts = verdicts(&ours, &judges(llvm)?);
    print(&verdicts);
    let failed: Vec<String> = verdicts.iter().flat_map(complaints).collect();
    if !failed.is_empty() {
        bail!("the layouts of sdk/ are in doubt:\n  {}", failed.join("\n  "));
    }
    Ok(())
}

/// The layouts of sdk/, or of a changed copy of it.
pub fn sdk(llvm: &Llvm, include: &[PathBuf]) -> Result<Layouts> {
    let mut arguments: Vec<String> = ["-fms-extensions", "-fms-compatibility", "-fno-builtin"].map(str::to_owned).into();
    arguments.extend(kit::DEFINITIONS.iter().map(|definition| format!("-D{definition}")));
    let headers = ["ntifs.h", "wsk.h", "ws2ipdef.h", "mstcpip.h", "wdf.h"];
    dump_of(llvm, "sdk", "x86_64-pc-windows-msvc", include, &arguments, &source(&headers))
}

fn judges(llvm: &Llvm) -> Result<Vec<Judge>> {
    apt::ensure(&["mingw-w64-x86-64-dev", "libwine-dev"], "comparing sdk/ with mingw-w64 and Wine")?;
    let gnu = "x86_64-w64-windows-gnu";
    let mingw = PathBuf::from("/usr/x86_64-w64-mingw32/include");
    let ddk = dump_of(llvm, "mingw-ddk", gnu, &[mingw.join("ddk"), mingw.clone()], &[], &source(&["ntifs.h"]))?;
    let sockets = source(&["winsock2.h", "ws2tcpip.h", "mstcpip.h"]);
    let sockets = dump_of(llvm, "mingw-winsock", gnu, &[mingw], &[], &sockets)?;
    let wine = PathBuf::from("/usr/include/wine/wine");
    let folders = [wine.join("msvcrt"), wine.join("windows"), wine.join("windows/ddk")];
    let wine = dump_of(llvm, "wine", gnu, &folders, &[], &wine_source())?;
    Ok(vec![
        Judge { name: "mingw-w64 DDK", layouts: ddk },
        Judge { name: "mingw-w64 Winsock", layouts: sockets },
        Judge { name: "Wine", layouts: wine },
        Judge { name: "windows-sys", layouts: windows_sys::layouts() },
    ])
}

fn source(headers: &[&str]) -> String {
    headers.iter().map(|header| format!("#include <{header}>\n")).collect()
}

fn wine_source() -> String {
    let first = "#include <stdarg.h>\n#include <ntstatus.h>\n#define WIN32_NO_STATUS\n";
    first.to_owned() + &source(&["winsock2.h", "ws2tcpip.h", "windows.h", "winternl.h", "ddk/ntifs.h", "netiodef.h", "ddk/wsk.h"])
}

/// Lets clang print the layouts of all structures that a source declares.
fn dump_of(llvm: &Llvm, name: &str, triple: &str, include: &[PathBuf], arguments: &[String], text: &str) -> Result<Layouts> {
    let folder = target("kit").join("layouts");
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;
    let file = folder.join(format!("{name}-{}.c", std::process::id()));
    fs::write(&file, text).with_context(|| format!("could not write {}", file.display()))?;
    let mut clang = Command::new(llvm.tool("clang"));
    clang.args(["-w", "-nostdlibinc", "-fsyntax-only", "-Xclang", "-fdump-record-layouts-complete"]);
    clang.arg(format!("--target={triple}")).args(arguments);
    clang.args(include.iter().map(|folder| format!("-I{}", folder.display()))).arg(&file);
    let printed = output(&mut clang);
    remove(&file)?;
    Ok(dump::parse(&printed?))
}

fn remove(file: &Path) -> Result<()> {
    fs::remove_file(file).with_context(|| format!("could not remove {}", file.display()))
}

fn verdicts(ours: &Layouts, judges: &[Judge]) -> Vec<Verdict> {
    ours.iter().map(|(name, layout)| verdict(name, layout, judges)).collect()
}

fn verdict(name: &str, layout: &Layout, judges: &[Judge]) -> Verdict {
    let mut verdict = Verdict { structure: name.to_owned(), judges: Vec::new(), differences: Vec::new() };
    for judge in judges {
        let Some(theirs) = judge.layouts.get(name) else { continue };
        let (compared, differences) = compare(layout, theirs);
        verdict.judges.push((judge.name, compared));
        verdict.differences.extend(differences.iter().map(|difference| format!("{difference} ({})", judge.name)));
    }
    verdict
}

/// How many fields two layouts share, and in what they differ.
fn compare(ours: &Layout, theirs: &Layout) -> (usize, Vec<String>) {
    let mut differences = Vec::new();
    if ours.size != theirs.size {
        differences.push(format!("size {} is {} elsewhere", ours.size, theirs.size));
    }
    let mut compared = 0;
    for (field, offset) in &ours.fields {
        let Some(other) = theirs.fields.get(field) else { continue };
        compared += 1;
        if offset != other {
            differences.push(format!("{field} at {offset} is at {other} elsewhere"));
        }
    }
    (compared, differences)
}

fn complaints(verdict: &Verdict) -> Vec<String> {
    let name = &verdict.structure;
    if verdict.judges.is_empty() && page(name).is_none() {
        return vec![format!("{name}: no other source has it, and no page is cited for it")];
    }
    let ours = verdict.differences.iter().filter(|difference| dispute(name, difference).is_none());
    ours.map(|difference| format!("{name}: {difference}")).collect()
}

/// Why a difference is not our mistake, if that is known.
fn dispute(structure: &str, difference: &str) -> Option<&'static str> {
    let found = DISPUTED.iter().find(|(name, start, _)| *name == structure && difference.starts_with(start));
    found.map(|(_, _, reason)| *reason)
}

fn page(structure: &str) -> Option<&'static str> {
    UNJUDGED.iter().find(|(prefix, _)| structure.starts_with(prefix)).map(|(_, page)| *page)
}

fn print(verdicts: &[Verdict]) {
    let mut rows = table(&["structure of sdk/", "judged by (fields compared)"]);
    for verdict in verdicts {
        let judges: Vec<String> = verdict.judges.iter().map(|(name, fields)| format!("{name} ({fields})")).collect();
        let judged = if judges.is_empty() {
            format!("nobody; from {}", page(&verdict.structure).unwrap_or("?"))
        } else {
            judges.join(", ")
        };
        rows.add_row([verdict.structure.clone(), judged]);
    }
    println!("{rows}");
    for verdict in verdicts {
        for difference in &verdict.differences {
            let reason = dispute(&verdict.structure, difference).unwrap_or("A DIFFERENCE");
            println!(" {}: {difference}: {reason}", verdict.structure);
        }
    }
    let alone = verdicts.iter().filter(|verdict| verdict.judges.is_empty()).count();
    println!("{} structures compared, {alone} that only their pages speak for", verdicts.len() - alone);
}

#[cfg(test)]
mod tests;
