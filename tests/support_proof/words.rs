//! Events that are an act and a place, as text.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Writes an event as `name:place`: `deliver:3`.
pub fn write_event<A: PartialEq>(
    f: &mut fmt::Formatter<'_>,
    all: &[(A, &str)],
    (act, place): (A, impl Display),
) -> fmt::Result {
    let name = all.iter().find(|(other, _)| *other == act).map_or("?", |(_, name)| name);
    write!(f, "{name}:{place}")
}

/// Reads what [`write_event`] wrote.
pub fn read_event<A: Copy, P: FromStr>(text: &str, all: &[(A, &str)]) -> Result<(A, P), String> {
    let bad = || format!("not an event: {text}");
    let (name, place) = text.split_once(':').ok_or_else(bad)?;
    let (act, _) = all.iter().find(|(_, other)| *other == name).ok_or_else(bad)?;
    Ok((*act, place.parse().map_err(|_| bad())?))
}
