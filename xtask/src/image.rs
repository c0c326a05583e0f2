//! A driver image as it lies in memory: its sections, imports and the strings of its panic locations.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use object::{
    LittleEndian as LE,
    pe::{ImageNtHeaders64, ImageThunkData64},
    read::pe::{ImageNtHeaders, ImageOptionalHeader, ImageThunkData, Import, ImportTable, PeFile64},
};

/// A driver file, parsed.
pub struct Image {
    bytes: Vec<u8>,
}

/// One section and what may be done with its pages.
pub struct Section {
    pub name: String,
    pub size: u32,
    pub write: bool,
    pub execute: bool,
}

/// A function that the image imports, and from which module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ImportedName {
    pub module: String,
    pub name: String,
}

/// A place in the source, as the compiler stores it for panics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub file: String,
    pub line: u32,
}

impl Image {
    /// Reads a file and checks that it is a 64-bit PE image.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = fs::read(path).with_context(|| format!("could not read {}", path.display()))?;
        let image = Self { bytes };
        image.parse().with_context(|| format!("{} is not a driver image", path.display()))?;
        Ok(image)
    }

    fn parse(&self) -> Result<PeFile64<'_>> {
        Ok(PeFile64::parse(&*self.bytes)?)
    }

    /// The sections, in order.
    pub fn sections(&self) -> Result<Vec<Section>> {
        const EXECUTE: u32 = 0x2000_0000;
        const WRITE: u32 = 0x8000_0000;
        let pe = self.parse()?;
        let sections = pe.section_table();
        Ok(sections
            .iter()
            .map(|section| Section {
                name: String::from_utf8_lossy(section.raw_name()).into_owned(),
                size: section.virtual_size.get(LE),
                write: section.characteristics.get(LE).0 & WRITE != 0,
                execute: section.characteristics.get(LE).0 & EXECUTE != 0,
            })
            .collect())
    }

    /// Everything that the image imports by name.
    pub fn imports(&self) -> Result<Vec<ImportedName>> {
        let pe = self.parse()?;
        let Some(table) = pe.import_table()? else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        let mut descriptors = table.descriptors()?;
        while let Some(descriptor) = descriptors.next()? {
            let module = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).into_owned();
            let mut thunks = table.thunks(descriptor.original_first_thunk.get(LE))?;
            while let Some(thunk) = thunks.next::<ImageNtHeaders64>()? {
                found.push(ImportedName { module: module.clone(), name: import_name(&table, thunk)? });
            }
        }
        Ok(found)
    }

    /// The bytes from a relative address up to the end of its section's file data.
    pub fn at(&self, rva: u32) -> Option<&[u8]> {
        let pe = self.parse().ok()?;
        pe.section_table().pe_data_at(&*self.bytes, rva)
    }

    /// The `core::panic::Location` at a relative address, if there is one that makes sense.
    pub fn location(&self, rva: u32) -> Option<Location> {
        let raw = self.at(rva)?.get(..24)?;
        let pointer = u64::from_le_bytes(raw[..8].try_into().ok()?);
        let length = u64::from_le_bytes(raw[8..16].try_into().ok()?);
        let line = u32::from_le_bytes(raw[16..20].try_into().ok()?);
        let base = self.parse().ok()?.nt_headers().optional_header().image_base();
        let rva = u32::try_from(pointer.checked_sub(base)?).ok()?;
        let text = self.at(rva)?.get(..usize::try_from(length).ok()?)?;
        let file = str::from_utf8(text).ok()?;
        let sensible = file.ends_with(".rs") && file.len() < 1024 && line > 0;
        sensible.then(|| Location { file: file.to_owned(), line })
    }
}

fn import_name(table: &ImportTable<'_>, thunk: ImageThunkData64) -> Result<String> {
    if thunk.is_ordinal() {
        return Ok(format!("#{}", thunk.ordinal()));
    }
    let import = table.import::<ImageNtHeaders64>(thunk)?;
    Ok(match import {
        Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
        Import::Ordinal(ordinal) => format!("#{ordinal}"),
    })
}
