//! libstrophe, in a small C program.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use crate::account::Kind;
use crate::driver::{Driver, Login};
use crate::journal::{End, Journal};
use crate::peers::{Client, Place, ask_version, root};

pub struct Libstrophe;

const MISSING: &str =
    "libstrophe is missing: apt-get install libstrophe-dev, and tests/interop/install.sh compiles its driver";

impl Client for Libstrophe {
    fn name(&self) -> &'static str {
        "libstrophe"
    }

    fn version(&self) -> Result<String, String> {
        if !program().exists() {
            return Err(MISSING.into());
        }
        ask_version(Path::new("pkg-config"), &["--modversion", "libstrophe"], MISSING)
    }

    fn faults(&self) -> &'static [Kind] {
        &[Kind::Lost, Kind::Duplicated, Kind::Reordered, Kind::NotResumed]
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, place: &Place) -> Result<Driver, String> {
        let mut command = Command::new(program());
        command.args(login.words());
        Driver::process(End::Client, journal, command, &place.log("stderr"))
    }
}

fn program() -> PathBuf {
    root().join("libstrophe_driver")
}
