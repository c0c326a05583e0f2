//! Judges the imports of the driver: each must be a name that others know as an export of the same module.
//!
//! Import lists are written by hand, and a name that Windows does not export makes a driver unloadable with nothing on
//! this side to notice. The judges are the import libraries of mingw-w64 and of Wine.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, bail};
use object::read::archive::ArchiveFile;

use crate::{
    apt,
    image::{Image, ImportedName},
    report::table,
};

/// Where the judges keep the import library of a module.
const JUDGES: &[(&str, &str)] =
    &[("mingw-w64", "/usr/x86_64-w64-mingw32/lib"), ("Wine", "/usr/lib/x86_64-linux-gnu/wine/x86_64-windows")];

/// Modules and the name of their import library.
const LIBRARIES: &[(&str, &str)] = &[("ntoskrnl.exe", "libntoskrnl.a"), ("hal.dll", "libhal.a"), ("netio.sys", "libnetio.a")];

/// Exports that are younger than the judges, or of a module that they do not have, and the page that promises each.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("ntoskrnl.exe", "ExAllocatePool2", "nf-wdm-exallocatepool2: NtosKrnl.exe, Windows 10 version 2004"),
    ("ntoskrnl.exe", "EtwSetInformation", "nf-wdm-etwsetinformation: NtosKrnl.lib, Windows 10"),
    ("ntoskrnl.exe", "KeQueryInterruptTimePrecise", "nf-wdm-kequeryinterrupttimeprecise: NtosKrnl.exe, Windows 8.1"),
    ("ntoskrnl.exe", "KeQuerySystemTimePrecise", "nf-wdm-kequerysystemtimeprecise: NtosKrnl.exe, Windows 8"),
    ("wdfldr.sys", "WdfVersionBind", "what every KMDF driver's FxDriverEntry imports; see KMDF's public source"),
    ("wdfldr.sys", "WdfVersionUnbind", "what every KMDF driver's FxDriverEntry imports; see KMDF's public source"),
];

/// The exports that one judge knows of one module.
struct Exports {
    judge: &'static str,
    module: &'static str,
    names: BTreeSet<String>,
}

/// Judges every import of a driver, prints who vouches for which, and fails on names that nobody knows.
pub fn check(driver: &Path) -> Result<()> {
    apt::ensure(&["mingw-w64-x86-64-dev", "libwine-dev"], "comparing imports with mingw-w64 and Wine")?;
    let imports = Image::read(driver)?.imports()?;
    let unknown = judge(&imports, &exports()?);
    if !unknown.is_empty() {
        bail!("the driver imports names that nobody knows as exports: {}", unknown.join(", "));
    }
    Ok(())
}

fn judge(imports: &[ImportedName], exports: &[Exports]) -> Vec<String> {
    let mut rows = table(&["import", "known to"]);
    let mut unknown = Vec::new();
    for import in imports {
        let vouchers = vouchers(import, exports);
        let name = format!("{}!{}", import.module, import.name);
        if vouchers.is_empty() {
            unknown.push(name.clone());
        }
        rows.add_row([name, vouchers.join(", ")]);
    }
    println!("{rows}");
    unknown
}

/// Everybody who knows this export, or the page that is cited for it.
fn vouchers(import: &ImportedName, exports: &[Exports]) -> Vec<String> {
    let module = import.module.to_lowercase();
    let known = exports.iter().filter(|exports| exports.module == module && exports.names.contains(&import.name));
    let mut vouchers: Vec<String> = known.map(|exports| exports.judge.to_owned()).collect();
    if vouchers.is_empty() {
        let exception = EXCEPTIONS.iter().find(|(of, name, _)| *of == module && *name == import.name);
        vouchers.extend(exception.map(|(_, _, page)| format!("exception ({page})")));
    }
    vouchers
}

