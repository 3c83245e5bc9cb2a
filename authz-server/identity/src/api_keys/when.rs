//! Times of keys, as the file and people write them. Pure.
//!
//! INVARIANT: a time in the file is RFC 3339 in UTC to the second, so that the file reads the same to everybody.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

/// `2026-11-22T01:09:37Z`.
pub fn rfc3339(at_s: u64) -> String {
    let moment = i64::try_from(at_s).ok().and_then(|at_s| Timestamp::from_second(at_s).ok());
    moment.unwrap_or(Timestamp::MAX).to_string()
}

/// What [`rfc3339`] writes, and any other time with its zone.
pub(super) fn parse_rfc3339(text: &str) -> Option<u64> {
    u64::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()
}

/// When a key ends: `90d` from now, on `2027-01-31` when that day begins in UTC, or at a time with its zone.
pub fn parse_expiry(text: &str, now_s: u64) -> Result<u64, String> {
    let moment = later(text, now_s).or_else(|| day(text)).or_else(|| parse_rfc3339(text)).ok_or_else(|| {
        format!(
            "`{text}` is no expiry: expected a time from now (`90d`), a date (`2027-01-31`), or a time with its zone \
             (`2027-01-31T12:00Z`)"
        )
    })?;
    match moment > now_s {
        true => Ok(moment),
        false => Err(format!("`{text}` is {}, which is over: expected a time to come", rfc3339(moment))),
    }
}

/// For how long two keys are good: `24h`.
pub fn parse_overlap(text: &str, now_s: u64) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no overlap: expected a duration like `24h`, `7d` or `0s`");
    later(text, now_s).and_then(|until| until.checked_sub(now_s)).ok_or_else(wrong)
}

/// A span of time from now on.
fn later(text: &str, now_s: u64) -> Option<u64> {
    let span = text.parse::<Span>().ok()?;
    let now = Timestamp::from_second(i64::try_from(now_s).ok()?).ok()?;
    let then = Zoned::new(now, TimeZone::UTC).checked_add(span).ok()?;
    u64::try_from(then.timestamp().as_second()).ok()
}

fn day(text: &str) -> Option<u64> {
    let start = text.parse::<Date>().ok().filter(|_| !text.contains(['T', 't', ' ']))?;
    u64::try_from(start.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()).ok()
}

#[cfg(test)]
mod tests {
    use super::{parse_expiry, parse_overlap, parse_rfc3339, rfc3339};

    #[test]
    fn times_are_read_as_they_are_written() {
        for at_s in [0, 1, 1_795_309_777, 4_102_444_800] {
            assert_eq!(parse_rfc3339(&rfc3339(at_s)), Some(at_s));
        }
        assert_eq!(rfc3339(1_795_309_777), "2026-11-22T01:09:37Z");
        assert!(rfc3339(u64::MAX).starts_with("9999-"));
        for wrong in ["", "2026-11-22", "2026-11-22T01:09:37", "1795309777", "1960-01-01T00:00:00Z"] {
            assert_eq!(parse_rfc3339(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn people_write_when_a_key_ends() {
        let now_s = 1_795_309_777;
        let check = |text: &str, expected: &str| {
            assert_eq!(parse_expiry(text, now_s).map(rfc3339), Ok(expected.into()))
        };
        check("90d", "2027-02-20T01:09:37Z");
        check("1h", "2026-11-22T02:09:37Z");
        check("2027-01-31", "2027-01-31T00:00:00Z");
        check("2027-01-31T12:00Z", "2027-01-31T12:00:00Z");
        check("2027-01-31T12:00+02:00", "2027-01-31T10:00:00Z");
        for wrong in ["", "soon", "90", "2027-01-31T12:00", "31.1.2027"] {
            let error = parse_expiry(wrong, now_s).unwrap_err();
            assert!(error.contains("expected a time from now (`90d`)"), "{wrong}: {error}");
        }
        for over in ["2026-11-22", "-1d", "1h ago", "0s", "2026-11-22T01:09:37Z"] {
            let error = parse_expiry(over, now_s).unwrap_err();
            assert!(error.contains("which is over"), "{over}: {error}");
        }
    }

    #[test]
    fn an_overlap_is_a_duration() {
        assert_eq!(parse_overlap("24h", 1000), Ok(86_400));
        assert_eq!(parse_overlap("7d", 1000), Ok(7 * 86_400));
        assert_eq!(parse_overlap("0s", 1000), Ok(0));
        for wrong in ["", "-1h", "2027-01-31", "24"] {
            assert!(parse_overlap(wrong, 1000).is_err(), "{wrong}");
        }
    }
}
