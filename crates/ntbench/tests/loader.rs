//! The image loader: what it maps, and what it says of images that are damaged.

mod support;

use std::path::{Path, PathBuf};

use ntbench::{Bench, Config, ImageError, LoadError, OnViolation};

fn bench() -> Bench {
    Bench::new(Config { on_violation: OnViolation::Abort, provider: false, ..Config::default() }).expect("a bench")
}

fn good() -> (PathBuf, Vec<u8>) {
    let path = support::build("faults", "good", &["CASE=0"]);
    let bytes = std::fs::read(&path).expect("the image");
    (path, bytes)
}

/// Writes damaged bytes beside the good image and loads them.
fn load(bench: &Bench, beside: &Path, bytes: &[u8]) -> Result<ntbench::Driver, LoadError> {
    let path = beside.with_file_name("damaged.sys");
    std::fs::write(&path, bytes).expect("a file");
    bench.load("damaged", &path)
}

/// What loading the image with these changes answers.
fn damaged(change: impl FnOnce(&mut Vec<u8>)) -> String {
    let bench = bench();
    let (path, mut bytes) = good();
    change(&mut bytes);
    match load(&bench, &path, &bytes) {
        Ok(driver) => format!("loaded, {}", driver.unload().map_or_else(|refused| refused.to_string(), |_| "unloaded".into())),
        Err(error) => error.to_string(),
    }
}

fn u32_at(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes")) as usize
}

fn put(bytes: &mut [u8], at: usize, value: u32) {
    bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

/// Offset of the PE signature.
fn pe(bytes: &[u8]) -> usize {
    u32_at(bytes, 0x3c)
}

/// Offset of the n-th section header.
fn section(bytes: &[u8], n: usize) -> usize {
    let optional = u16::from_le_bytes([bytes[pe(bytes) + 20], bytes[pe(bytes) + 21]]);
    pe(bytes) + 24 + usize::from(optional) + 40 * n
}

/// File offset of the address `rva`.
fn offset(bytes: &[u8], rva: usize) -> usize {
    let count = usize::from(bytes[pe(bytes) + 6]);
    let header = (0..count).map(|n| section(bytes, n)).find(|&at| {
        let start = u32_at(bytes, at + 12);
        (start..start + u32_at(bytes, at + 16)).contains(&rva)
    });
    let header = header.expect("a section");
    rva - u32_at(bytes, header + 12) + u32_at(bytes, header + 20)
}

/// Offset of the n-th data directory.
fn directory(bytes: &[u8], n: usize) -> usize {
    pe(bytes) + 24 + 112 + 8 * n
}

macro_rules! damaged {
    ($($name:ident: $change:expr => $wanted:literal;)*) => {
        $(
            #[test]
            fn $name() {
                if let Some(output) = support::isolated(stringify!($name), || println!("answer: {}", damaged($change))) {
                    let text = String::from_utf8_lossy(&output.stdout);
                    assert!(text.contains($wanted), "no {:?} in {text} {}", $wanted, String::from_utf8_lossy(&output.stderr));
                }
            }
        )*
    };
}

damaged! {
    an_undamaged_image_loads: |_| {} => "answer: loaded, unloaded";
    an_empty_file_is_refused: |bytes| bytes.clear() => "not a well-formed PE image";
    a_text_is_refused: |bytes| *bytes = b"#!/bin/sh\n".repeat(100) => "not a well-formed PE image";
    half_an_image_is_refused: |bytes| bytes.truncate(bytes.len() / 2) => "truncated";
    another_machine_is_refused: |bytes| { let at = pe(bytes) + 4; bytes[at..at + 2].copy_from_slice(&[0x64, 0xaa]); } => "0xaa64";
    an_entry_outside_the_image_is_refused: |bytes| { let at = pe(bytes) + 24 + 16; put(bytes, at, 0x7fff_0000); } => "entry point";
    an_entry_in_data_is_refused: |bytes| { let at = pe(bytes) + 24 + 16; put(bytes, at, 0x10); } => "entry point";
    a_section_outside_the_file_is_refused: |bytes| { let at = section(bytes, 0) + 20; put(bytes, at, 0x7fff_0000); } => "outside the file";
    a_section_outside_the_image_is_refused: |bytes| { let at = section(bytes, 1) + 12; put(bytes, at, 0x7fff_f000); } => "outside the image";
    sections_that_overlap_are_refused: |bytes| { let at = section(bytes, 1) + 12; put(bytes, at, 0x1000); } => "overlaps";
    a_writable_executable_section_is_refused: |bytes| { let at = section(bytes, 0) + 36; put(bytes, at, 0xe000_0020); } => "writable and executable";
    a_huge_image_is_refused: |bytes| { let at = pe(bytes) + 24 + 56; put(bytes, at, 0xffff_f000); } => "not one that a driver has";
    a_damaged_relocation_block_is_refused: |bytes| {
        let block = offset(bytes, u32_at(bytes, directory(bytes, 5)));
        put(bytes, block + 4, 0xffff_fff0);
    } => "not a well-formed PE image";
    a_relocation_outside_the_image_is_refused: |bytes| {
        let block = offset(bytes, u32_at(bytes, directory(bytes, 5)));
        put(bytes, block, 0x7fff_0000);
    } => "lies outside its sections";
    a_relocation_of_another_kind_is_refused: |bytes| {
        let block = offset(bytes, u32_at(bytes, directory(bytes, 5)));
        bytes[block + 9] = 0x30 | bytes[block + 9] & 0x0f;
    } => "which x64 does not have";
    an_import_table_outside_the_image_is_refused: |bytes| { let at = directory(bytes, 1); put(bytes, at, 0x7fff_0000); } => "not a well-formed PE image";
}

#[test]
fn every_import_that_is_missing_is_named() {
    let rename = |bytes: &mut Vec<u8>| {
        for (name, new) in [(&b"KfRaiseIrql"[..], b"KfShineIrql"), (&b"KeLowerIrql"[..], b"KeTowerIrql")] {
            let at = bytes.windows(name.len()).position(|window| window == name).expect("the name");
            bytes[at..at + name.len()].copy_from_slice(new);
        }
    };
    if let Some(output) = support::isolated("every_import_that_is_missing_is_named", || println!("answer: {}", damaged(rename))) {
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("ntoskrnl.exe!KfShineIrql") && text.contains("ntoskrnl.exe!KeTowerIrql"), "{text}");
    }
}