fn exports() -> Result<Vec<Exports>> {
    let mut all = Vec::new();
    for &(judge, folder) in JUDGES {
        for &(module, library) in LIBRARIES {
            let path = Path::new(folder).join(library);
            if path.exists() {
                all.push(Exports { judge, module, names: imported_symbols(&path)? });
            }
        }
    }
    Ok(all)
}

/// The names that an import library makes importable: those with a symbol `__imp_NAME`.
fn imported_symbols(path: &Path) -> Result<BTreeSet<String>> {
    let bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
    let archive = ArchiveFile::parse(&*bytes).with_context(|| format!("{} is not a library", path.display()))?;
    let symbols = archive.symbols()?.with_context(|| format!("{} has no list of symbols", path.display()))?;
    let mut names = BTreeSet::new();
    for symbol in symbols {
        let name = String::from_utf8_lossy(symbol?.name()).into_owned();
        names.extend(name.strip_prefix("__imp_").map(str::to_owned));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn import(module: &str, name: &str) -> ImportedName {
        ImportedName { module: module.to_owned(), name: name.to_owned() }
    }

    fn known() -> Vec<Exports> {
        let names = ["KeSetEvent", "memcpy"].map(str::to_owned).into();
        vec![Exports { judge: "mingw-w64", module: "ntoskrnl.exe", names }]
    }

    #[test]
    fn a_bogus_import_is_unknown() {
        let imports = [import("ntoskrnl.exe", "KeSetEvent"), import("ntoskrnl.exe", "KeSetEvnet")];
        assert_eq!(judge(&imports, &known()), ["ntoskrnl.exe!KeSetEvnet"]);
    }

    /// A genuine image that imports one name too many, judged by the genuine libraries.
    #[test]
    fn an_image_with_a_bogus_import_fails() {
        let llvm = crate::toolchain::Llvm::find().unwrap();
        let folder = std::env::temp_dir().join(format!("wskclient-imports-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let verdict = |name: &str| {
            let image = link(&llvm, &folder, name);
            check(&image).map_err(|error| error.to_string())
        };
        assert_eq!(verdict("KeSetEvent"), Ok(()));
        let complaint = verdict("KeSetEvnet").unwrap_err();
        fs::remove_dir_all(&folder).unwrap();
        assert!(complaint.contains("ntoskrnl.exe!KeSetEvnet"), "{complaint}");
    }

    /// Links an image whose entry point calls one function of the kernel.
    fn link(llvm: &crate::toolchain::Llvm, folder: &Path, name: &str) -> std::path::PathBuf {
        let tool = |tool: &str, arguments: &[&str]| {
            let mut command = std::process::Command::new(llvm.tool(tool));
            crate::workspace::run(command.current_dir(folder).args(arguments)).unwrap();
        };
        fs::write(folder.join("a.c"), format!("void {name}(void); void entry(void) {{ {name}(); }}")).unwrap();
        fs::write(folder.join("a.def"), format!("LIBRARY ntoskrnl.exe\nEXPORTS\n{name}\n")).unwrap();
        tool("clang-cl", &["--target=x86_64-pc-windows-msvc", "/c", "/GS-", "/Zl", "/Foa.obj", "--", "a.c"]);
        tool("llvm-dlltool", &["-m", "i386:x86-64", "-d", "a.def", "-l", "a.lib"]);
        tool("lld-link", &["/driver", "/subsystem:native", "/entry:entry", "/out:a.sys", "a.obj", "a.lib"]);
        folder.join("a.sys")
    }

    #[test]
    fn the_module_counts_too() {
        assert!(vouchers(&import("netio.sys", "KeSetEvent"), &known()).is_empty());
        assert_eq!(vouchers(&import("NTOSKRNL.EXE", "memcpy"), &known()), ["mingw-w64"]);
    }

    #[test]
    fn exceptions_cite_a_page() {
        assert_eq!(vouchers(&import("ntoskrnl.exe", "ExAllocatePool2"), &known()).len(), 1);
        assert!(EXCEPTIONS.iter().all(|(_, _, page)| page.len() > 10));
    }
}
