//! Damaged copies of the driver: each is refused with an error that says what is wrong, and the bench goes on.

mod support;

use std::path::PathBuf;

use ntbench::image::parse;
use ntbench::{Bench, LoadError};
use support::{address, assert_nothing_left, config, image, isolated, load, peer, rig, unload_clean};

fn good() -> Vec<u8> {
    std::fs::read(image()).expect("the driver's file")
}

/// A file with these bytes, for this process.
fn file(bytes: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("damaged-{}.sys", std::process::id()));
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// What loading these bytes is refused with.
#[track_caller]
fn refused(bench: &Bench, bytes: &[u8]) -> LoadError {
    let path = file(bytes);
    let answer = bench.load("damaged", &path);
    let _ = std::fs::remove_file(&path);
    match answer {
        Ok(_) => panic!("a damaged image was loaded"),
        Err(error) => error,
    }
}

/// The text of a refusal that is about the image itself.
#[track_caller]
fn refused_image(bench: &Bench, bytes: &[u8]) -> String {
    let error = refused(bench, bytes);
    assert!(matches!(error, LoadError::Image(_)), "{error}");
    error.to_string()
}

fn bench() -> Bench {
    Bench::new(config()).expect("a bench")
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

/// Address of a data directory: 1 has the imports, 5 the relocations.
fn directory(bytes: &[u8], number: usize) -> usize {
    u32_at(bytes, pe(bytes) + 24 + 112 + 8 * number)
}

/// Offset in the file of an address of the image.
fn offset(bytes: &[u8], address: usize) -> usize {
    let optional = usize::from(u16::from_le_bytes([bytes[pe(bytes) + 20], bytes[pe(bytes) + 21]]));
    let sections = (0..usize::from(bytes[pe(bytes) + 6])).map(|number| pe(bytes) + 24 + optional + 40 * number);
    let mut place = sections.filter_map(|at| {
        let (start, size, raw) = (u32_at(bytes, at + 12), u32_at(bytes, at + 16), u32_at(bytes, at + 20));
        (start..start + size).contains(&address).then(|| address - start + raw)
    });
    place.next().expect("a section")
}

fn replace(bytes: &mut [u8], from: &[u8], to: &[u8]) {
    let at = bytes.windows(from.len()).position(|window| window == from).expect("the name of an import");
    bytes[at..at + to.len()].copy_from_slice(to);
}

isolated! {
    /// Cut off anywhere: the last section's padding is all that may be missing.
    #[test]
    fn image_truncated_anywhere_is_refused() {
        let (bench, bytes) = (bench(), good());
        let end = bytes.len() - 512;
        for length in (0..end).step_by(end / 40).chain([1, 2, 63, 64, 255, 1023, 1024, end - 1]) {
            let text = refused_image(&bench, &bytes[..length]);
            let told = ["not a well-formed PE image", "truncated", "larger than the file"].iter().any(|part| text.contains(part));
            assert!(told && text.starts_with("the image cannot be loaded: "), "{length} bytes: {text}");
        }
        let loadable = (0..end).filter(|length| parse::check(&bytes[..*length]).is_ok()).count();
        assert_eq!(loadable, 0, "truncated images that would be loaded");
        assert!(parse::check(&bytes).is_ok());
        assert_nothing_left(&bench);
    }

    #[test]
    fn image_with_a_bad_relocation_is_refused() {
        let (bench, bytes) = (bench(), good());
        let block = offset(&bytes, directory(&bytes, 5));
        let mut outside = bytes.clone();
        put(&mut outside, block, 0x7fff_0000);
        assert!(refused_image(&bench, &outside).contains("lies outside its sections"));
        let mut kind = bytes.clone();
        kind[block + 9] = 0x30 | kind[block + 9] & 0x0f;
        assert!(refused_image(&bench, &kind).contains("which x64 does not have"));
        let mut size = bytes.clone();
        put(&mut size, block + 4, 0xffff_fff0);
        assert!(refused_image(&bench, &size).contains("not a well-formed PE image"));
        let mut tiny = bytes;
        put(&mut tiny, block + 4, 3);
        assert!(refused_image(&bench, &tiny).contains("not a well-formed PE image"));
    }

    /// Every import that is missing is named, with its module, and others are not.
    #[test]
    fn image_with_an_import_that_does_not_exist_is_refused_by_name() {
        let (bench, mut bytes) = (bench(), good());
        replace(&mut bytes, b"NmrRegisterClient\0", b"NmrRegisterClown\0");
        replace(&mut bytes, b"KeSetEvent\0", b"KeGetEvent\0");
        let error = refused(&bench, &bytes);
        let LoadError::Imports(names) = &error else { panic!("{error}") };
        let mut names = names.clone();
        names.sort();
        assert_eq!(names.len(), 2, "{error}");
        assert!(names[0].to_lowercase().contains("netio.sys!nmrregisterclown"), "{error}");
        assert!(names[1].to_lowercase().contains("ntoskrnl.exe!kegetevent"), "{error}");
    }

    #[test]
    fn image_that_imports_from_a_module_that_does_not_exist_is_refused_by_name() {
        let (bench, mut bytes) = (bench(), good());
        let names: Vec<_> = ["NETIO.SYS\0", "netio.sys\0"].into_iter().filter(|name| position(&bytes, name).is_some()).collect();
        replace(&mut bytes, names[0].as_bytes(), b"mario.sys\0");
        let text = refused(&bench, &bytes).to_string();
        assert!(text.contains("mario.sys!NmrRegisterClient"), "{text}");
    }

    #[test]
    fn image_for_another_machine_is_refused() {
        let (bench, mut bytes) = (bench(), good());
        let at = pe(&bytes) + 4;
        bytes[at..at + 2].copy_from_slice(&0xaa64_u16.to_le_bytes());
        let text = refused_image(&bench, &bytes);
        assert!(text.contains("0xaa64") && text.contains("0x8664"), "{text}");
    }

    #[test]
    fn image_whose_entry_point_is_no_code_is_refused() {
        let (bench, mut bytes) = (bench(), good());
        let at = pe(&bytes) + 24 + 16;
        put(&mut bytes, at, 0x10);
        assert!(refused_image(&bench, &bytes).contains("entry point"));
    }

    /// No byte of the headers, whatever it is changed to, makes the check of an image fail in another way than by an error.
    #[test]
    fn image_with_any_damage_to_its_headers_is_judged() {
        let mut bytes = good();
        let end = 1024.min(bytes.len());
        let mut refused = 0;
        for at in 0..end {
            let before = bytes[at];
            for value in [0, 1, 0x7f, 0x80, 0xff, before ^ 0x10] {
                bytes[at] = value;
                refused += u32::from(parse::check(&bytes).is_err_and(|error| !error.to_string().is_empty()));
            }
            bytes[at] = before;
        }
        assert!(refused > 200, "only {refused} damaged images were refused");
        assert!(parse::check(&bytes).is_ok());
    }

    /// After refusals the same bench loads the good one.
    #[test]
    fn image_that_is_good_loads_after_refusals() {
        let rig = rig();
        let bytes = good();
        for length in [0, 100, bytes.len() / 2] {
            refused_image(rig.bench(), &bytes[..length]);
        }
        let loaded = load(&rig);
        peer::echo_works(address(&loaded)).expect("echo works");
        unload_clean(&loaded);
    }

    #[test]
    fn image_that_is_not_there_is_an_error() {
        let Err(LoadError::Image(error)) = bench().load("none", std::path::Path::new("/nonexistent/driver.sys")) else {
            panic!("it was loaded")
        };
        assert!(error.to_string().contains("cannot be read"), "{error}");
    }
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    bytes.windows(text.len()).position(|window| window == text.as_bytes())
}
