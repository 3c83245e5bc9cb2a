//! Dates and times of RFC 3339, durations of its appendix.

use super::Scan;

pub(super) fn is_date(text: &str) -> bool {
    let mut scan = Scan::of(text);
    date(&mut scan).is_some() && scan.is_done()
}

pub(super) fn is_time(text: &str) -> bool {
    let mut scan = Scan::of(text);
    time(&mut scan).is_some() && scan.is_done()
}

pub(super) fn is_date_time(text: &str) -> bool {
    let mut scan = Scan::of(text);
    let whole = date(&mut scan).and_then(|()| scan.is(b"Tt")).and_then(|()| time(&mut scan));
    whole.is_some() && scan.is_done()
}

fn date(scan: &mut Scan<'_>) -> Option<()> {
    let year = scan.number(4)?;
    scan.is(b"-")?;
    let month = scan.number(2)?;
    scan.is(b"-")?;
    let day = scan.number(2)?;
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let days = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=days).contains(&day).then_some(())
}

const DAY_MINUTES: u32 = 24 * 60;

fn time(scan: &mut Scan<'_>) -> Option<()> {
    let hour = scan.number(2).filter(|hour| *hour < 24)?;
    scan.is(b":")?;
    let minute = scan.number(2).filter(|minute| *minute < 60)?;
    scan.is(b":")?;
    let second = scan.number(2).filter(|second| *second <= 60)?;
    if scan.is(b".").is_some() && scan.run(|byte| byte.is_ascii_digit()) == 0 {
        return None;
    }
    let local = hour.wrapping_mul(60).wrapping_add(minute);
    let sign = scan.take(|byte| matches!(byte, b'Z' | b'z' | b'+' | b'-'))?;
    let mut offset = 0;
    if matches!(sign, b'+' | b'-') {
        let hours = scan.number(2).filter(|hours| *hours < 24)?;
        scan.is(b":")?;
        let minutes = scan.number(2).filter(|minutes| *minutes < 60)?;
        offset = hours.wrapping_mul(60).wrapping_add(minutes);
    }
    // A leap second ends a day of UTC.
    let offset = if sign == b'+' { DAY_MINUTES.wrapping_sub(offset) } else { offset };
    let utc = local.wrapping_add(offset) % DAY_MINUTES;
    (second < 60 || utc == DAY_MINUTES.wrapping_sub(1)).then_some(())
}

pub(super) fn is_duration(text: &str) -> bool {
    let Some(rest) = text.strip_prefix('P') else { return false };
    if let Some(weeks) = rest.strip_suffix('W') {
        return !weeks.is_empty() && weeks.bytes().all(|byte| byte.is_ascii_digit());
    }
    let (date, time) = match rest.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (rest, None),
    };
    let date_is_good = if date.is_empty() { time.is_some() } else { is_row(date, b"YMD") };
    date_is_good && time.is_none_or(|time| is_row(time, b"HMS"))
}

/// Numbers with units, which follow one another without a gap.
fn is_row(text: &str, units: &[u8]) -> bool {
    let mut scan = Scan::of(text);
    let mut place = None;
    while !scan.is_done() {
        if scan.run(|byte| byte.is_ascii_digit()) == 0 {
            return false;
        }
        let Some(unit) = scan.take(|byte| units.contains(&byte)) else { return false };
        let found = units.iter().position(|known| *known == unit);
        if place.is_some_and(|last: usize| found != last.checked_add(1)) {
            return false;
        }
        place = found;
    }
    place.is_some()
}
