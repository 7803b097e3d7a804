//! A small XMPP server on `tokio_xmpp::xmlstream`, with typed stanzas:
//!
//! ```text
//! cargo run --example typed -- --user romeo:secret --user juliet:secret
//! ```
//!
//! What a client does on the same stack is in `client.rs`: each stanza has a token, which tells how far it has come.
//! `send` shows it, in another terminal:
//!
//! ```text
//! cargo run --example typed -- send --jid romeo@localhost/orchard --password secret --to juliet@localhost 'ciao!'
//! ```

#![allow(clippy::disallowed_methods)] // the crate reads no clock; its hosts do

#[path = "mod.rs"]
mod typed;

use std::error::Error;
use std::net::SocketAddr;

use clap::{Parser, Subcommand};
use jid::{FullJid, Jid};
use typed::Options;
use typed::client::{Heard, Stage, StanzaStream};
use typed::connect::connect;
use xmpp_parsers::message::{Lang, Message};
use xmpp_parsers::stanza::Stanza;
use xmpp_sm::Config;

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    server: Options,
}

#[derive(Subcommand)]
enum Command {
    /// Sends messages, and tells how far each one comes
    Send {
        /// The address of the server
        #[arg(long, default_value = "127.0.0.1:5222", value_name = "ADDRESS:PORT")]
        server: SocketAddr,
        /// Who sends them, with a resource
        #[arg(long)]
        jid: FullJid,
        #[arg(long)]
        password: String,
        /// Who gets them
        #[arg(long)]
        to: Jid,
        texts: Vec<String>,
    },
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let Some(Command::Send { server, jid, password, to, texts }) = args.command else {
        let (address, running) = typed::start(&args.server).await?;
        println!("listening on {address}");
        return Ok(running.await?);
    };
    let connect = connect(server, jid.clone(), password, |error| println!("not connected: {error}"));
    let mut stream = StanzaStream::new(Config::default(), jid, connect);
    for text in texts {
        let message = Message::chat(to.clone()).with_body(Lang::default(), text.clone());
        let mut token = stream.send(Stanza::Message(message))?;
        let mut stage = *token.borrow_and_update();
        println!("{text}: {stage:?}");
        loop {
            tokio::select! {
                // What is lost is followed by the reason.
                changed = token.changed(), if stage != Stage::Lost => match changed {
                    Ok(()) => {
                        stage = *token.borrow_and_update();
                        println!("{text}: {stage:?}");
                    }
                    Err(_) => break,
                },
                heard = stream.next() => match heard {
                    Some(Heard::Online(jid)) => println!("online as {jid}"),
                    Some(Heard::Offline) => println!("offline"),
                    Some(Heard::Resumed) => println!("resumed"),
                    Some(Heard::NotResumed(h)) => println!("not resumed, with {h:?} stanzas handled"),
                    Some(Heard::Stanza(stanza)) => println!("received {stanza:?}"),
                    Some(Heard::Failed(why)) => return Err(why.to_string().into()),
                    None => return Err("the stream has ended".into()),
                },
            }
        }
        if stage == Stage::Sent {
            println!("{text}: the server has no stream management, and says nothing more");
        }
    }
    stream.close().await;
    Ok(())
}
