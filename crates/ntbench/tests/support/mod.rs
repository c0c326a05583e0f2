//! Drivers in C for the bench's own tests: built with clang and lld, each test in a process of its own.
#![allow(dead_code)] // Each test file uses a part of it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The first of these programs that is there.
fn program(names: &[&str]) -> String {
    let found = names.iter().find(|name| Command::new(name).arg("--version").output().is_ok());
    found.unwrap_or_else(|| panic!("none of {names:?} is installed (`cargo xtask test` does that)")).to_string()
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program starts");
    assert!(output.status.success(), "{command:?} failed: {}", String::from_utf8_lossy(&output.stderr));
}

/// What the drivers import.
fn imports(source: &str) -> Vec<&str> {
    let lines = source.lines().filter(|line| line.starts_with("IMPORT "));
    lines.filter_map(|line| line.split('(').next()?.rsplit([' ', '*']).next()).collect()
}

/// Builds the driver `name`.c with these definitions, as `tag`.sys; answers its path.
pub fn build(name: &str, tag: &str, definitions: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/drivers/{name}.c"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{tag}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = std::fs::read_to_string(&source).expect("the source");
    let def = format!("LIBRARY ntoskrnl.exe\nEXPORTS\n{}\n", imports(&text).join("\n"));
    std::fs::write(folder.join("kernel.def"), def).expect("the list of imports");
    run(Command::new(program(&["llvm-dlltool-19", "llvm-dlltool"])).current_dir(&folder).args([
        "-m",
        "i386:x86-64",
        "-d",
        "kernel.def",
        "-l",
        "kernel.lib",
    ]));
    run(Command::new(program(&["clang-19", "clang"]))
        .current_dir(&folder)
        .args([
            "--target=x86_64-pc-windows-msvc",
            "-c",
            "-O1",
            "-g",
            "-gcodeview",
            "-ffreestanding",
            "-Wall",
            "-Wno-unused-function",
        ])
        .args(["-fno-stack-protector", "-mno-stack-arg-probe", "-Wno-unused-const-variable", "-Wno-unused-variable"])
        .args(definitions.iter().map(|definition| format!("-D{definition}")))
        .args(["-o", "driver.obj"])
        .arg(&source));
    run(Command::new(program(&["lld-link-19", "lld-link"]))
        .current_dir(&folder)
        .args(["/driver", "/subsystem:native", "/entry:DriverEntry", "/nodefaultlib", "/debug", "/dynamicbase"])
        .args([&format!("/out:{tag}.sys"), "driver.obj", "kernel.lib"]));
    folder.join(format!("{tag}.sys"))
}

/// Runs `body` in a process of its own, which is this test called again, and answers how it ended.
pub fn isolated(test: &str, body: impl FnOnce()) -> Option<Output> {
    const CHILD: &str = "NTBENCH_TEST_CHILD";
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        std::process::exit(0);
    }
    let program = std::env::current_exe().expect("this program");
    let output = Command::new(program).args([test, "--exact", "--nocapture"]).env(CHILD, test).output();
    Some(output.expect("the child runs"))
}
