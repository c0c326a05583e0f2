//! Names of addresses, from the PDB that lies beside an image.

use std::fs::File;
use std::path::Path;

use parking_lot::Mutex;
use pdb_addr2line::{Context, ContextPdbData, pdb::PDB};

/// The symbols of one image.
pub(crate) struct Symbols(Mutex<Context<'static, 'static>>);

impl std::fmt::Debug for Symbols {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Symbols")
    }
}

impl Symbols {
    /// Those of the image at `path`, if there is a readable PDB of the same name. They are kept for the life of the
    /// process.
    pub fn beside(path: &Path) -> Option<Symbols> {
        let file = File::open(path.with_extension("pdb")).ok()?;
        let data = ContextPdbData::try_from_pdb(PDB::open(file).ok()?).ok()?;
        let context = Box::leak(Box::new(data)).make_context().ok()?;
        Some(Symbols(Mutex::new(context)))
    }

    /// `function (file:line)` of the innermost frame at `rva`.
    pub fn name(&self, rva: u32) -> Option<String> {
        let context = self.0.lock();
        let frames = context.find_frames(rva).ok()??;
        let frame = frames.frames.first()?;
        let function = frame.function.as_deref().unwrap_or("?");
        let file = frame.file.as_deref().map(short);
        Some(match (file, frame.line) {
            (Some(file), Some(line)) => format!("{function} ({file}:{line})"),
            (Some(file), None) => format!("{function} ({file})"),
            _ => function.to_owned(),
        })
    }
}

/// The last three components of a path.
fn short(path: &str) -> String {
    let parts: Vec<_> = path.split(['/', '\\']).collect();
    parts[parts.len().saturating_sub(3)..].join("/")
}
