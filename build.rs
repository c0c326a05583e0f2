//! Links the driver as a Windows driver; see wdk-build.

fn main() -> Result<(), wdk_build::ConfigError> {
    // The PDB is named without the folder it was built in; the image gets the checksum that the loader wants.
    println!("cargo::rustc-cdylib-link-arg=/PDBALTPATH:%_PDB%");
    println!("cargo::rustc-cdylib-link-arg=/RELEASE");
    // The same sources give the same image: no time stamp in it.
    println!("cargo::rustc-cdylib-link-arg=/Brepro");
    // A changed kit (see xtask) links the driver anew.
    println!("cargo::rerun-if-env-changed=WDKContentRoot");
    if let Ok(kit) = std::env::var("WDKContentRoot") {
        println!("cargo::rerun-if-changed={kit}/Lib");
    }
    wdk_build::configure_wdk_binary_build()
}
