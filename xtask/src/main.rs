//! Builds, runs, tests and tidies wskclient.

fn main() {}
