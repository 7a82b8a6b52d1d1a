//! Query strings as Barbican takes them: nothing is refused for being unknown or given twice.

/// The pairs of a query, decoded, in the order they were sent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn read(text: Option<&str>) -> Self {
        Self(form_urlencoded::parse(text.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The value of that name; of several, the first.
    pub(crate) fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The same, where it is not empty: an empty filter filters nothing.
    pub(crate) fn filled(&self, name: &str) -> Option<&str> {
        self.first(name).filter(|value| !value.is_empty())
    }

    /// All pairs.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// Words that mean yes or no, in any case, as OpenStack's services take them.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    let text = text.trim().to_ascii_lowercase();
    match text.as_str() {
        "1" | "t" | "true" | "on" | "y" | "yes" => Some(true),
        "0" | "f" | "false" | "off" | "n" | "no" => Some(false),
        _ => None,
    }
}

/// A whole number of any size with an optional sign; what is beyond 64 bits is the nearest that is not.
pub(crate) fn integer(text: &str) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let size = digits.parse::<i64>().unwrap_or(i64::MAX);
    Some(if negative { size.saturating_neg() } else { size })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_several_counts() {
        let query = Query::read(Some("a=1&b=x%20y&a=2&c&=d"));
        assert_eq!(
            (query.first("a"), query.first("b"), query.first("c")),
            (Some("1"), Some("x y"), Some(""))
        );
        assert_eq!((query.filled("c"), query.first("d"), query.first("")), (None, None, Some("d")));
        assert_eq!(query.pairs().count(), 5);
    }

    #[test]
    fn words_and_numbers() {
        assert_eq!((boolean("TRUE"), boolean(" y "), boolean("off")), (Some(true), Some(true), Some(false)));
        assert_eq!((boolean(""), boolean("2"), boolean("ja")), (None, None, None));
        for (text, number) in [
            ("7", Some(7)),
            (" +7 ", Some(7)),
            ("-7", Some(-7)),
            ("99999999999999999999", Some(i64::MAX)),
            ("-99999999999999999999", Some(-i64::MAX)),
            ("", None),
            ("-", None),
            ("1.5", None),
            ("0x1", None),
        ] {
            assert_eq!(integer(text), number, "{text}");
        }
    }
}
