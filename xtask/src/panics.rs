//! Lists the places in the driver from which a panic can start.
//!
//! Every call (or tail jump) into Rust's panic machinery is found by disassembling the image with the functions that
//! its PDB names. Where it was written is read from the `core::panic::Location` that is passed along, or from
//! the PDB's lines. The list is compared with `xtask/panic-sites.txt`, in which each site that is left has its reason.

use std::{
    collections::BTreeMap,
    fmt,
    fs::{self, File},
};

use anyhow::{Context, Result};
use iced_x86::{Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic};
use pdb_addr2line::{ContextPdbData, Frame, TypeFormatterFlags, pdb::PDB};

use crate::{
    build::{self, Artifacts},
    image::{Image, Location},
    workspace::root,
};

/// How the functions begin from which there is no way but a panic.
const MACHINERY: &[&str] = &[
    "core::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_",
    "core::slice::index::slice_",
    "core::slice::copy_from_slice_impl::len_mismatch_fail",
    "core::str::slice_error_fail",
    "alloc::alloc::handle_alloc_error",
    "alloc::raw_vec::handle_error",
    "alloc::raw_vec::capacity_overflow",
    "wdk_panic::",
    "__rustc::rust_begin_unwind",
    "__rustc::__rust_alloc_error_handler",
    "rust_begin_unwind",
];

/// One place where a panic can start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    /// The function of the source (inlined or not) that has it.
    pub function: String,
    pub file: String,
    pub line: u32,
    /// The function of the machinery that is called.
    pub what: String,
    /// Where in Rust's library the panic is raised, if it is a function of the library that was inlined.
    pub inside: String,
}

impl fmt::Display for Site {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}  {}  in {}", self.file, self.line, self.what, self.function)?;
        if self.inside.is_empty() { Ok(()) } else { write!(out, "  (at {})", self.inside) }
    }
}

impl Site {
    /// What identifies a site in the list of those allowed; lines move too easily.
    fn key(&self) -> String {
        format!("{} | {} | {}", self.file, self.function, self.what)
    }
}

/// Where the list of allowed sites is.
pub const ALLOWED: &str = "xtask/panic-sites.txt";

/// What the test driver has of its own: it may panic, which ends a test as it should. The library in it is held to the list.
const EXEMPT: &str = "tests/exercise/";

/// The sites of a driver that the allow-list does not have.
pub fn unlisted(sites: &[Site]) -> Result<Vec<Site>> {
    let path = root().join(ALLOWED);
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {}", path.display()))?;
    Ok(beyond(sites, &text).into_iter().filter(|site| !site.file.starts_with(EXEMPT)).collect())
}

/// The sites beyond those of a list: a line `file | function | what # reason` allows one site, or any number where
/// it has an asterisk; a line `at file # reason` allows what is raised in a file of Rust's library, wherever it was inlined.
fn beyond(sites: &[Site], list: &str) -> Vec<Site> {
    let mut allowed: Vec<&str> = list.lines().map(|line| line.split('#').next().unwrap_or_default().trim()).collect();
    let mut beyond = Vec::new();
    for site in sites {
        let key = site.key();
        let allows = |pattern: &&str| match pattern.strip_prefix("at ") {
            Some(place) => matches(place, site.inside.split(':').next().unwrap_or_default()),
            None => matches(pattern, &key),
        };
        match allowed.iter().position(allows) {
            Some(position) if !allowed[position].contains('*') => drop(allowed.remove(position)),
            Some(_) => {}
            None => beyond.push(site.clone()),
        }
    }
    beyond
}

/// Whether a text fits a pattern in which an asterisk stands for anything.
fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(found) = rest.find(part) else { return false };
        rest = &rest[found + part.len()..];
    }
    false
}

/// Finds the sites of a driver.
pub fn sites(artifacts: &Artifacts) -> Result<Vec<Site>> {
    let image = Image::read(&artifacts.sys)?;
    let file = File::open(&artifacts.pdb).with_context(|| format!("could not read {}", artifacts.pdb.display()))?;
    let data = ContextPdbData::try_from_pdb(PDB::open(file)?)?;
    let flags = TypeFormatterFlags::default() | TypeFormatterFlags::NO_ARGUMENTS;
    let symbols = data.make_context_with_formatter_flags(flags)?;
    Ok(Search::new(&image, &symbols).run())
}

