//! Which crate may depend on which: the arrows of ARCHITECTURE.md.

use anyhow::Result;
use cargo_metadata::{MetadataCommand, Package};

use super::Finding;
use crate::workspace::root;

/// Each package, and those of ours that it may depend on. An asterisk stands for the rest of a name.
const ARROWS: &[(&str, &[&str])] = &[
    ("wskclient", &["wsk", "control-abi", "latency-histogram", "service-limits"]),
    ("wsk", &["wsk-lifecycle", "wsk-cmsg", "wsk-sys"]),
    ("wsk-cmsg", &[]),
    ("wsk-lifecycle", &[]),
    ("wsk-sys", &[]),
    ("control-abi", &[]),
    ("bench-wire", &[]),
    // Its own code depends on the first two; its tests load the driver.
    ("wskctl", &["control-abi", "bench-wire", "wskclient-tests", "ntbench"]),
    ("latency-histogram", &[]),
    ("service-limits", &[]),
    ("ntbench", &["nmr", "kmdf-lite", "nt-abi"]),
    ("wine-shim", &["nmr", "kmdf-lite", "nt-abi"]),
    ("nmr", &["nt-abi"]),
    ("kmdf-lite", &["nt-abi"]),
    ("nt-abi", &[]),
    ("wskclient-tests", &["ntbench", "control-abi", "bench-wire", "wsk-lifecycle"]),
    ("wsk-exercise", &["wsk"]),
    ("example-*", &["wsk"]),
    ("xtask", &[]),
];

/// Compares what cargo knows with the table.
pub fn check() -> Result<Vec<Finding>> {
    let metadata = MetadataCommand::new().manifest_path(root().join("Cargo.toml")).no_deps().exec()?;
    Ok(metadata.packages.iter().flat_map(check_package).collect())
}

fn check_package(package: &Package) -> Vec<Finding> {
    let ours = package.dependencies.iter().filter(|dependency| dependency.path.is_some());
    let wrong = wrong_arrows(&package.name, ours.map(|dependency| dependency.name.as_str()));
    let manifest = package.manifest_path.strip_prefix(root()).unwrap_or(&package.manifest_path);
    wrong.into_iter().map(|what| Finding { file: manifest.to_string(), line: 1, what }).collect()
}

fn wrong_arrows<'a>(package: &str, dependencies: impl Iterator<Item = &'a str>) -> Vec<String> {
    let is_it = |name: &str| name == package || name.strip_suffix('*').is_some_and(|start| package.starts_with(start));
    let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| is_it(name)) else {
        return vec![format!("{package} is not in the table of arrows (xtask/src/tidy/arrows.rs, ARCHITECTURE.md)")];
    };
    let wrong = dependencies.filter(|dependency| !allowed.contains(dependency));
    wrong.map(|dependency| format!("{package} may not depend on {dependency} (ARCHITECTURE.md, \"The arrows\")")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_arrow_against_the_order_is_found() {
        assert_eq!(wrong_arrows("wsk", ["wsk-sys", "wsk-lifecycle"].into_iter()), Vec::<String>::new());
        assert_eq!(wrong_arrows("wsk", ["ntbench"].into_iter()).len(), 1);
        assert_eq!(wrong_arrows("xtask", ["control-abi"].into_iter()).len(), 1);
    }

    #[test]
    fn a_package_that_nobody_placed_is_found() {
        assert!(wrong_arrows("surprise", std::iter::empty())[0].contains("not in the table"));
    }
}
