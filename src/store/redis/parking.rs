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
        let mut reply = self.run(&self.scripts.claim, &[self.keys.of(owner)], &args).await?;
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
        let mut reply = self.run(&self.scripts.park, &[self.keys.of(owner)], &args).await?;
        Ok(fence(&reply.bytes()?))
    }
}

impl<Connection: ConnectionLike + Clone + Send + Sync> Journal for RedisStore<Connection> {
    async fn append(&self, changes: &[Change<'_>]) -> Result<Fence, RedisStoreError> {
        if changes.is_empty() {
            return Ok(Fence::Held);
        }
        let keys: Vec<_> =
            changes.iter().map(|change| self.keys.of_journal(change.registration, change.revision)).collect();
        let args: Vec<_> = changes.iter().map(|change| change.change).collect();
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
