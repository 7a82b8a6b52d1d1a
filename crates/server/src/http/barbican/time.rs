//! Moments as Barbican writes and reads them: UTC, ISO 8601, without a zone.

use std::borrow::Cow;

use chatelaine_core::Timestamp;
use jiff::civil::Time;
use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::Offset;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

const PARSER: DateTimeParser = DateTimeParser::new();

/// `2026-11-23T15:49:36.974210`, without a fraction where it is zero. Some clients refuse a zone.
pub(crate) fn written(moment: Timestamp) -> String {
    let text = with_fraction(moment);
    text.strip_suffix(".000000").map(str::to_owned).unwrap_or(text)
}

/// What [`written`] writes, as the description of the API shows it.
pub(crate) enum Moment {}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some(r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d{6})?$"))
            .description(Some("A moment in UTC, in ISO 8601 without a zone"))
            .examples(["2026-11-23T15:49:36.974210"])
            .into()
    }
}

impl ToSchema for Moment {
    fn name() -> Cow<'static, str> {
        "BarbicanMoment".into()
    }
}

/// The same, always with microseconds.
pub(crate) fn with_fraction(moment: Timestamp) -> String {
    let text = moment.to_string();
    text.strip_suffix('Z').map(str::to_owned).unwrap_or(text)
}

/// Reads ISO 8601: a date, or a date and a time, with or without a zone; without one it is UTC.
pub(crate) fn parsed(text: &str) -> Option<Timestamp> {
    let pieces = PARSER.parse_pieces(text).ok()?;
    if pieces.time_zone_annotation().is_some() {
        return None;
    }
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    let local = pieces.date().to_datetime(pieces.time().unwrap_or(Time::midnight()));
    let moment = offset.to_timestamp(local).ok()?;
    Some(Timestamp::from_micros(moment.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_have_no_zone_and_no_empty_fraction() {
        assert_eq!(written(Timestamp::from_micros(1_795_000_000_123_456)), "2026-11-18T11:06:40.123456");
        assert_eq!(written(Timestamp::from_micros(1_795_000_000_100_000)), "2026-11-18T11:06:40.100000");
        assert_eq!(written(Timestamp::from_micros(1_795_000_000_000_000)), "2026-11-18T11:06:40");
        assert_eq!(
            with_fraction(Timestamp::from_micros(1_795_000_000_000_000)),
            "2026-11-18T11:06:40.000000"
        );
    }

    #[test]
    fn zones_are_converted() {
        let noon = parsed("2028-01-01T12:00:00").unwrap();
        for text in [
            "2028-01-01T12:00:00Z",
            "2028-01-01 12:00:00",
            "2028-01-01T12:00",
            "2028-01-01T12:00:00.000000",
            "2028-01-01T14:00:00+02:00",
            "2028-01-01T06:30:00-0530",
            "20280101T120000",
        ] {
            assert_eq!(parsed(text), Some(noon), "{text}");
        }
        assert_eq!(written(parsed("2028-02-29").unwrap()), "2028-02-29T00:00:00");
        assert_eq!(written(parsed("2028-02-29T01:02:03.5").unwrap()), "2028-02-29T01:02:03.500000");
    }

    #[test]
    fn what_is_no_moment_is_refused() {
        for text in [
            "",
            "tomorrow",
            "2028-13-01",
            "2027-02-29",
            "12:00",
            "2028-01-01T25:00:00",
            "2028-01-01T12:00:00[Europe/Berlin]",
            "2028-01-01T12:00:00 05:00",
            "9999-12-31T23:59:59-12:00",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}
