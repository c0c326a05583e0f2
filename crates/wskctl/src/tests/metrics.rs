//! `wskctl metrics`, as its two readers read it.

use openmetrics_parser::openmetrics::parse_openmetrics;

use super::{example, outcome, printed};

#[test]
fn metrics_as_they_are() {
    insta::assert_snapshot!(printed(&example::driver(), "metrics"));
}

#[test]
fn both_formats_are_kept() {
    let text = printed(&example::driver(), "metrics");
    let exposition = parse_openmetrics(&text).expect("OpenMetrics");
    assert!(exposition.families.len() > 30, "{} families", exposition.families.len());
    for (name, family) in &exposition.families {
        assert!(name.starts_with("wskclient_") && !family.help.is_empty() && family.iter_samples().count() > 0, "{name}");
    }
    assert!(text.ends_with("# EOF\n") && text.is_ascii());
    // What windows_exporter reads is the older format, without types that came later, and without time stamps.
    for line in text.lines() {
        match line.strip_prefix("# TYPE ") {
            Some(of) => assert!(of.ends_with(" counter") || of.ends_with(" gauge"), "{line}"),
            None if line.starts_with('#') => {}
            None => assert!(value(line).is_some(), "{line}"),
        }
    }
}

/// The one number of a sample.
fn value(line: &str) -> Option<f64> {
    let behind =
        line.rsplit_once('}').map_or_else(|| line.split_once(' ').map(|(_, rest)| rest), |(_, rest)| Some(rest.trim()))?;
    behind.parse().ok()
}

#[test]
fn a_file_changes_in_one_step() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("wskclient.prom");
    let fake = example::driver();
    for _ in 0..2 {
        assert_eq!(printed(&fake, &format!("metrics --output {}", path.display())), "");
        assert_eq!(std::fs::read_to_string(&path).expect("it is there"), printed(&fake, "metrics"));
    }
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    let nowhere = folder.path().join("missing/wskclient.prom");
    let (_, result) = outcome(&fake, &format!("metrics --output {}", nowhere.display()), None);
    assert!(result.expect_err("there is no such folder").to_string().starts_with("could not write "));
}