/// No damage to one byte of the headers, and no length, makes the loader itself fail: it answers or refuses.
#[test]
fn no_damage_to_the_headers_hurts_the_loader() {
    let (_, bytes) = good();
    let end = section(&bytes, usize::from(bytes[pe(&bytes) + 6]));
    let mut refused = 0;
    for at in 0..end {
        for value in [0x00, 0x7f, 0x80, 0xff] {
            let mut damaged = bytes.clone();
            damaged[at] = value;
            refused += u32::from(ntbench::image::parse::check(&damaged).is_err());
        }
    }
    assert!(refused > 50, "only {refused} damaged images were refused");
    assert!(
        (0..bytes.len() - 1)
            .step_by(7)
            .all(|length| ntbench::image::parse::check(&bytes[..length]).is_err() || length > bytes.len() - 512)
    );
    assert!(ntbench::image::parse::check(&bytes).is_ok());
}

#[test]
fn bases_come_from_the_seed() {
    let base = || {
        let (path, _) = good();
        println!("answer: {:#x}", bench().load("good", &path).expect("it loads").image().range.start);
    };
    let run =
        || support::isolated("bases_come_from_the_seed", base).map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    if let (Some(first), Some(second)) = (run(), run()) {
        let answer = |text: &str| text.lines().find(|line| line.starts_with("answer: 0x1")).map(str::to_owned);
        assert!(answer(&first).is_some(), "{first}");
        assert_eq!(answer(&first), answer(&second));
    }
}

#[test]
fn an_unreadable_file_is_an_error() {
    let read = || {
        let Err(LoadError::Image(ImageError::Read(error))) = bench().load("none", Path::new("/nonexistent.sys")) else {
            panic!("it loads")
        };
        println!("answer: {error}");
    };
    if let Some(output) = support::isolated("an_unreadable_file_is_an_error", read) {
        assert!(output.status.success(), "{output:?}");
    }
}
