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
        let keys = |change: &Change<'_>| self.keys_of(change.registration.owner(), change.registration.smid());
        let keys: Vec<Vec<u8>> = changes.iter().flat_map(keys).collect();
        let number =
            |change: &Change<'_>| [change.registration.epoch().get(), change.revision.get()].map(|n| n.to_string());
        let numbers: Vec<[String; 2]> = changes.iter().map(number).collect();
        let args = changes.iter().zip(&numbers);
        let args = args.flat_map(|(change, [epoch, revision])| [epoch.as_bytes(), revision.as_bytes(), change.change]);
        let mut reply = self.run(&self.scripts.append, &keys, &args.collect::<Vec<_>>()).await?;
        match reply.bytes()?.as_ref() {
            b"evicted" => Err(RedisStoreError::Evicted),
            word => Ok(fence(word)),
        }
    }
}

fn fence(word: &[u8]) -> Fence {
    if word == b"held" { Fence::Held } else { Fence::Lost }
}
