//! The comparison notices a field that is moved and a structure that nobody knows.

use super::*;

fn layout(size: u64, fields: &[(&str, u64)]) -> Layout {
    Layout { size, fields: fields.iter().map(|(name, offset)| ((*name).to_owned(), *offset)).collect() }
}

#[test]
fn a_moved_field_is_a_difference() {
    let (compared, differences) = compare(&layout(16, &[("A", 0), ("B", 64)]), &layout(16, &[("A", 0), ("B", 32)]));
    assert_eq!(compared, 2);
    assert_eq!(differences, ["B at 64 is at 32 elsewhere"]);
}

#[test]
fn fields_that_one_side_lacks_do_not_count() {
    let (compared, differences) = compare(&layout(8, &[("A", 0)]), &layout(8, &[("B", 0)]));
    assert_eq!((compared, differences.len()), (0, 0));
}

#[test]
fn a_structure_without_judge_or_page_is_a_complaint() {
    let alone = |name: &str| Verdict { structure: name.to_owned(), judges: Vec::new(), differences: Vec::new() };
    assert_eq!(complaints(&alone("IRP")).len(), 1);
    assert_eq!(complaints(&alone("WDF_DRIVER_CONFIG")).len(), 0);
}

#[test]
fn a_dispute_is_about_one_difference_alone() {
    let differing = |difference: &str| Verdict {
        structure: "KTIMER".to_owned(),
        judges: vec![("Wine", 1)],
        differences: vec![difference.to_owned()],
    };
    assert_eq!(complaints(&differing("Period at 480 is at 448 elsewhere (Wine)")).len(), 0);
    assert_eq!(complaints(&differing("Period at 448 is at 480 elsewhere (mingw-w64 DDK)")).len(), 1);
}

/// Our headers with one field moved, against the genuine judges.
#[test]
fn a_field_moved_in_a_header_is_noticed() {
    let Ok(llvm) = Llvm::find() else { panic!("this test needs LLVM: cargo xtask build installs it") };
    let folder = std::env::temp_dir().join(format!("wskclient-layouts-{}", std::process::id()));
    let mut include = kit::include_folders();
    let original = fs::read_to_string(include[0].join("wdm.h")).unwrap();
    let changed = original.replacen("    CSHORT MdlFlags;\n", "    CSHORT Intruder;\n    CSHORT MdlFlags;\n", 1);
    assert_ne!(original, changed);
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("wdm.h"), changed).unwrap();
    include.insert(0, folder.clone());
    let moved = sdk(&llvm, &include).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let complaints: Vec<String> = verdicts(&moved, &judges(&llvm).unwrap()).iter().flat_map(complaints).collect();
    assert!(complaints.iter().any(|line| line.starts_with("MDL: MdlFlags")), "{complaints:?}");
}
