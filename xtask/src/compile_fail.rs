//! Mistakes that the library's types keep out, shown to be kept out: `crates/wsk/compile-fail` compiles without them, and with
//! them is refused at every marked line and at no other.

use std::{
    collections::BTreeSet,
    fs,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use cargo_metadata::diagnostic::{Diagnostic, DiagnosticLevel};

use crate::{
    build,
    workspace::{root, run as run_command},
};

const FOLDER: &str = "crates/wsk/compile-fail";
/// What stands between a line of code and a part of the message that it has to be refused with.
const MARK: &str = "//~ ";

/// A place where a mistake is, or was found: file, line, and the message or a part of it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    file: String,
    line: usize,
    message: String,
}

/// Compiles both ways, and compares.
pub fn run() -> Result<()> {
    run_command(&mut build::compile_fail(false)?).context("without the mistakes it has to compile")?;
    let (marked, found) = (marked()?, found(&mut build::compile_fail(true)?)?);
    let differences = differences(&marked, &found);
    if !differences.is_empty() {
        bail!("{}", differences.join("\n"));
    }
    println!("{} mistakes are refused", marked.len());
    Ok(())
}

fn marked() -> Result<Vec<Place>> {
    let mut places = Vec::new();
    for entry in fs::read_dir(root().join(FOLDER)).context(FOLDER)? {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        places.extend(marks(&file, &fs::read_to_string(&path)?));
    }
    Ok(places)
}

/// Marks of code, behind it or on a line of their own below it, where rustfmt likes them; a comment that only speaks of them
/// has none.
fn marks(file: &str, text: &str) -> Vec<Place> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.starts_with("//"));
    let marks = lines.filter_map(|(at, line)| {
        let (code, message) = line.split_once(MARK)?;
        Some((if code.trim().is_empty() { at } else { at + 1 }, message))
    });
    marks.map(|(line, message)| Place { file: file.to_owned(), line, message: message.trim().to_owned() }).collect()
}

fn found(cargo: &mut Command) -> Result<BTreeSet<Place>> {
    let output = cargo.stdout(Stdio::piped()).stderr(Stdio::inherit()).output().context("could not start cargo")?;
    let mut places = BTreeSet::new();
    for message in Message::parse_stream(output.stdout.as_slice()) {
        if let Message::CompilerMessage(message) = message? {
            places.extend(place_of(&message.message));
        }
    }
    Ok(places)
}

/// Where an error is: its first line, in our folder or elsewhere.
fn place_of(diagnostic: &Diagnostic) -> Option<Place> {
    let span = diagnostic.spans.iter().find(|span| span.is_primary)?;
    let file = span.file_name.rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    let is_error = matches!(diagnostic.level, DiagnosticLevel::Error);
    is_error.then(|| Place { file, line: span.line_start, message: diagnostic.message.clone() })
}

fn differences(marked: &[Place], found: &BTreeSet<Place>) -> Vec<String> {
    let is_at = |mark: &Place, error: &Place| mark.file == error.file && mark.line == error.line;
    let fits = |mark: &Place, error: &Place| is_at(mark, error) && error.message.contains(&mark.message);
    let missed = marked.iter().filter(|mark| !found.iter().any(|error| fits(mark, error)));
    let missed = missed.map(|mark| format!("{}:{}: not refused with `{}`", mark.file, mark.line, mark.message));
    let other = found.iter().filter(|error| !marked.iter().any(|mark| is_at(mark, error)));
    let other = other.map(|error| format!("{}:{}: not marked, but refused: {}", error.file, error.line, error.message));
    missed.chain(other).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(line: usize, message: &str) -> Place {
        Place { file: "a.rs".into(), line, message: message.into() }
    }

    #[test]
    fn marks_are_found_with_their_lines() {
        let text = "//! as `//~ this`\nfn a() {\n    b(); //~ no `b`\n    c();\n    //~ no `c`\n}\n";
        assert_eq!(marks("a.rs", text), [place(3, "no `b`"), place(4, "no `c`")]);
    }

    #[test]
    fn what_is_not_refused_and_what_is_refused_elsewhere_are_told() {
        let found = BTreeSet::from([place(3, "there is no `b` here")]);
        assert_eq!(differences(&[place(3, "no `b`")], &found), Vec::<String>::new());
        assert_eq!(differences(&[place(3, "no `c`")], &found).len(), 1);
        assert_eq!(differences(&[place(4, "no `b`")], &found).len(), 2);
    }
}
