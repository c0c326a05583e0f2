//! The import table of a PE image that is mapped in memory: which slot is of which function.
//!
//! Nothing here trusts the image: every offset is checked against its size, and a table that ends outside of it ends there.

/// An image in memory, from its base.
#[derive(Clone, Copy)]
pub struct Image<'a>(&'a [u8]);

/// One imported function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Import<'a> {
    /// The module it is imported from, as the image spells it.
    pub module: &'a str,
    /// Its name.
    pub name: &'a str,
    /// Offset of the slot that holds its address, from the image's base.
    pub slot: usize,
}

/// Offset of the header's offset, and what is in an image at these places.
const LFANEW: usize = 0x3c;
const PE_SIGNATURE: u32 = 0x0000_4550;
const OPTIONAL_HEADER: usize = 24;
const PE32_PLUS: u16 = 0x20b;
const SIZE_OF_IMAGE: usize = OPTIONAL_HEADER + 56;
const DIRECTORY_OF_IMPORTS: usize = OPTIONAL_HEADER + 112 + 8;
const DESCRIPTOR: usize = 20;
const BY_ORDINAL: u64 = 1 << 63;

impl<'a> Image<'a> {
    /// An image of 64-bit code. None if the bytes are none.
    pub fn new(bytes: &'a [u8]) -> Option<Image<'a>> {
        let image = Image(bytes);
        let header = image.header()?;
        let is_pe = image.u32(header)? == PE_SIGNATURE && image.u16(header + OPTIONAL_HEADER)? == PE32_PLUS;
        is_pe.then_some(image)
    }

    /// How many bytes the image says that it takes.
    pub fn size(&self) -> Option<usize> {
        Some(self.u32(self.header()?.checked_add(SIZE_OF_IMAGE)?)? as usize)
    }

    /// Every function that is imported by name.
    pub fn imports(self) -> impl Iterator<Item = Import<'a>> {
        let table = self.header().and_then(|header| self.u32(header + DIRECTORY_OF_IMPORTS)).filter(|table| *table != 0);
        let modules = (0..).map_while(move |at| Module::read(self, table? as usize + at * DESCRIPTOR));
        modules.flat_map(|module| (0..).map_while(move |at| module.import(at)).flatten())
    }

    fn header(&self) -> Option<usize> {
        Some(self.u32(LFANEW)? as usize)
    }

    fn bytes<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.0.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    fn u16(&self, at: usize) -> Option<u16> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Option<u32> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Option<u64> {
        self.bytes(at).map(u64::from_le_bytes)
    }

    fn text(&self, at: usize) -> Option<&'a str> {
        let rest = self.0.get(at..)?;
        let length = rest.iter().position(|byte| *byte == 0)?;
        core::str::from_utf8(&rest[..length]).ok()
    }
}

/// One module that is imported from.
#[derive(Clone, Copy)]
struct Module<'a> {
    image: Image<'a>,
    name: &'a str,
    names: usize,
    slots: usize,
}

impl<'a> Module<'a> {
    /// The descriptor at this place; None for the end of the table.
    fn read(image: Image<'a>, at: usize) -> Option<Module<'a>> {
        let (names, name, slots) = (image.u32(at)? as usize, image.u32(at + 12)? as usize, image.u32(at + 16)? as usize);
        if name == 0 || names == 0 || slots == 0 {
            return None;
        }
        Some(Module { image, name: image.text(name)?, names, slots })
    }

    /// The import at this place; the inner None for one without a name, the outer for the end.
    fn import(&self, at: usize) -> Option<Option<Import<'a>>> {
        let entry = self.image.u64(self.names + 8 * at)?;
        if entry == 0 {
            return None;
        }
        if entry & BY_ORDINAL != 0 {
            return Some(None);
        }
        // Two bytes of a hint come before the name.
        let name = self.image.text(entry as usize + 2);
        Some(name.map(|name| Import { module: self.name, name, slot: self.slots + 8 * at }))
    }
}
