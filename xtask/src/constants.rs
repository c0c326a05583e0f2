//! Judges the constants that wsk-sys writes by hand: each is compared with the macro of its name in the headers.

use std::{fs, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{
    kit,
    toolchain::Llvm,
    workspace::{output, root, target},
};

/// Compiles one assertion for each constant of wsk-sys; clang names those that do not hold.
pub fn check(llvm: &Llvm) -> Result<()> {
    let path = root().join("crates/wsk-sys/src/constants.rs");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    let assertions = assertions(&text);
    ensure!(!assertions.is_empty(), "{} has no constants that could be compared", path.display());
    let file = target("kit").join(format!("constants-{}.c", std::process::id()));
    let source = format!("#include <wsk.h>\n#include <mstcpip.h>\n{}", assertions.join("\n"));
    fs::write(&file, source).with_context(|| format!("could not write {}", file.display()))?;
    let mut clang = Command::new(llvm.tool("clang"));
    clang.args(["-w", "-fms-extensions", "-nostdlibinc", "-fsyntax-only", "--target=x86_64-pc-windows-msvc"]);
    clang.args(kit::include_folders().iter().map(|folder| format!("-I{}", folder.display()))).arg(&file);
    let outcome = output(&mut clang);
    fs::remove_file(&file).with_context(|| format!("could not remove {}", file.display()))?;
    outcome.context("constants of wsk-sys differ from the headers")?;
    println!("{} constants of wsk-sys are those of the headers", assertions.len());
    Ok(())
}

/// `pub const NAME: ULONG = A | B | 1;` as an assertion in C: the expressions are of both languages.
fn assertions(text: &str) -> Vec<String> {
    let constant = |line: &str| {
        let (name, rest) = line.strip_prefix("pub const ")?.split_once(": ULONG = ")?;
        let value = rest.strip_suffix(';')?;
        Some(format!("_Static_assert((ULONG)({name}) == (ULONG)({value}), \"{name}\");"))
    };
    text.lines().filter_map(constant).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constants_become_assertions() {
        let text = "const IOC_IN: ULONG = 1;\npub const SIO_X: ULONG = IOC_IN | 4;\n";
        assert_eq!(assertions(text), ["_Static_assert((ULONG)(SIO_X) == (ULONG)(IOC_IN | 4), \"SIO_X\");"]);
    }
}
