//! The code in the guide and the README: each block of it stands, line by line, in a file that is compiled.

use super::{Finding, Source};

/// The guide, and what points to it.
const GUIDES: [&str; 2] = ["crates/wsk/README.md", "README.md"];
/// Where its code is from: what begins so is built, and run by tests.
const FROM: &[&str] = &["examples/", "xtask/src/outside.toml", ".cargo/config.toml"];

/// The blocks of Rust and of TOML that no such file has.
pub fn check(sources: &[Source]) -> Vec<Finding> {
    let compiled: Vec<_> = sources.iter().filter(|source| FROM.iter().any(|start| source.path.starts_with(start))).collect();
    let guides = sources.iter().filter(|source| GUIDES.contains(&source.path.as_str()));
    let strays = guides.flat_map(|guide| blocks(guide).into_iter().map(move |block| (guide, block)));
    let strays = strays.filter(|(_, (_, text))| !compiled.iter().any(|source| has(&source.text, text)));
    strays.map(|(guide, (line, _))| Finding::new(guide, line, "this code is in no file that is compiled")).collect()
}

/// Whether the text has these lines, whole ones.
fn has(text: &str, lines: &str) -> bool {
    text.starts_with(lines) || text.contains(&format!("\n{lines}"))
}

/// Where blocks of code begin, and what is in them.
fn blocks(guide: &Source) -> Vec<(usize, String)> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in guide.lines.iter().enumerate() {
        match (&mut open, line.as_str()) {
            (None, "```rust" | "```toml") => open = Some((number + 1, String::new())),
            (Some(_), "```") => blocks.extend(open.take()),
            (Some((_, text)), line) => *text += &format!("{line}\n"),
            (None, _) => {}
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_that_is_nowhere_is_found() {
        let example = Source::new("examples/a/src/lib.rs", "//! A.\nfn f() {\n    g();\n}\n").unwrap();
        let guide = |code: &str| Source::new(GUIDES[0], format!("# Title\n```rust\n{code}```\n```text\nh();\n```\n")).unwrap();
        assert_eq!(check(&[example, guide("fn f() {\n    g();\n}\n"), guide("fn f() {\n    h();\n}\n")]).len(), 1);
    }

    #[test]
    fn whole_lines_count() {
        assert!(has("a\nb\n", "b\n") && has("a\nb\n", "a\n") && !has("ab\n", "b\n"));
    }
}
