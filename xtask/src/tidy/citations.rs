//! Rules of `docs/lifecycle.md`: those that are cited exist, and each has a test that names it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::LazyLock,
};

use regex::Regex;

use super::{Finding, Source};

const RULES: &str = "docs/lifecycle.md";

/// A rule at the beginning of a list's item; a rule anywhere; one that is a string; the rules that a test's name begins with.
static ITEM: LazyLock<Regex> = LazyLock::new(|| pattern(r"^- \**(L\d\d|N\d)\b"));
static RULE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(L\d\d|N\d)\b"));
static STRING: LazyLock<Regex> = LazyLock::new(|| pattern(r#""(L\d\d|N\d)""#));
static TEST: LazyLock<Regex> = LazyLock::new(|| pattern(r"\bfn ((?:l\d\d|n\d)(?:_(?:l\d\d|n\d))*)_"));

/// Citations in comments and in strings that are nothing else; tests by the names of functions (`l07_...`, `n3_...`).
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let Some(document) = sources.iter().find(|source| source.path == RULES) else {
        println!("tidy: {RULES} is not there: citations of rules are not checked");
        return Vec::new();
    };
    let rules = rules(document);
    let rust: Vec<_> =
        sources.iter().filter(|source| source.syntax.is_some() && source.path != "xtask/src/tidy/citations.rs").collect();
    let unknown = rust.iter().flat_map(|source| unknown_citations(source, &rules));
    let tested: BTreeSet<String> = rust.iter().flat_map(|source| tested_rules(source)).collect();
    let untested = rules.iter().filter(|(rule, _)| !tested.contains(*rule));
    let untested = untested.map(|(rule, line)| Finding::new(document, *line, format!("no test names {rule}")));
    unknown.chain(untested).collect()
}

/// The rules that a list has, with their lines.
fn rules(document: &Source) -> BTreeMap<String, usize> {
    let rule_in = |line: &str| ITEM.captures(line).map(|found| found[1].to_owned());
    let lines = document.text.lines().zip(1..);
    lines.filter_map(|(line, number)| Some((rule_in(line)?, number))).collect()
}

fn unknown_citations(source: &Source, rules: &BTreeMap<String, usize>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (line, number) in source.text.lines().zip(1..) {
        let rules_in = |text: &str| RULE.find_iter(text).map(|found| found.as_str().to_owned()).collect::<Vec<_>>();
        for rule in places_of_citations(line).iter().flat_map(|text| rules_in(text)) {
            if !rules.contains_key(&rule) {
                findings.push(Finding::new(source, number, format!("{rule} is no rule of {RULES}")));
            }
        }
    }
    findings
}

/// The comment of a line, and its strings that are as long as a rule's number.
fn places_of_citations(line: &str) -> Vec<&str> {
    let comment = line.find("//").map(|at| &line[at..]);
    STRING.find_iter(line).map(|found| found.as_str()).chain(comment).collect()
}

/// The rules that the names of a source's tests begin with.
fn tested_rules(source: &Source) -> Vec<String> {
    let names = TEST.captures_iter(&source.text);
    names.flat_map(|found| found[1].to_uppercase().split('_').map(str::to_owned).collect::<Vec<_>>()).collect()
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern that is a constant")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rust: &str) -> Vec<String> {
        let document = Source::new(RULES, "# Rules\n\n- L01 first\n- N2 second\n").unwrap();
        let source = Source::new("tests/a.rs", rust).unwrap();
        check(&[document, source]).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn rules_that_do_not_exist_are_found() {
        let tests = "fn l01_x() {}\nfn n2_y() {}\n";
        assert_eq!(found(&format!("{tests}// As L01 and N2 say.\n")), Vec::<String>::new());
        assert_eq!(found(&format!("{tests}/// See L99.\nfn f() {{}}\n")), ["tests/a.rs:3: L99 is no rule of docs/lifecycle.md"]);
        assert_eq!(found(&format!("{tests}const A: &str = \"N9\";\n")).len(), 1);
    }

    #[test]
    fn rules_without_a_test_are_found() {
        assert_eq!(found("fn l01_x() {}\n"), ["docs/lifecycle.md:4: no test names N2"]);
        assert!(found("fn l01_n2_both() {}\n").is_empty());
    }

    #[test]
    fn without_the_document_nothing_is_said() {
        assert_eq!(check(&[Source::new("a.rs", "// L99\n").unwrap()]), []);
    }
}
