//! What is kept of sessions beside their records.

use std::time::Instant;

use bytes::Bytes;
use redis::aio::ConnectionLike;

use super::{RedisStore, RedisStoreError};
use crate::store::{Change, Claim, Claimed, Epoch, Fence, Journal, Parking, Registration, Revision};

impl<Connection: ConnectionLike + Clone + Send + Sync> Parking for RedisStore<Connection> {
    async fn park(
        &self,
        registration: &Registration,
        revision: Revision,
        snapshot: &[u8],
    ) -> Result<Fence, RedisStoreError> {
        self.keep(registration, revision, Some(snapshot)).await
    }

    async fn unpark(&self, registration: &Registration, revision: Revision) -> Result<Fence, RedisStoreError> {
        self.keep(registration, revision, None).await
    }

    async fn claim(&self, registration: &Registration, handle: Bytes, _now: Instant) -> Result<Claim, RedisStoreError> {
        let (owner, smid) = (registration.owner(), registration.smid());
        let (from, life) = (registration.epoch().get().to_string(), self.life());
        let args = [smid.as_bytes(), from.as_bytes(), &handle, life.as_bytes()];
        let mut reply = self.run(&self.scripts.claim, &self.keys_of(owner, smid), &args).await?;
        Ok(match reply.bytes()?.as_ref() {
            b"claimed" => {
                let registration = Registration::new(owner.clone(), smid.clone(), Epoch::new(reply.number()?));
                Claim::Claimed(Claimed { registration, snapshot: reply.bytes()?, journal: reply.rest().collect() })
            }
            b"none" => Claim::NotParked,
            _ => Claim::Lost,
        })
    }
}

impl<Connection: ConnectionLike + Clone + Send + Sync> RedisStore<Connection> {
    async fn keep(
        &self,
        registration: &Registration,
        revision: Revision,
        snapshot: Option<&[u8]>,
    ) -> Result<Fence, RedisStoreError> {
        let (owner, smid) = (registration.owner(), registration.smid());
        let (epoch, revision) = (registration.epoch().get().to_string(), revision.get().to_string());
        let life = self.life();
        let mut args = vec![smid.as_bytes(), epoch.as_bytes(), revision.as_bytes(), life.as_bytes()];
        args.extend(snapshot);
        let mut reply = self.run(&self.scripts.park, &self.keys_of(owner, smid), &args).await?;
        Ok(fence(&reply.bytes()?))
    }
}

impl<Connection: ConnectionLike + Clone + Send + Sync> Journal for RedisStore<Connection> {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, RedisStoreError> {
        if changes.is_empty() {
            return Ok(Fence::Held);
        }
        // Those that follow each other and are of one session.
        let is_one = |one: &Change<'_>, next: &Change<'_>| {
            (one.registration, one.revision) == (next.registration, next.revision)
        };
        let (mut keys, mut numbers) = (Vec::new(), Vec::new());
        for of_session in changes.chunk_by(is_one) {
            let Some(Change { registration, revision, .. }) = of_session.first() else { continue };
            keys.extend(self.keys_of(registration.owner(), registration.smid()));
            let numbers_of = [registration.epoch().get().to_string(), revision.get().to_string()];
            numbers.push((numbers_of, of_session.len().to_string(), of_session));
        }
        let mut args = Vec::with_capacity(changes.len().saturating_add(keys.len().saturating_mul(2)));
        for ([epoch, revision], count, of_session) in &numbers {
            args.extend([epoch.as_bytes(), revision.as_bytes(), count.as_bytes()]);
            args.extend(of_session.iter().map(|change| change.change));
        }
        let mut reply = self.run(&self.scripts.append, &keys, &args).await?;
        match reply.bytes()?.as_ref() {
            b"evicted" => Err(RedisStoreError::Evicted),
            word => Ok(fence(word)),
        }
    }
}

fn fence(word: &[u8]) -> Fence {
    if word == b"held" { Fence::Held } else { Fence::Lost }
}
