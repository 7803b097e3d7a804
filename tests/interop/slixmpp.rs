//! slixmpp, in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use crate::account::Kind;
use crate::driver::{Driver, Login};
use crate::journal::{End, Journal};
use crate::peers::{Client, Place, ask_version, root};

pub struct Slixmpp;

const MISSING: &str = "slixmpp is missing: tests/interop/install.sh puts it into a venv under target/interop";

impl Client for Slixmpp {
    fn name(&self) -> &'static str {
        "slixmpp"
    }

    fn version(&self) -> Result<String, String> {
        ask_version(&python(), &["-c", "import slixmpp; print(slixmpp.__version__)"], MISSING)
    }

    fn faults(&self) -> &'static [Kind] {
        &[Kind::Lost]
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, place: &Place) -> Result<Driver, String> {
        let mut program = Command::new(python());
        program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/slixmpp_driver.py"));
        program.args(login.words());
        Driver::process(End::Client, journal, program, &place.log("stderr"))
    }
}

fn python() -> PathBuf {
    root().join("venv/bin/python")
}
