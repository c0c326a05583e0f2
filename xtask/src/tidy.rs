//! What the repository promises about its own code, checked: the arrows between crates, lengths, SAFETY and `# IRQL`
//! comments, citations of rules, the guide's code, and a few plain things about text.
//!
//! [`sources`] reads the files, [`arrows`] asks cargo, each other module is one check on sources.

mod arrows;
mod citations;
mod guide;
mod irql;
mod lengths;
mod safety;
mod sources;
mod text;

use std::{fmt, process::ExitCode};

use anyhow::Result;

use sources::Source;

/// Something that is not as promised.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    file: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(source: &Source, line: usize, what: impl Into<String>) -> Self {
        Self { file: source.path.clone(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.file, self.line, self.what)
    }
}

/// Checks everything and prints what is not as promised.
pub fn run() -> Result<ExitCode> {
    let sources = sources::all()?;
    let mut findings = arrows::check()?;
    findings.extend(check(&sources));
    findings.sort();
    findings.iter().for_each(|finding| println!("{finding}"));
    if findings.is_empty() {
        println!("tidy: {} files, nothing to say", sources.len());
        return Ok(ExitCode::SUCCESS);
    }
    println!("tidy: {} findings in {} files", findings.len(), sources.len());
    Ok(ExitCode::FAILURE)
}

fn check(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        findings.extend(text::check(source));
        findings.extend(lengths::check(source));
        findings.extend(safety::check(source));
    }
    findings.extend(irql::check(sources));
    findings.extend(citations::check(sources));
    findings.extend(guide::check(sources));
    findings
}