/// The search through the functions of one image.
struct Search<'a, 'p, 's> {
    image: &'a Image,
    symbols: &'a pdb_addr2line::Context<'p, 's>,
    /// Names of the machinery's functions by address.
    machinery: BTreeMap<u32, String>,
    /// Begin and end of all other functions.
    functions: Vec<(u32, u32)>,
}

impl<'a, 'p, 's> Search<'a, 'p, 's> {
    fn new(image: &'a Image, symbols: &'a pdb_addr2line::Context<'p, 's>) -> Self {
        let mut search = Self { image, symbols, machinery: BTreeMap::new(), functions: Vec::new() };
        for function in symbols.functions() {
            let name = function.name.unwrap_or_default();
            if is_machinery(&name) {
                search.machinery.insert(function.start_rva, name);
            } else if let Some(end) = function.end_rva {
                search.functions.push((function.start_rva, end));
            }
        }
        search
    }

    fn run(&self) -> Vec<Site> {
        let outside = self.functions.iter().filter(|(start, _)| !self.machinery.contains_key(start));
        let mut sites: Vec<Site> = outside.flat_map(|(start, end)| self.sites_of(*start, *end)).collect();
        sites.sort();
        // One line that was inlined in several places is one site.
        sites.dedup();
        sites
    }

    fn sites_of(&self, start: u32, end: u32) -> Vec<Site> {
        let code = self.image.at(start).map(|bytes| &bytes[..bytes.len().min((end - start) as usize)]);
        let decoder = Decoder::with_ip(64, code.unwrap_or_default(), u64::from(start), DecoderOptions::NONE);
        let mut sites = Vec::new();
        let mut location = None;
        for instruction in decoder {
            if let Some((target, what)) = self.panics(&instruction) {
                let place = location.take().or_else(|| self.location_within(target));
                sites.push(self.describe(instruction.ip() as u32, what, place));
            }
            location = self.location_after(&instruction, location);
        }
        sites
    }

    /// The function of the machinery that an instruction goes to.
    fn panics(&self, instruction: &Instruction) -> Option<(u32, &str)> {
        let leaves = matches!(instruction.flow_control(), FlowControl::Call | FlowControl::UnconditionalBranch);
        let target = u32::try_from(instruction.near_branch_target()).ok().filter(|_| leaves)?;
        Some((target, self.machinery.get(&target)?))
    }

    /// The location that a function of the machinery, or one that it calls, loads by itself: then all callers pass the
    /// same one, and the optimizer has put it there.
    fn location_within(&self, start: u32) -> Option<Location> {
        let code = self.image.at(start)?;
        for instruction in Decoder::with_ip(64, code, u64::from(start), DecoderOptions::NONE) {
            if let Some(location) = self.location_after(&instruction, None) {
                return Some(location);
            }
            if instruction.flow_control() != FlowControl::Next {
                let (further, _) = self.panics(&instruction).filter(|(target, _)| *target != start)?;
                return self.location_within(further);
            }
        }
        None
    }

    /// The location whose address has been loaded when this instruction is done, within a run of straight code.
    fn location_after(&self, instruction: &Instruction, before: Option<Location>) -> Option<Location> {
        if instruction.mnemonic() == Mnemonic::Lea && instruction.is_ip_rel_memory_operand() {
            let address = u32::try_from(instruction.ip_rel_memory_address()).ok()?;
            return self.image.location(address).or(before);
        }
        if instruction.flow_control() == FlowControl::Next { before } else { None }
    }

    fn describe(&self, address: u32, what: &str, location: Option<Location>) -> Site {
        let frames = self.symbols.find_frames(address).ok().flatten().map(|found| found.frames).unwrap_or_default();
        let wrote = |frame: &&Frame<'_>| {
            let file = frame.file.as_deref().unwrap_or_default();
            !is_library(file) && location.as_ref().is_none_or(|place| is_library(&place.file) || file.ends_with(&place.file))
        };
        let ours = frames.iter().find(wrote);
        let frame = ours.or(frames.last());
        let function = frame.and_then(|frame| frame.function.clone()).unwrap_or_default();
        let written = frame.map(|frame| (frame.file.as_deref().unwrap_or_default().to_owned(), frame.line.unwrap_or(0)));
        let (file, line, inside) = match (location, written.unwrap_or_default()) {
            (Some(location), _) if !is_library(&location.file) => (location.file, location.line, String::new()),
            (Some(inside), (file, line)) => (file, line, format!("{}:{}", shorten(&inside.file), inside.line)),
            (None, (file, line)) => (file, line, String::new()),
        };
        let file = shorten(&file);
        let what = if begins_async(&file, line) { RESUMED } else { what };
        Site { function, file, line, what: what.to_owned(), inside }
    }
}

