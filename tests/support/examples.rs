//! Programs that `cargo test` does not build: the examples that a test runs.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds an example as this test was built.
pub fn build(example: &str) -> Result<(), String> {
    cargo(&["--example", example])
}

/// `cargo build` with these arguments.
pub fn cargo(args: &[&str]) -> Result<(), String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR")).args(["build", "--quiet"]).args(args);
    for name in told_by_cargo() {
        cargo.env_remove(name);
    }
    match cargo.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("cargo build {args:?}: {status}")),
        Err(e) => Err(format!("cargo build {args:?}: {e}")),
    }
}

/// What cargo tells this test of its package is news to build scripts: dependencies would be compiled again.
pub fn told_by_cargo() -> impl Iterator<Item = OsString> {
    std::env::vars_os().map(|(name, _)| name).filter(|name| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    })
}

/// Beside this test: `target/debug/deps/interop-…` and `target/debug/examples/…`.
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap_or_default();
    test.parent().and_then(Path::parent).unwrap_or(Path::new("target/debug")).join("examples").join(name)
}
