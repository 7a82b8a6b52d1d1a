//! What lists show and in which order, by the query of a request.
//!
//! Owns the filters of secrets ([`SecretFilter`]), containers and orders. Nothing is looked up here: entries come from
//! whoever lists, one by one. Without `sort` a list is in the order its entries were made.

use std::cmp::Ordering;

use chatelaine_core::Timestamp;
use serde_json::{Map, Value};

use super::error::{BarbicanError, shortened};
use super::query::{Query, integer};
use super::time;

/// The longest text that is compared with a pattern, in characters; names are no longer.
const MAX_COMPARED: usize = 255;

/// A pattern as in SQL: `%` is any text, `_` any letter; case makes no difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Like {
    pattern: Vec<char>,
    /// Whether it has more letters than any text it could be compared with.
    hopeless: bool,
}

fn folded(text: &str) -> Vec<char> {
    text.chars().flat_map(char::to_lowercase).collect()
}

impl Like {
    pub(crate) fn new(pattern: &str) -> Self {
        let mut pattern = folded(pattern);
        pattern.dedup_by(|right, left| *right == '%' && *left == '%');
        // A letter may be more than one in lower case, so that texts grow a little.
        let letters = pattern.iter().filter(|letter| **letter != '%').count();
        let hopeless = letters > MAX_COMPARED.saturating_mul(3);
        Self { pattern, hopeless }
    }

    /// Whether the text has this form; what is not set has none.
    pub(crate) fn matches(&self, text: Option<&str>) -> bool {
        let Some(text) = text.filter(|_| !self.hopeless) else { return false };
        let text = folded(text);
        let (mut at, mut pattern) = (0_usize, 0_usize);
        // Where to go on when the last `%` takes one letter more.
        let mut again: Option<(usize, usize)> = None;
        loop {
            match (self.pattern.get(pattern), text.get(at)) {
                (None, None) => return true,
                (Some('%'), _) => {
                    pattern = pattern.saturating_add(1);
                    again = Some((pattern, at));
                }
                (Some(wanted), Some(found)) if *wanted == '_' || wanted == found => {
                    (pattern, at) = (pattern.saturating_add(1), at.saturating_add(1));
                }
                _ => match again {
                    Some((after, taken)) if taken < text.len() => {
                        let next = taken.saturating_add(1);
                        again = Some((after, next));
                        (pattern, at) = (after, next);
                    }
                    _ => return false,
                },
            }
        }
    }
}

/// A time as a list compares it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bound {
    Equal,
    After,
    NotBefore,
    Before,
    NotAfter,
}

/// All bounds that a parameter names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct TimeRange(Vec<(Bound, Timestamp)>);

impl TimeRange {
    fn read(query: &Query, name: &str) -> Result<Self, BarbicanError> {
        let Some(text) = query.filled(name) else { return Ok(Self::default()) };
        let wrong = |reason: &str| Err(BarbicanError::parameter(name, reason));
        let mut bounds: Vec<(Bound, Timestamp)> = Vec::new();
        for part in text.split(',') {
            let prefixes = [
                ("gt:", Bound::After),
                ("gte:", Bound::NotBefore),
                ("lt:", Bound::Before),
                ("lte:", Bound::NotAfter),
            ];
            let found =
                prefixes.into_iter().find_map(|(prefix, bound)| Some((bound, part.strip_prefix(prefix)?)));
            let (bound, moment) = found.unwrap_or((Bound::Equal, part));
            let Some(moment) = time::parsed(moment.trim()) else {
                return wrong(
                    "it must be moments as in ISO 8601, each with gt:, gte:, lt:, lte: or nothing in front",
                );
            };
            // More than one of a side, or of equality, say too much.
            if bounds.iter().any(|(other, _)| other.side() == bound.side()) {
                return wrong("at most one lower bound, one upper bound and one moment itself are allowed");
            }
            bounds.push((bound, moment));
        }
        let has = |bound: Bound| bounds.iter().any(|(other, _)| *other == bound);
        if has(Bound::Equal) && (has(Bound::NotBefore) || has(Bound::NotAfter)) {
            return wrong("a moment itself does not go together with gte: and lte:");
        }
        Ok(Self(bounds))
    }

