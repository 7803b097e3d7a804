//! The registered sessions of one owner.

use std::sync::Arc;
use std::{mem, slice};

use super::{Epoch, Record, Registration};
use crate::smid::SmId;

#[derive(Clone, Debug)]
pub(super) struct Session<Handle> {
    pub(super) smid: SmId,
    pub(super) epoch: Epoch,
    pub(super) handle: Handle,
}

impl<Handle> Session<Handle> {
    pub(super) fn into_record(self, owner: Arc<str>) -> Record<Handle> {
        let Self { smid, epoch, handle } = self;
        Record { registration: Registration { owner, smid, epoch }, handle }
    }
}

/// A few sessions, longest registered first. Most owners have one: it needs no memory of its own.
#[derive(Debug)]
pub(super) enum Sessions<Handle> {
    One(Session<Handle>),
    Many(Vec<Session<Handle>>),
}

impl<Handle> Sessions<Handle> {
    pub(super) fn as_slice(&self) -> &[Session<Handle>] {
        match self {
            Self::One(session) => slice::from_ref(session),
            Self::Many(sessions) => sessions,
        }
    }

    pub(super) fn find(&self, smid: &SmId) -> Option<&Session<Handle>> {
        self.as_slice().iter().find(|session| session.smid == *smid)
    }

    pub(super) fn find_mut(&mut self, smid: &SmId) -> Option<&mut Session<Handle>> {
        let sessions = match self {
            Self::One(session) => slice::from_mut(session),
            Self::Many(sessions) => sessions,
        };
        sessions.iter_mut().find(|session| session.smid == *smid)
    }

    /// Returns where the session that is meant stands.
    pub(super) fn position(&self, is_meant: impl Fn(&Session<Handle>) -> bool) -> Option<usize> {
        self.as_slice().iter().position(is_meant)
    }

    pub(super) fn push(&mut self, session: Session<Handle>) {
        if let Self::Many(sessions) = self {
            return sessions.push(session);
        }
        let mut both = Vec::with_capacity(2);
        both.extend(mem::replace(self, Self::Many(Vec::new())).into_one());
        both.push(session);
        *self = Self::Many(both);
    }

    /// Puts a session behind the others, and returns the one whose place it takes.
    pub(super) fn replace(&mut self, at: usize, session: Session<Handle>) -> Option<Session<Handle>> {
        match self {
            Self::One(one) => Some(mem::replace(one, session)),
            Self::Many(sessions) => {
                let behind = sessions.get_mut(at..)?;
                let former = mem::replace(behind.first_mut()?, session);
                behind.rotate_left(1);
                Some(former)
            }
        }
    }

    /// Takes a session out, unless it is the only one: then its owner goes with it.
    pub(super) fn remove(&mut self, at: usize) -> Option<Session<Handle>> {
        let Self::Many(sessions) = self else { return None };
        let removed = (at < sessions.len()).then(|| sessions.remove(at));
        if sessions.len() == 1
            && let Some(last) = sessions.pop()
        {
            *self = Self::One(last);
        }
        removed
    }

    pub(super) fn into_one(self) -> Option<Session<Handle>> {
        match self {
            Self::One(session) => Some(session),
            Self::Many(_) => None,
        }
    }
}
