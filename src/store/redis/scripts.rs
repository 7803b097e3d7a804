//! The scripts, how they are run, and how their replies are read.

use bytes::Bytes;
use redis::aio::ConnectionLike;
use redis::{Cmd, ErrorKind, ServerErrorKind};

use super::RedisStoreError;
use crate::smid::SmId;
use crate::store::{Epoch, Record, Registration};

/// One for each operation.
pub(super) struct Scripts {
    pub(super) register: Script,
    pub(super) lookup: Script,
    pub(super) retire: Script,
    pub(super) remove: Script,
    pub(super) list: Script,
    pub(super) park: Script,
    pub(super) claim: Script,
    pub(super) append: Script,
}

impl Scripts {
    pub(super) fn new() -> Self {
        macro_rules! script {
            ($($file:literal),*) => { Script::new(concat!($(include_str!($file)),*)) };
        }
        Self {
            register: script!("head.lua", "load.lua", "register.lua"),
            lookup: script!("head.lua", "find.lua", "lookup.lua"),
            retire: script!("head.lua", "load.lua", "retire.lua"),
            remove: script!("head.lua", "load.lua", "remove.lua"),
            list: script!("head.lua", "load.lua", "list.lua"),
            park: script!("head.lua", "find.lua", "hold.lua", "park.lua"),
            claim: script!("head.lua", "find.lua", "hold.lua", "claim.lua"),
            append: script!("head.lua", "find.lua", "append.lua"),
        }
    }
}

pub(super) struct Script {
    text: &'static str,
    sha1: String,
}

impl Script {
    fn new(text: &'static str) -> Self {
        Self { text, sha1: redis::Script::new(text).get_hash().to_owned() }
    }

    /// Runs it on these keys. An engine that does not know it, or has lost it, is given its text.
    pub(super) async fn run<C>(
        &self,
        mut connection: C,
        keys: &[Vec<u8>],
        args: &[&[u8]],
    ) -> Result<Reply, RedisStoreError>
    where
        C: ConnectionLike + Send,
    {
        let command = |name: &str, script: &str| {
            let mut command = Cmd::new();
            command.arg(name).arg(script).arg(keys.len()).arg(keys).arg(args);
            command
        };
        let known = command("EVALSHA", &self.sha1).query_async(&mut connection).await;
        let parts: Vec<Vec<u8>> = match known {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                command("EVAL", self.text).query_async(&mut connection).await?
            }
            known => known?,
        };
        Ok(Reply { parts: parts.into_iter(), time: 0 })
    }
}

/// What a script has returned: the engine's time, and then part by part. What is missing or is no number was not written by
/// this store.
pub(super) struct Reply {
    parts: std::vec::IntoIter<Vec<u8>>,
    time: u64,
}

impl Reply {
    /// The first number that was read: the time, or the epoch that was given.
    pub(super) fn time(&self) -> u64 {
        self.time
    }

    pub(super) fn is_over(&self) -> bool {
        self.parts.len() == 0
    }

    /// What is left.
    pub(super) fn rest(self) -> impl Iterator<Item = Bytes> {
        self.parts.map(Bytes::from)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, RedisStoreError> {
        self.parts.next().map(Bytes::from).ok_or(RedisStoreError::Foreign)
    }

    pub(super) fn number(&mut self) -> Result<u64, RedisStoreError> {
        let bytes = self.bytes()?;
        let number = std::str::from_utf8(&bytes).ok().and_then(|text| text.parse().ok());
        let number = number.ok_or(RedisStoreError::Foreign)?;
        if self.time == 0 {
            self.time = number;
        }
        Ok(number)
    }

    /// An SM-ID, its epoch, and its handle.
    pub(super) fn record(&mut self, owner: &str) -> Result<Record<Bytes>, RedisStoreError> {
        let smid = self.bytes()?;
        let smid = std::str::from_utf8(&smid).ok().and_then(|text| SmId::new(text).ok());
        let smid = smid.ok_or(RedisStoreError::Foreign)?;
        let registration = Registration::new(owner, smid, Epoch::new(self.number()?));
        Ok(Record { registration, handle: self.bytes()? })
    }
}
