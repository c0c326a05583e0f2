//! Reading a PE image: everything is checked here, before anything is mapped.

use std::ops::Range;

use object::LittleEndian as LE;
use object::pe;
use object::read::pe::{Import, PeFile64};

/// What mapping an image takes.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Bytes of address space.
    pub size: usize,
    /// The address it was linked for.
    pub preferred_base: u64,
    /// Bytes of headers.
    pub headers: usize,
    /// Its sections.
    pub sections: Vec<Section>,
    /// Offset of the entry point.
    pub entry: usize,
    /// Offsets of the 64-bit addresses to relocate.
    pub relocations: Vec<usize>,
    /// Its imports.
    pub imports: Vec<Wanted>,
}

/// One section.
#[derive(Debug)]
pub(crate) struct Section {
    pub name: String,
    /// Its place in the image.
    pub range: Range<usize>,
    /// Its place in the file.
    pub file: Range<usize>,
    pub writable: bool,
    pub executable: bool,
}

/// One import.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// Module, in lower case.
    pub module: String,
    /// Name, or `#ordinal`.
    pub name: String,
    /// Offset of the word that gets the address.
    pub slot: usize,
}

/// What is wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is no PE image, or one of its tables is damaged.
    #[error("it is not a well-formed PE image: {0}")]
    Format(#[from] object::read::Error),
    /// It is for another machine.
    #[error("it is for machine {0:#06x}; this bench runs 0x8664 (x64)")]
    Machine(u16),
    /// One of its headers says something that cannot be.
    #[error("{0}")]
    Layout(String),
    /// Its pages cannot be mapped.
    #[error("its pages cannot be mapped: {0}")]
    Map(#[from] rustix::io::Errno),
}

fn layout<T>(what: impl Into<String>) -> Result<T, ImageError> {
    Err(ImageError::Layout(what.into()))
}

const PAGE: usize = 4096;
/// No driver is larger.
const MAX_SIZE: usize = 1 << 30;

/// Reads and checks an image.
pub(crate) fn parse(data: &[u8]) -> Result<Plan, ImageError> {
    let file = PeFile64::parse(data)?;
    let headers = file.nt_headers();
    let machine = headers.file_header.machine.get(LE);
    if machine.0 != pe::IMAGE_FILE_MACHINE_AMD64.0 {
        return Err(ImageError::Machine(machine.0));
    }
    let optional = &headers.optional_header;
    let size = optional.size_of_image.get(LE) as usize;
    if size == 0 || size > MAX_SIZE {
        return layout(format!("its size of {size} bytes is not one that a driver has"));
    }
    if (optional.section_alignment.get(LE) as usize) < PAGE {
        return layout("its sections are not aligned to pages");
    }
    let head = optional.size_of_headers.get(LE) as usize;
    if head > data.len() || head > size {
        return layout(format!("its headers of {head} bytes are larger than the file or the image"));
    }
    let sections = sections(&file, data.len(), size, head)?;
    let entry = optional.address_of_entry_point.get(LE) as usize;
    if !sections.iter().any(|s| s.executable && s.range.contains(&entry)) {
        return layout(format!("its entry point {entry:#x} is not in a section of code"));
    }
    let relocations = relocations(&file, &sections)?;
    let imports = imports(&file, &sections)?;
    let preferred_base = optional.image_base.get(LE);
    Ok(Plan { size: size.next_multiple_of(PAGE), preferred_base, headers: head, sections, entry, relocations, imports })
}

/// Whether an image could be mapped, its imports aside.
///
/// # Errors
/// Why not.
pub fn check(data: &[u8]) -> Result<(), ImageError> {
    parse(data).map(|_| ())
}

fn sections(file: &PeFile64<'_>, length: usize, size: usize, head: usize) -> Result<Vec<Section>, ImageError> {
    let mut sections: Vec<Section> = Vec::new();
    let mut free = head.next_multiple_of(PAGE);
    for header in file.section_table().iter() {
        let section = section(header, length)?;
        let name = &section.name;
        if section.range.start < free || !section.range.start.is_multiple_of(PAGE) {
            return layout(format!("section {name} overlaps what is before it or is not on a page"));
        }
        if section.range.end > size {
            return layout(format!("section {name} ends outside the image"));
        }
        free = section.range.end.next_multiple_of(PAGE);
        sections.push(section);
    }
    Ok(sections)
}

fn section(header: &pe::ImageSectionHeader, length: usize) -> Result<Section, ImageError> {
    let name = String::from_utf8_lossy(header.raw_name()).into_owned();
    let start = header.virtual_address.get(LE) as usize;
    let raw_size = header.size_of_raw_data.get(LE) as usize;
    let raw_start = header.pointer_to_raw_data.get(LE) as usize;
    let virtual_size = match header.virtual_size.get(LE) as usize {
        0 => raw_size,
        size => size,
    };
    let file = raw_start..raw_start + raw_size.min(virtual_size);
    if raw_size > 0 && file.end > length {
        return layout(format!("section {name} lies outside the file, which may be truncated"));
    }
    let flags = header.characteristics.get(LE);
    let writable = flags.0 & pe::IMAGE_SCN_MEM_WRITE.0 != 0;
    let executable = flags.0 & pe::IMAGE_SCN_MEM_EXECUTE.0 != 0;
    if writable && executable {
        return layout(format!("section {name} is writable and executable"));
    }
    Ok(Section { name, range: start..start + virtual_size, file, writable, executable })
}

/// Whether `length` bytes at offset `at` lie in one section.
fn in_section(sections: &[Section], at: usize, length: usize) -> bool {
    sections.iter().any(|s| s.range.start <= at && at + length <= s.range.end)
}

fn relocations(file: &PeFile64<'_>, sections: &[Section]) -> Result<Vec<usize>, ImageError> {
    let characteristics = file.nt_headers().file_header.characteristics.get(LE);
    let stripped = characteristics.0 & pe::IMAGE_FILE_RELOCS_STRIPPED.0 != 0;
    let mut found = Vec::new();
    let Some(mut blocks) = file.data_directories().relocation_blocks(file.data(), &file.section_table())? else {
        return if stripped { layout("it has no relocations: it cannot be mapped anywhere else") } else { Ok(found) };
    };
    while let Some(block) = blocks.next()? {
        for relocation in block {
            let at = relocation.virtual_address as usize;
            match relocation.typ {
                t if t == pe::IMAGE_REL_BASED_ABSOLUTE => {}
                t if t == pe::IMAGE_REL_BASED_DIR64 && in_section(sections, at, 8) => found.push(at),
                t if t == pe::IMAGE_REL_BASED_DIR64 => {
                    return layout(format!("a relocation at {at:#x} lies outside its sections"));
                }
                t => return layout(format!("a relocation at {at:#x} is of kind {t:?}, which x64 does not have")),
            }
        }
    }
    Ok(found)
}

fn imports(file: &PeFile64<'_>, sections: &[Section]) -> Result<Vec<Wanted>, ImageError> {
    let mut wanted = Vec::new();
    let Some(table) = file.import_table()? else { return Ok(wanted) };
    let mut descriptors = table.descriptors()?;
    while let Some(descriptor) = descriptors.next()? {
        let module = String::from_utf8_lossy(table.name(descriptor.name.get(LE))?).to_lowercase();
        let mut slot = descriptor.first_thunk.get(LE) as usize;
        let names = match descriptor.original_first_thunk.get(LE) {
            0 => descriptor.first_thunk.get(LE),
            names => names,
        };
        let mut thunks = table.thunks(names)?;
        while let Some(thunk) = thunks.next::<pe::ImageNtHeaders64>()? {
            if !in_section(sections, slot, 8) {
                return layout(format!("the import table of {module} lies outside its sections"));
            }
            let name = match table.import::<pe::ImageNtHeaders64>(thunk)? {
                Import::Name(_, name) => String::from_utf8_lossy(name).into_owned(),
                Import::Ordinal(ordinal) => format!("#{ordinal}"),
            };
            wanted.push(Wanted { module: module.clone(), name, slot });
            slot += 8;
        }
    }
    Ok(wanted)
}