    fn matches(&self, moment: Option<Timestamp>) -> bool {
        self.0.iter().all(|(bound, limit)| {
            moment.is_some_and(|moment| match bound {
                Bound::Equal => moment == *limit,
                Bound::After => moment > *limit,
                Bound::NotBefore => moment >= *limit,
                Bound::Before => moment < *limit,
                Bound::NotAfter => moment <= *limit,
            })
        })
    }
}

impl Bound {
    const fn side(self) -> u8 {
        match self {
            Self::Equal => 0,
            Self::After | Self::NotBefore => 1,
            Self::Before | Self::NotAfter => 2,
        }
    }
}

/// What a list of secrets can be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SortKey {
    Algorithm,
    BitLength,
    Created,
    Expiration,
    Mode,
    Name,
    SecretType,
    Status,
    Updated,
}

const SORT_KEYS: [(&str, SortKey); 9] = [
    ("algorithm", SortKey::Algorithm),
    ("bit_length", SortKey::BitLength),
    ("created", SortKey::Created),
    ("expiration", SortKey::Expiration),
    ("mode", SortKey::Mode),
    ("name", SortKey::Name),
    ("secret_type", SortKey::SecretType),
    ("status", SortKey::Status),
    ("updated", SortKey::Updated),
];

fn sort_keys(query: &Query) -> Result<Vec<(SortKey, bool)>, BarbicanError> {
    let Some(text) = query.filled("sort") else { return Ok(Vec::new()) };
    let mut keys: Vec<(SortKey, bool)> = Vec::new();
    for part in text.split(',') {
        let (name, direction) = part.split_once(':').unwrap_or((part, "asc"));
        let key = SORT_KEYS.iter().find(|(known, _)| *known == name.trim()).map(|(_, key)| *key);
        let descending = match direction.trim() {
            "asc" => Some(false),
            "desc" => Some(true),
            _ => None,
        };
        let (Some(key), Some(descending)) = (key, descending) else {
            let allowed = SORT_KEYS.map(|(name, _)| name).join(", ");
            let part = shortened(part);
            return Err(BarbicanError::parameter(
                "sort",
                format!("'{part}' is none of {allowed} with :asc or :desc"),
            ));
        };
        if keys.iter().any(|(other, _)| *other == key) {
            return Err(BarbicanError::parameter("sort", format!("'{}' is there twice", name.trim())));
        }
        keys.push((key, descending));
    }
    Ok(keys)
}

/// A secret, as filters see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SecretEntry<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: Option<&'a str>,
    pub(crate) algorithm: Option<&'a str>,
    pub(crate) mode: Option<&'a str>,
    pub(crate) bit_length: Option<u32>,
    pub(crate) secret_type: &'a str,
    pub(crate) created: Timestamp,
    pub(crate) updated: Timestamp,
    pub(crate) expiration: Option<Timestamp>,
}

/// What a list of secrets shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct SecretFilter {
    name: Option<Like>,
    algorithm: Option<Like>,
    mode: Option<Like>,
    bits: Option<i64>,
    secret_type: Option<String>,
    created: TimeRange,
    updated: TimeRange,
    expiration: TimeRange,
    sort: Vec<(SortKey, bool)>,
    acl_only: bool,
}

impl SecretFilter {
    /// Reads a query; what it has beside filters is left alone.
    ///
    /// # Errors
    /// 400 for moments and sort keys that make no sense.
    pub(crate) fn read(query: &Query) -> Result<Self, BarbicanError> {
        Ok(Self {
            name: query.filled("name").map(Like::new),
            algorithm: query.filled("alg").map(Like::new),
            mode: query.filled("mode").map(Like::new),
            bits: query.first("bits").and_then(integer).filter(|bits| *bits > 0),
            secret_type: query.filled("secret_type").map(str::to_owned),
            created: TimeRange::read(query, "created")?,
            updated: TimeRange::read(query, "updated")?,
            expiration: TimeRange::read(query, "expiration")?,
            sort: sort_keys(query)?,
            acl_only: query.first("acl_only").is_some_and(|text| text.trim().eq_ignore_ascii_case("true")),
        })
    }

