//! The text files of the repository, and the syntax of those that are Rust.

use std::fs;

use anyhow::{Context, Result};
use ignore::WalkBuilder;
use syn::{Attribute, Expr, ExprLit, Lit, Meta, spanned::Spanned};

use crate::workspace::root;

/// One file.
pub struct Source {
    /// From the root of the repository, with slashes.
    pub path: String,
    pub text: String,
    pub lines: Vec<String>,
    /// What it says, if it is Rust.
    pub syntax: Option<syn::File>,
}

impl Source {
    /// Parses `text` if the path says that it is Rust.
    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Result<Self> {
        let (path, text) = (path.into(), text.into());
        let syntax = if path.ends_with(".rs") {
            Some(syn::parse_file(&text).with_context(|| format!("{path} is not Rust"))?)
        } else {
            None
        };
        let lines = text.lines().map(str::to_owned).collect();
        Ok(Self { path, text, lines, syntax })
    }

    /// A line, counted from 1.
    pub fn line(&self, number: usize) -> &str {
        self.lines.get(number.wrapping_sub(1)).map(String::as_str).unwrap_or_default()
    }

    /// Whether it lies in the hand-made kit, which follows the headers that it stands for.
    pub fn is_kit(&self) -> bool {
        self.path.starts_with("sdk/")
    }
}

/// All text files that git would take.
pub fn all() -> Result<Vec<Source>> {
    let mut sources = Vec::new();
    for entry in
        WalkBuilder::new(root()).hidden(false).require_git(false).filter_entry(|entry| entry.file_name() != ".git").build()
    {
        let entry = entry?;
        if !entry.file_type().is_some_and(|kind| kind.is_file()) {
            continue;
        }
        let path = entry.path().strip_prefix(root()).unwrap_or(entry.path()).to_string_lossy().replace('\\', "/");
        let bytes = fs::read(entry.path()).with_context(|| format!("could not read {path}"))?;
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source::new(path, text)?);
        }
    }
    Ok(sources)
}

/// The first line of a piece of syntax, with its attributes and comments for documentation.
pub fn first_line(syntax: &impl Spanned) -> usize {
    syntax.span().start().line
}

/// The text of the documentation that these attributes are.
pub fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| {
        let Meta::NameValue(meta) = &attribute.meta else { return None };
        let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &meta.value else { return None };
        attribute.path().is_ident("doc").then(|| text.value())
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether `#[cfg(test)]` or `#[test]` is among the attributes.
pub fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}
