//! The names of keys.

use std::borrow::Cow;

use crate::store::{Registration, Revision};

/// One key for each owner: a prefix, and the owner as the hash tag. One more for what is kept of a session: the epoch and the
/// revision behind it, and where that is a journal the SM-ID.
#[derive(Debug)]
pub(super) struct Keys {
    /// With the brace that opens the tag.
    start: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { start: format!("{}:{{", escape(prefix)) }
    }

    pub(super) fn of(&self, owner: &str) -> Vec<u8> {
        format!("{}{}}}", self.start, escape(owner)).into_bytes()
    }

    /// Where the journal of this revision is.
    pub(super) fn of_journal(&self, registration: &Registration, revision: Revision) -> Vec<u8> {
        let mut key = self.of(registration.owner());
        key.extend(format!(":{}:{}+", registration.epoch().get(), revision.get()).into_bytes());
        key.extend(registration.smid().as_bytes());
        key
    }

    /// Whose key it is. `None`: it is none of ours.
    pub(super) fn owner(&self, key: &[u8]) -> Option<String> {
        let key = std::str::from_utf8(key).ok()?;
        let owner = unescape(key.strip_prefix(&self.start)?.strip_suffix('}')?);
        (self.of(&owner) == key.as_bytes()).then_some(owner)
    }

    /// What matches all of them, for `SCAN`.
    pub(super) fn pattern(&self) -> String {
        let mut pattern = String::new();
        for letter in self.start.chars() {
            if matches!(letter, '*' | '?' | '[' | ']' | '\\' | '^') {
                pattern.push('\\');
            }
            pattern.push(letter);
        }
        pattern.push_str("*}");
        pattern
    }
}

/// A brace would end the tag, and an owner that begins with one would have none.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '{', '}']) {
        return text.into();
    }
    text.replace('%', "%25").replace('{', "%7B").replace('}', "%7D").into()
}

fn unescape(text: &str) -> String {
    text.replace("%7D", "}").replace("%7B", "{").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smid::SmId;
    use crate::store::Epoch;

    #[test]
    fn an_owner_comes_back_from_its_key_and_is_its_hash_tag() {
        for prefix in ["xmpp-sm", "a{b}c", "*?[x]\\", ""] {
            let keys = Keys::new(prefix);
            for owner in ["juliet@example.com", "}", "{}", "%7D", "%", "a}b{c%25@example.com", "", "ü@example.com"] {
                let key = keys.of(owner);
                assert_eq!(keys.owner(&key).as_deref(), Some(owner), "{prefix}");
                let key = std::str::from_utf8(&key).unwrap();
                // https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#hash-tags
                let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).unwrap();
                assert_eq!(tag, (&*escape(owner), ""), "{prefix}");
            }
            // What is kept of a session is taken for no owner.
            for owner in ["juliet@example.com", "}", ":{b}", "}:{xmpp-sm:{a}"] {
                let registration = Registration::new(owner, SmId::new("{a}").unwrap(), Epoch::new(7));
                let key = keys.of_journal(&registration, Revision::FIRST);
                assert_eq!(key.strip_prefix(&*keys.of(owner)), Some(&b":7:1+{a}"[..]));
                assert_eq!(keys.owner(&key), None, "{owner}");
            }
            assert_eq!(keys.owner(b"other:{juliet@example.com}"), None);
        }
    }
}
