//! Plain things: no tabs, no path of somebody's machine, each file says what it is, unsafe code says why.

use std::sync::LazyLock;

use regex::Regex;

use super::{Finding, Source};

/// Files in which a tab is the format's.
const WITH_TABS: &[&str] = &["Makefile"];

static MACHINE: LazyLock<Regex> = LazyLock::new(|| pattern(r"(^|[^A-Za-z0-9_.:/])/(home|root|srv|mnt|Users)/|\b[A-Z]:\\Users\\"));
static OPT_IN: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*#!?\[(allow|expect)\([^)]*\bunsafe_code\b([^)]*)\)\](.*)$"));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern that is a constant")
}

/// All text; what is about Rust, in Rust.
pub fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let mut find = |what: &str| findings.push(Finding::new(source, number, what));
        if line.contains('\t') && !WITH_TABS.iter().any(|name| source.path.ends_with(name)) {
            find("a tab");
        }
        if MACHINE.is_match(line) {
            find("a path of one machine");
        }
        if OPT_IN.captures(line).is_some_and(|found| !found[2].contains("reason") && !says_why(&found[3])) {
            find("unsafe code is allowed without a reason behind it");
        }
    }
    if source.syntax.is_some() && !source.is_kit() && !source.text.starts_with("//!") {
        findings.push(Finding::new(source, 1, "the file does not begin by saying what it is (`//!`)"));
    }
    findings
}

/// Whether this, after an attribute, is a comment of some length.
fn says_why(rest: &str) -> bool {
    rest.trim().strip_prefix("//").is_some_and(|comment| comment.trim().len() >= 8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text).unwrap()).into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn tabs_are_found() {
        assert_eq!(found("a.md", "one\n\ttwo\n"), ["a tab"]);
        assert!(found("sdk/Makefile", "\ttwo\n").is_empty());
    }

    #[test]
    fn paths_of_machines_are_found() {
        let path = ["see /", "home/me/x"].concat();
        assert_eq!(found("a.md", &path), ["a path of one machine"]);
        assert!(found("a.md", "see https://example.org/home/ and /usr/lib").is_empty());
    }

    #[test]
    fn unsafe_code_says_why() {
        let attribute = |rest: &str| format!("//! A.\n#![allow(unsafe_{})]{rest}\n", "code");
        assert_eq!(found("a.rs", &attribute("")).len(), 1);
        assert_eq!(found("a.rs", &attribute(" // yes")).len(), 1);
        assert!(found("a.rs", &attribute(" // it calls the kernel")).is_empty());
    }

    #[test]
    fn a_file_of_rust_says_what_it_is() {
        assert_eq!(found("a.rs", "fn f() {}\n").len(), 1);
        assert!(found("a.rs", "//! Says it.\nfn f() {}\n").is_empty());
    }
}
