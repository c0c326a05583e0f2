//! Binds wsk.h, netioddk.h and the socket headers with wdk-build's settings, against whatever WDK it finds.
//!
//! What wdk-sys has bound already is not bound again: every declaration in a header that ntifs.h, ntddk.h and
//! ntstrsafe.h reach belongs to wdk-sys, and the rest refers to it.

use std::{
    collections::BTreeSet,
    env,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use bindgen::{
    Builder, CodegenConfig,
    callbacks::{DeriveTrait, ImplementsTrait, ParseCallbacks},
};
use wdk_build::{ApiSubset, BuilderExt, Config, configure_wdk_library_build_and_then};

/// The headers that this crate adds to wdk-sys.
const HEADERS: &[&str] = &["netioddk.h", "wsk.h", "ws2ipdef.h", "mstcpip.h"];

/// The modules of functions: their name and the header they come from.
const FUNCTIONS: &[(&str, &str)] = &[("netioddk", "netioddk"), ("wsk", "wsk")];

fn main() -> anyhow::Result<()> {
    configure_wdk_library_build_and_then(|config| {
        let out = PathBuf::from(env::var("OUT_DIR")?);
        let base = config.bindgen_header_contents([ApiSubset::Base])?;
        let known = headers_of_wdk_sys(&config, &base)?;
        let all = HEADERS.iter().fold(base, |text, header| text + &format!("#include \"{header}\"\n"));

        let types = builder(&config, &all, &known)?.with_codegen_config(CodegenConfig::TYPES | CodegenConfig::VARS);
        write(types, &out.join("types.rs"))?;
        for (module, header) in FUNCTIONS {
            let functions = builder(&config, &all, &known)?
                .with_codegen_config(CodegenConfig::FUNCTIONS)
                .allowlist_file(format!(r"(?i).*[/\\]{header}\.h"));
            write(functions, &out.join(format!("{module}.rs")))?;
        }
        Ok::<(), anyhow::Error>(())
    })
}

fn builder(config: &Config, headers: &str, known: &BTreeSet<String>) -> anyhow::Result<Builder> {
    let builder = Builder::wdk_default(config)?.header_contents("wsk-input.h", headers).parse_callbacks(Box::new(TypesOfWdkSys));
    Ok(known.iter().fold(builder, |builder, file| builder.blocklist_file(regex::escape(file))))
}

fn write(builder: Builder, path: &Path) -> anyhow::Result<()> {
    Ok(builder.generate()?.write_to_file(path)?)
}

/// The files that wdk-sys binds: those that clang reads for its headers.
fn headers_of_wdk_sys(config: &Config, headers: &str) -> anyhow::Result<BTreeSet<String>> {
    let files = Files::default();
    let builder = Builder::wdk_default(config)?
        .header_contents("base-input.h", headers)
        .with_codegen_config(CodegenConfig::empty())
        .parse_callbacks(Box::new(files.clone()));
    builder.generate()?;
    let files = files.0.lock().map_err(|_| anyhow::anyhow!("bindgen's callback panicked"))?;
    Ok(files.clone())
}

/// Collects the names of included files.
#[derive(Clone, Debug, Default)]
struct Files(Arc<Mutex<BTreeSet<String>>>);

impl ParseCallbacks for Files {
    fn include_file(&self, name: &str) {
        if let Ok(mut files) = self.0.lock() {
            files.insert(name.to_owned());
        }
    }
}

/// Tells bindgen what the types of wdk-sys implement, so that ours can derive as much as wdk-sys's would.
#[derive(Debug)]
struct TypesOfWdkSys;

impl ParseCallbacks for TypesOfWdkSys {
    fn blocklisted_type_implements_trait(&self, _name: &str, derive: DeriveTrait) -> Option<ImplementsTrait> {
        Some(match derive {
            DeriveTrait::Copy => ImplementsTrait::Yes,
            // By zeroing, as bindgen does for pointers.
            DeriveTrait::Default => ImplementsTrait::Manually,
            _ => ImplementsTrait::No,
        })
    }
}
