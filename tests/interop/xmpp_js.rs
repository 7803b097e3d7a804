//! xmpp.js under Node, in a process of its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::process::Command;

use crate::account::Kind;
use crate::driver::{Driver, Login};
use crate::journal::{End, Journal};
use crate::peers::{Client, Place, ask_version, root};

pub struct XmppJs(pub Way);

/// How it comes to its session.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Tcp,
    /// Inside of SASL2, over TCP.
    Inline,
    WebSocket,
}

const MISSING: &str = "xmpp.js is missing: tests/interop/install.sh runs `npm ci` under target/interop";

impl Client for XmppJs {
    fn name(&self) -> &'static str {
        match self.0 {
            Way::Tcp => "xmpp.js",
            Way::Inline => "xmpp.js-inline",
            Way::WebSocket => "xmpp.js-websocket",
        }
    }

    fn version(&self) -> Result<String, String> {
        let package = packages().join("node_modules/@xmpp/client/package.json");
        let print = format!("console.log(require({:?}).version)", package.display().to_string());
        ask_version(Path::new("node"), &["-e", &print], MISSING)
    }

    fn faults(&self) -> &'static [Kind] {
        &[Kind::Lost, Kind::Duplicated, Kind::Reordered, Kind::NotResumed, Kind::Stuck]
    }

    fn is_inline(&self) -> bool {
        self.0 == Way::Inline
    }

    fn is_websocket(&self) -> bool {
        self.0 == Way::WebSocket
    }

    fn start(&self, login: Login, journal: &Arc<Journal>, place: &Place) -> Result<Driver, String> {
        let mut program = Command::new("node");
        program.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/xmpp_js_driver.mjs"));
        program.args(login.words()).env("XMPP_JS_PACKAGES", packages());
        if self.is_websocket() {
            program.env("XMPP_JS_SERVICE", format!("ws://{}/xmpp-websocket", login.addr));
        }
        Driver::process(End::Client, journal, program, &place.log("stderr"))
    }
}

fn packages() -> PathBuf {
    root().join("xmpp_js")
}
