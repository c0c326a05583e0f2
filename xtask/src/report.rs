//! Says what a build gave: files, sections, and the panic sites left in a release build.

use anyhow::Result;
use comfy_table::{Table, presets};

use crate::{
    build::{Artifacts, Profile},
    image::Image,
    panics::{self, Site},
};

/// Prints the files of a build and what is in the driver.
pub fn driver(artifacts: &Artifacts, profile: Profile) -> Result<()> {
    let mut files = table(&["file", "bytes"]);
    for path in [&artifacts.sys, &artifacts.pdb, &artifacts.map] {
        files.add_row([path.display().to_string(), path.metadata()?.len().to_string()]);
    }
    println!("{files}");
    let image = Image::read(&artifacts.sys)?;
    let mut sections = table(&["section", "bytes", "pages"]);
    for section in image.sections()? {
        sections.add_row([section.name.clone(), section.size.to_string(), rights(section.write, section.execute).to_owned()]);
    }
    println!("{sections}");
    if profile == Profile::Release {
        let sites = panics::sites(artifacts)?;
        panic_sites(&sites, &panics::unlisted(&sites)?);
    }
    Ok(())
}

/// Prints the files of several builds.
pub fn drivers(all: &[Artifacts]) -> Result<()> {
    let mut files = table(&["driver", "bytes"]);
    for artifacts in all {
        files.add_row([artifacts.sys.display().to_string(), artifacts.sys.metadata()?.len().to_string()]);
    }
    println!("{files}");
    Ok(())
}

/// Prints how many panic sites there are, and those that the allow-list does not have.
pub fn unlisted_panic_sites(name: &str, sites: &[Site], unlisted: &[Site]) {
    println!("{name}: panic sites left: {} ({} not in {})", sites.len(), unlisted.len(), panics::ALLOWED);
    unlisted.iter().for_each(|site| println!("  NEW {site}"));
}

/// Prints the panic sites, those that the allow-list does not have marked.
pub fn panic_sites(sites: &[Site], unlisted: &[Site]) {
    println!("panic sites left: {} ({} not in {})", sites.len(), unlisted.len(), panics::ALLOWED);
    for site in sites {
        println!("  {} {site}", if unlisted.contains(site) { "NEW" } else { "   " });
    }
}

/// An empty table with these columns.
pub fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(columns);
    table
}

fn rights(write: bool, execute: bool) -> &'static str {
    match (write, execute) {
        (false, false) => "read",
        (true, false) => "read, write",
        (false, true) => "read, execute",
        (true, true) => "read, write, EXECUTE",
    }
}