    /// Whether the list is of the secrets of all projects whose list of users names the caller, instead of those of the
    /// caller's project.
    pub(crate) fn acl_only(&self) -> bool {
        self.acl_only
    }

    /// Whether every secret is shown, in the order they were made.
    pub(crate) fn is_plain(&self) -> bool {
        let patterns = self.name.is_none() && self.algorithm.is_none() && self.mode.is_none();
        let values = self.bits.is_none() && self.secret_type.is_none();
        let times = self.created.0.is_empty() && self.updated.0.is_empty() && self.expiration.0.is_empty();
        patterns && values && times && self.sort.is_empty() && !self.acl_only
    }

    /// Whether the secret is shown.
    pub(crate) fn matches(&self, entry: &SecretEntry<'_>) -> bool {
        let like = |wanted: &Option<Like>, found| wanted.as_ref().is_none_or(|wanted| wanted.matches(found));
        like(&self.name, entry.name)
            && like(&self.algorithm, entry.algorithm)
            && like(&self.mode, entry.mode)
            && self.bits.is_none_or(|bits| entry.bit_length.map(i64::from) == Some(bits))
            && self.secret_type.as_deref().is_none_or(|wanted| wanted == entry.secret_type)
            && self.created.matches(Some(entry.created))
            && self.updated.matches(Some(entry.updated))
            && self.expiration.matches(entry.expiration)
    }

    /// Which of two secrets comes first. What is not set is before what is; of equals the older is first.
    pub(crate) fn compare(&self, left: &SecretEntry<'_>, right: &SecretEntry<'_>) -> Ordering {
        let by = |key: SortKey| match key {
            SortKey::Algorithm => left.algorithm.cmp(&right.algorithm),
            SortKey::BitLength => left.bit_length.cmp(&right.bit_length),
            SortKey::Created => left.created.cmp(&right.created),
            SortKey::Expiration => left.expiration.cmp(&right.expiration),
            SortKey::Mode => left.mode.cmp(&right.mode),
            SortKey::Name => left.name.cmp(&right.name),
            SortKey::SecretType => left.secret_type.cmp(right.secret_type),
            // All that can be seen have the same.
            SortKey::Status => Ordering::Equal,
            SortKey::Updated => left.updated.cmp(&right.updated),
        };
        let asked =
            self.sort.iter().map(|(key, descending)| if *descending { by(*key).reverse() } else { by(*key) });
        asked
            .chain([left.created.cmp(&right.created), left.id.cmp(right.id)])
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

/// What a list of containers shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct ContainerFilter {
    name: Option<Like>,
    kind: Option<String>,
}

impl ContainerFilter {
    pub(crate) fn read(query: &Query) -> Self {
        Self { name: query.filled("name").map(Like::new), kind: query.filled("type").map(str::to_owned) }
    }

    pub(crate) fn matches(&self, name: Option<&str>, kind: &str) -> bool {
        self.name.as_ref().is_none_or(|wanted| wanted.matches(name))
            && self.kind.as_deref().is_none_or(|wanted| wanted == kind)
    }
}

/// What a list of orders shows.
#[derive(Debug, Clone, Default)]
pub(crate) struct OrderFilter {
    /// As it stands in JSON, with its quotes.
    meta: Option<String>,
}

impl OrderFilter {
    pub(crate) fn read(query: &Query) -> Self {
        let encoded = |text: &str| Value::from(text).to_string();
        Self { meta: query.filled("meta").map(encoded) }
    }

    /// Whether the text is a name or a value in the order's `meta`.
    pub(crate) fn matches(&self, meta: &Map<String, Value>) -> bool {
        let Some(wanted) = self.meta.as_deref() else { return true };
        serde_json::to_string(meta).is_ok_and(|text| text.contains(wanted))
    }
}

#[cfg(test)]
mod tests;
