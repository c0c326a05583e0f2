//! The import table of an image, also of one that is damaged: nothing it says leads out of it.

use wine_shim::image::{Image, Import};

/// An image with imports from two modules, the second of which also imports by ordinal.
struct Made {
    bytes: Vec<u8>,
}

const HEADER: usize = 0x80;
const TABLE: usize = 0x200;
const ORDINAL: u64 = 1 << 63 | 7;

impl Made {
    fn new() -> Self {
        let mut made = Self { bytes: vec![0; 0x1000] };
        made.u32(0x3c, HEADER as u32);
        made.u32(HEADER, 0x4550);
        made.bytes[HEADER + 24..][..2].copy_from_slice(&0x20b_u16.to_le_bytes());
        made.u32(HEADER + 24 + 56, 0x1000);
        made.u32(HEADER + 24 + 120, TABLE as u32);
        made.module(0, "ntoskrnl.exe", 0x300, 0x400, &[0x500, 0x520, 0]);
        made.module(1, "NETIO.SYS", 0x340, 0x440, &[ORDINAL, 0x540, 0]);
        made.text(0x502, "KeSetEvent");
        made.text(0x522, "ExAllocatePool2");
        made.text(0x542, "NmrRegisterClient");
        made
    }

    fn u32(&mut self, at: usize, value: u32) {
        self.bytes[at..][..4].copy_from_slice(&value.to_le_bytes());
    }

    fn text(&mut self, at: usize, text: &str) {
        self.bytes[at..][..text.len()].copy_from_slice(text.as_bytes());
    }

    fn module(&mut self, number: usize, name: &str, names: usize, slots: usize, entries: &[u64]) {
        let (at, text) = (TABLE + 20 * number, 0x600 + 0x20 * number);
        self.u32(at, names as u32);
        self.u32(at + 12, text as u32);
        self.u32(at + 16, slots as u32);
        self.text(text, name);
        for (entry, place) in entries.iter().zip((names..).step_by(8)) {
            self.bytes[place..][..8].copy_from_slice(&entry.to_le_bytes());
        }
    }

    fn imports(&self) -> Vec<Import<'_>> {
        Image::new(&self.bytes).expect("an image").imports().collect()
    }
}

#[test]
fn every_import_with_a_name_is_found_with_its_slot() {
    let made = Made::new();
    let import = |module, name, slot| Import { module, name, slot };
    let wanted = [
        import("ntoskrnl.exe", "KeSetEvent", 0x400),
        import("ntoskrnl.exe", "ExAllocatePool2", 0x408),
        import("NETIO.SYS", "NmrRegisterClient", 0x448),
    ];
    assert_eq!(made.imports(), wanted);
    assert_eq!(Image::new(&made.bytes).and_then(|image| image.size()), Some(0x1000));
}

#[test]
fn what_is_no_image_is_none() {
    assert!(Image::new(&[]).is_none());
    let mut made = Made::new();
    made.bytes[HEADER] = b'X';
    assert!(Image::new(&made.bytes).is_none());
    let mut of_32_bits = Made::new();
    of_32_bits.bytes[HEADER + 25] = 1;
    assert!(Image::new(&of_32_bits.bytes).is_none());
}

#[test]
fn an_image_without_imports_has_none() {
    let mut made = Made::new();
    made.u32(HEADER + 24 + 120, 0);
    assert_eq!(made.imports(), []);
}

#[test]
fn an_image_that_ends_early_has_the_imports_before_its_end() {
    let made = Made::new();
    let whole = made.imports();
    for length in 0..made.bytes.len() {
        let Some(image) = Image::new(&made.bytes[..length]) else { continue };
        assert!(image.imports().all(|import| whole.contains(&import)), "cut at {length}");
    }
}

#[test]
fn numbers_that_lie_lead_nowhere() {
    for at in (0..0x600).step_by(4) {
        for lie in [0, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX - 3, u32::MAX] {
            let mut made = Made::new();
            made.u32(at, lie);
            let Some(image) = Image::new(&made.bytes) else { continue };
            // Names are inside; that the slots are is checked by whoever writes there.
            assert!(image.imports().take(10_000).count() < 10_000, "{lie:#x} at {at:#x}");
        }
    }
}
