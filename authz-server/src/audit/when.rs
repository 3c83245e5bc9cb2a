//! Times as people write and read them. Pure but for the name of this machine's zone.
//!
//! INVARIANT: a time is never shown without the zone that it is meant in.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan as _, Zoned};

/// When a day such as `2027-01-31` begins in UTC.
pub fn day_ms(text: &str) -> Option<u64> {
    let start = text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok()?;
    u64::try_from(start.timestamp().as_millisecond()).ok()
}

/// In which zone times are read and shown.
#[derive(Clone, Debug)]
pub struct Zone(TimeZone);

impl Zone {
    pub fn utc() -> Zone {
        Zone(TimeZone::UTC)
    }

    /// This machine's; UTC where it does not say.
    pub fn local() -> Zone {
        Zone(TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    /// `UTC`, `Europe/Berlin`, or an offset.
    pub fn name(&self) -> String {
        match self.0.iana_name() {
            Some(name) => name.to_owned(),
            None => self.0.to_offset(Timestamp::now()).to_string(),
        }
    }

    /// Date, and time of day to the millisecond.
    pub fn show(&self, at_ms: u64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
    }

    pub fn date(&self, at_ms: u64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%d").to_string()
    }

    pub fn time_of_day(&self, at_ms: u64) -> String {
        self.zoned(at_ms).strftime("%H:%M:%S%.3f").to_string()
    }

    /// The hour, as what is counted by hours names it.
    pub fn hour(&self, at_ms: u64) -> String {
        self.zoned(at_ms).strftime("%Y-%m-%d %H:00").to_string()
    }

    /// The moment that a person means, `now_ms` being now.
    pub fn parse(&self, text: &str, now_ms: u64) -> Result<u64, String> {
        let now = self.zoned(now_ms);
        let moment = self.moment(text.trim(), &now).ok_or_else(|| {
            format!(
                "`{text}` is no time: expected how long ago (`15m`, `1h30m`, `2 days`), a time of day (`10:00`), \
                 `today`, `yesterday`, a date (`2026-11-21`), or both (`2026-11-21T10:00`, with `Z` or `+01:00` behind \
                 it for another zone)"
            )
        })?;
        // What is before 1970 is before everything.
        Ok(u64::try_from(moment.as_millisecond()).unwrap_or(0))
    }

    fn moment(&self, text: &str, now: &Zoned) -> Option<Timestamp> {
        let start_of = |date: Date| Some(date.to_zoned(self.0.clone()).ok()?.timestamp());
        match text {
            "now" => return Some(now.timestamp()),
            "today" => return start_of(now.date()),
            "yesterday" => return start_of(now.date().yesterday().ok()?),
            _ => {}
        }
        // A time of day with its seconds could be read as a span of hours, too.
        if !text.contains(':')
            && let Ok(span) = text.parse::<Span>()
        {
            return Some(now.checked_sub(span.abs()).ok()?.timestamp());
        }
        // With an offset; without one the next line reads it, and would overlook the offset.
        if let Ok(moment) = text.parse::<Timestamp>() {
            return Some(moment);
        }
        if text.contains('-')
            && let Ok(moment) = text.parse::<DateTime>()
        {
            return Some(moment.to_zoned(self.0.clone()).ok()?.timestamp());
        }
        let time = text.parse::<Time>().ok().filter(|_| text.contains(':'))?;
        let today = now.date().to_datetime(time).to_zoned(self.0.clone()).ok()?;
        // The last time that it was so late.
        let last = if today > *now { today.checked_sub(1.day()).ok()? } else { today };
        Some(last.timestamp())
    }

    fn zoned(&self, at_ms: u64) -> Zoned {
        timestamp(at_ms).to_zoned(self.0.clone())
    }
}

/// RFC 3339, in UTC, to the millisecond.
pub(super) fn utc(at_ms: u64) -> String {
    format!("{:.3}", timestamp(at_ms))
}

/// A time beyond the calendar is shown as its end.
fn timestamp(at_ms: u64) -> Timestamp {
    i64::try_from(at_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok()).unwrap_or(Timestamp::MAX)
}

/// How long something took, with as many digits as a person needs.
pub fn duration(us: u64) -> String {
    let tenths = |whole: u64, tenth: u64, unit: &str| match whole {
        0..=9 => format!("{whole}.{tenth} {unit}"),
        _ => format!("{whole} {unit}"),
    };
    match us {
        0..=999 => format!("{us} µs"),
        1_000..=999_999 => tenths(us / 1_000, us / 100 % 10, "ms"),
        1_000_000..=59_999_999 => tenths(us / 1_000_000, us / 100_000 % 10, "s"),
        _ => format!("{} min {} s", us / 60_000_000, us / 1_000_000 % 60),
    }
}

/// Parses what `--slow` is given.
pub fn parse_duration_us(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no duration: expected one like `50ms`, `1.5s` or `2m`");
    let span: jiff::SignedDuration = text.parse().map_err(|_| wrong())?;
    u64::try_from(span.as_micros()).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        u64::try_from(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn people_write_times_in_many_ways() {
        let now = at("2026-11-21T15:30:00Z");
        let berlin = Zone(TimeZone::fixed(jiff::tz::offset(1)));
        let check = |zone: &Zone, text: &str, expected: &str| {
            assert_eq!(zone.parse(text, now).map(utc), Ok(utc(at(expected))), "{text}");
        };
        for zone in [&Zone::utc(), &berlin] {
            check(zone, "1h", "2026-11-21T14:30:00Z");
            check(zone, "1h30m", "2026-11-21T14:00:00Z");
            check(zone, "90s", "2026-11-21T15:28:30Z");
            check(zone, "2 days", "2026-11-19T15:30:00Z");
            check(zone, "1 hour ago", "2026-11-21T14:30:00Z");
            check(zone, "now", "2026-11-21T15:30:00Z");
            check(zone, "2026-11-21T10:00Z", "2026-11-21T10:00:00Z");
            check(zone, "2026-11-21T10:00+02:00", "2026-11-21T08:00:00Z");
        }
        check(&Zone::utc(), "yesterday", "2026-11-20T00:00:00Z");
        check(&berlin, "yesterday", "2026-11-19T23:00:00Z");
        check(&berlin, "today", "2026-11-20T23:00:00Z");
        check(&berlin, "2026-11-21", "2026-11-20T23:00:00Z");
        check(&berlin, "2026-11-21T10:00", "2026-11-21T09:00:00Z");
        check(&berlin, "2026-11-21 10:00:05.5", "2026-11-21T09:00:05.5Z");
        check(&berlin, "10:00", "2026-11-21T09:00:00Z");
        check(&berlin, "10:00:05", "2026-11-21T09:00:05Z");
        check(&berlin, "23:00", "2026-11-20T22:00:00Z");
    }

    #[test]
    fn what_is_no_time_is_told_what_is_one() {
        for wrong in ["", "soon", "25:00", "2026-13-01", "10", "2026", "1x"] {
            let error = Zone::utc().parse(wrong, 0).unwrap_err();
            assert!(error.contains("`1h30m`"), "{wrong}: {error}");
        }
    }

    #[test]
    fn durations_keep_two_digits() {
        let shown = [0, 999, 1_000, 9_999, 10_000, 1_370_000, 59_000_000, 61_000_000].map(duration);
        assert_eq!(shown, ["0 µs", "999 µs", "1.0 ms", "9.9 ms", "10 ms", "1.3 s", "59 s", "1 min 1 s"]);
        assert_eq!(parse_duration_us("50ms"), Ok(50_000));
        assert_eq!(parse_duration_us("1.5s"), Ok(1_500_000));
        assert!(parse_duration_us("-1s").is_err() && parse_duration_us("50").is_err());
    }
}
