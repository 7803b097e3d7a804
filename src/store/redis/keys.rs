//! The names of keys.

use std::borrow::Cow;

use crate::smid::SmId;

/// One key for each owner: a prefix, and the owner as the hash tag. One more for what is kept of a session: the SM-ID behind
/// it.
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

    pub(super) fn of_session(&self, owner: &str, smid: &SmId) -> Vec<u8> {
        let mut key = self.of(owner);
        key.push(b':');
        key.extend(smid.as_bytes());
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
            // What is kept of a session is taken for no owner, whatever its SM-ID.
            for smid in ["a", "}", ":{b}", "}:{xmpp-sm:{a}"] {
                let key = keys.of_session("juliet@example.com", &SmId::new(smid).unwrap());
                assert!(key.starts_with(&keys.of("juliet@example.com")));
                assert_eq!(keys.owner(&key), None, "{smid}");
            }
            assert_eq!(keys.owner(b"other:{juliet@example.com}"), None);
        }
    }
}
