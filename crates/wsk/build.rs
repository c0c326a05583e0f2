//! Tells the crate which driver model it is compiled for; see wdk-build.

fn main() -> Result<(), wdk_build::ConfigError> {
    wdk_build::configure_wdk_library_build()
}
