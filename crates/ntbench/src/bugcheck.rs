//! Bug checks: the run ends with the code decoded.
#![allow(unsafe_code)] // Parameters may point to text of the driver's.

use nt_abi::export_table;
use parking_lot::RwLock;

use crate::{image, verifier};

export_table!(pub(crate) EXPORTS, "ntoskrnl.exe", [KeBugCheckEx, KeBugCheck]);

/// `wdk-panic` stops with this code; parameters are the file's name, its length, line and column.
const RUST_PANIC: u32 = u32::from_be_bytes(*b"RPNC");

/// Four letters, if the code is made of them.
fn letters(code: u32) -> Option<String> {
    let bytes = code.to_be_bytes();
    bytes.iter().all(|b| b.is_ascii_alphanumeric()).then(|| bytes.iter().map(|&b| b as char).collect())
}

/// What the first parameter of a driver's own code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// The code.
    pub code: u32,
    /// The first parameter.
    pub first: usize,
    /// What it means.
    pub meaning: &'static str,
}

static NAMED: RwLock<Vec<Named>> = RwLock::new(Vec::new());

/// Makes a driver's own codes known.
pub(crate) fn configure(named: &[Named]) {
    NAMED.write().clear();
    NAMED.write().extend_from_slice(named);
}

fn meaning(code: u32, first: usize) -> String {
    let named = NAMED.read();
    named
        .iter()
        .find(|named| named.code == code && named.first == first)
        .map(|named| format!(": {}", named.meaning))
        .unwrap_or_default()
}

fn explain(code: u32, parameters: [usize; 4]) -> String {
    let [file, length, line, column] = parameters;
    if code == RUST_PANIC {
        let known = image::index_of(file).is_some() && image::index_of(file.wrapping_add(length)).is_some();
        // SAFETY: both ends lie in one image's data, which is mapped while its code runs.
        let name = known.then(|| String::from_utf8_lossy(unsafe { std::slice::from_raw_parts(file as *const u8, length) }));
        return format!("a Rust panic at {}:{line}:{column}", name.unwrap_or("an unknown place".into()));
    }
    let name = letters(code).map(|name| format!(" '{name}'")).unwrap_or_default();
    let meaning = meaning(code, file);
    format!("bug check {code:#010x}{name} ({file:#x}, {length:#x}, {line:#x}, {column:#x}){meaning}")
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeBugCheckEx(code: u32, p1: usize, p2: usize, p3: usize, p4: usize) -> ! {
    verifier::fatal("bugcheck", explain(code, [p1, p2, p3, p4]))
}

/// # IRQL
/// Any
#[unsafe(no_mangle)]
pub extern "win64" fn KeBugCheck(code: u32) -> ! {
    KeBugCheckEx(code, 0, 0, 0, 0)
}

#[cfg(test)]
mod tests {
    use super::{Named, RUST_PANIC, configure, explain};

    #[test]
    fn codes_are_decoded() {
        assert_eq!(explain(u32::from_be_bytes(*b"WskU"), [1, 2, 3, 4]), "bug check 0x57736b55 'WskU' (0x1, 0x2, 0x3, 0x4)");
        let named = Named { code: u32::from_be_bytes(*b"WskU"), first: 2, meaning: "no way back" };
        configure(&[named]);
        assert_eq!(explain(named.code, [2, 0, 0, 0]), "bug check 0x57736b55 'WskU' (0x2, 0x0, 0x0, 0x0): no way back");
        assert_eq!(explain(0xd1, [0; 4]), "bug check 0x000000d1 (0x0, 0x0, 0x0, 0x0)");
        assert_eq!(explain(RUST_PANIC, [0, 0, 7, 9]), "a Rust panic at an unknown place:7:9");
    }
}