/// Polling a future that has ended: a panic that the compiler puts into every async function, and whose code the linker
/// merges with that of others, so that only the place tells it from them.
const RESUMED: &str = "async fn resumed after its end";

/// Whether the body of an async function or block begins at this line: the place of a panic of the compiler's own.
fn begins_async(file: &str, line: u32) -> bool {
    let text = fs::read_to_string(root().join(file)).unwrap_or_default();
    opens_async_body(&text, line as usize)
}

fn opens_async_body(text: &str, line: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(line).collect();
    let Some((last, before)) = lines.split_last() else { return false };
    let starts = |line: &str| ["async fn ", "async {", "async move {"].iter().any(|start| line.contains(start));
    // A signature over several lines: back to where it begins, but not over the end of anything before it.
    let signature = before.iter().rev().take_while(|line| !line.contains(['{', '}', ';']));
    starts(last) || (last.trim_end().ends_with('{') && signature.into_iter().any(|line| starts(line)))
}

fn is_machinery(name: &str) -> bool {
    MACHINERY.iter().any(|prefix| name.starts_with(prefix))
}

/// Whether a source file belongs to Rust's library.
fn is_library(file: &str) -> bool {
    file.is_empty() || file.replace('\\', "/").contains("/library/")
}

/// A path as one reads it: from the root of the repository where it is inside, and for Rust's library the same however
/// it was installed (`/rustc/<commit>/library` if it came compiled).
fn shorten(file: &str) -> String {
    let file = file.replace('\\', "/");
    if let Some(inside) = file.strip_prefix(build::SOURCES) {
        return inside.trim_start_matches('/').to_owned();
    }
    match file.split_once("/library/") {
        Some((root, inside)) if root.starts_with("/rust") => format!("/rust/library/{inside}"),
        _ => file,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn site(function: &str, line: u32) -> Site {
        let (file, what) = ("src/a.rs".to_owned(), "core::panicking::panic_bounds_check".to_owned());
        Site { function: function.to_owned(), file, line, what, inside: String::new() }
    }

    #[test]
    fn a_site_is_allowed_as_often_as_it_is_listed() {
        let list = "# comment\nsrc/a.rs | a::f | core::panicking::panic_bounds_check # an index of the driver's own\n";
        assert_eq!(beyond(&[site("a::f", 1)], list), []);
        assert_eq!(beyond(&[site("a::f", 1), site("a::f", 9)], list), [site("a::f", 9)]);
        assert_eq!(beyond(&[site("a::g", 1)], list), [site("a::g", 1)]);
    }

    #[test]
    fn an_asterisk_allows_any_number() {
        let list = "src/a.rs | *::f | * # because";
        assert_eq!(beyond(&[site("a::f", 1), site("b::f", 2)], list), []);
        assert_eq!(beyond(&[site("a::g", 1)], list), [site("a::g", 1)]);
        assert!(matches("a*c*e", "abcde") && !matches("a*c*e", "abde") && matches("abc", "abc") && !matches("ab", "abc"));
    }

    #[test]
    fn the_machinery_is_told_from_the_rest() {
        assert!(is_machinery("core::slice::index::slice_index_fail"));
        assert!(!is_machinery("core::slice::sort::merge"));
    }

    #[test]
    fn the_body_of_an_async_function_is_found() {
        let text = "async fn one() {\n    a();\n}\n\nasync fn two(\n    x: u8,\n) -> u8 {\n    if x {\n";
        let opens: Vec<usize> = (1..=8).filter(|line| opens_async_body(text, *line)).collect();
        assert_eq!(opens, [1, 5, 7]);
    }

    #[test]
    fn the_library_is_told_from_crates() {
        assert!(is_library("/rust/library/core/src/num/mod.rs"));
        assert!(!is_library("/wskclient/src/lib.rs"));
        assert_eq!(shorten("/rustc/0123abc/library/core/src/time.rs"), "/rust/library/core/src/time.rs");
        assert_eq!(shorten("/wskclient/src/lib.rs"), "src/lib.rs");
    }
}
