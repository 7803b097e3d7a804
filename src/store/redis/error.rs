//! What can go wrong with an engine.

use redis::{ErrorKind, RedisError, ServerErrorKind};
use thiserror::Error;

/// Why a call of a [`RedisStore`](crate::RedisStore) has no answer.
///
/// None of them says that a session is absent: a `<resume/>` is refused with
/// [`internal-server-error`](crate::Condition::InternalServerError) or
/// [`resource-constraint`](crate::Condition::ResourceConstraint), and the client asks again.
/// [What a host meets](crate::nodes#what-a-host-meets) says what it does about each.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum RedisStoreError {
    /// The owner has as many sessions as it may have.
    #[error("too many sessions of one owner")]
    OwnerFull,
    /// Something that the store has not written is under the owner's key. It is left as it is.
    #[error("the owner's key holds foreign data")]
    Foreign,
    /// What was kept of a session has been evicted, and nothing is appended to it. The host
    /// [parks](crate::Parking::park) the session again; with a `Ledger`, after `host_changed`.
    #[error("the engine has evicted what was kept of the session")]
    Evicted,
    /// The sessions of one call lie on several nodes of a cluster. Each is written in a call of its own.
    #[error("the sessions lie on several nodes of the cluster")]
    Apart,
    /// The engine has no memory left and may evict nothing: `maxmemory`, `noeviction`.
    #[error("the engine has no memory left")]
    NoMemory,
    /// The engine is a replica that takes no writes.
    #[error("the engine is a read-only replica")]
    ReadOnly,
    /// The engine wants a password, another password, or other rights.
    #[error("the engine denies access")]
    Denied(#[source] RedisError),
    /// There was no answer in time; or a `register` took ten seconds to come to the engine, and others of the owner were
    /// faster.
    #[error("the engine did not answer in time")]
    TimedOut,
    /// The connection was lost or cannot be made, or the engine is not ready; or what it keeps for the owner is on its way
    /// to another node of a cluster.
    #[error("the engine cannot be reached")]
    Unavailable(#[source] RedisError),
    /// The engine said something else.
    #[error("the engine failed")]
    Other(#[source] RedisError),
}

impl RedisStoreError {
    /// Returns whether the call may have been carried out, or may yet be. `false`: it has changed nothing, and will not.
    pub fn may_have_happened(&self) -> bool {
        matches!(self, Self::TimedOut | Self::Unavailable(_) | Self::Other(_))
    }
}

impl From<RedisError> for RedisStoreError {
    fn from(error: RedisError) -> Self {
        match (error.kind(), error.code()) {
            _ if error.is_timeout() => Self::TimedOut,
            (ErrorKind::Server(ServerErrorKind::ReadOnly), _) => Self::ReadOnly,
            (_, Some("CROSSSLOT")) => Self::Apart,
            (_, Some("OOM")) => Self::NoMemory,
            (_, Some("WRONGTYPE" | "FOREIGN")) => Self::Foreign,
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => Self::Denied(error),
            (ErrorKind::ClusterConnectionNotFound, _) => Self::Unavailable(error),
            (_, Some("ERR")) if is_of_cluster(&error) => Self::Unavailable(error),
            (_, Some("LOADING" | "CLUSTERDOWN" | "MASTERDOWN" | "TRYAGAIN" | "BUSY")) => Self::Unavailable(error),
            _ if error.is_io_error() || error.is_cluster_error() || error.is_connection_dropped() => {
                Self::Unavailable(error)
            }
            _ => Self::Other(error),
        }
    }
}

/// Whether a command of a script failed because its keys are on their way to another node, or the cluster is down. The engine
/// has no code for it.
fn is_of_cluster(error: &RedisError) -> bool {
    let detail = error.detail().unwrap_or_default();
    detail.contains("access a non local key") || detail.contains("while the cluster is down")
}
