//! Values that policies may ask for, read strictly out of text: one spelling, or none.
//!
//! INVARIANT: a text that two readers could take for different values is not a value.

use std::net::IpAddr;

/// A value of a request, of the kind that its contract declares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    String(String),
    Long(i64),
    Bool(bool),
    /// With a point, and one to four digits after it.
    Decimal(String),
    Ip(String),
    Set(Vec<Value>),
}

/// A whole number of 64 bits: no sign but a minus, no zero in front, no exponent.
pub(crate) fn long(text: &str) -> Option<i64> {
    is_whole(text).then(|| text.parse().ok()).flatten()
}

/// A number with at most four digits after its point, as Cedar writes it.
pub(crate) fn decimal(text: &str) -> Option<String> {
    let (whole, digits) = text.split_once('.').unwrap_or((text, "0"));
    let sound = (is_whole(whole) || whole == "-0")
        && (1..=4).contains(&digits.len())
        && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !sound {
        return None;
    }
    // Cedar holds ten-thousandths in 64 bits; what is beyond would be an error while policies are evaluated.
    let scaled: i128 = format!("{whole}{digits:0<4}").parse().ok()?;
    i64::try_from(scaled).ok().map(|_| format!("{whole}.{digits}"))
}

pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

/// One address, in its usual spelling whichever it came in. One of the fourth version in the clothes of the sixth has
/// two readings.
pub(crate) fn ip(text: &str) -> Option<String> {
    let address: IpAddr = text.parse().ok()?;
    let shown = address.to_string();
    let mixed = address.is_ipv6() && (shown.contains('.') || text.contains('.'));
    (!mixed).then_some(shown)
}

fn is_whole(text: &str) -> bool {
    match text.strip_prefix('-').unwrap_or(text).as_bytes() {
        // A minus before a zero is a zero to some and another number to others.
        [b'0'] => text == "0",
        [b'1'..=b'9', rest @ ..] => rest.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::{boolean, decimal, ip, long};

    #[test]
    fn numbers_have_one_spelling() {
        for (text, value) in [
            ("0", 0),
            ("7", 7),
            ("-12", -12),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(long(text), Some(value), "{text}");
        }
        for text in [
            "",
            "-",
            "-0",
            "00",
            "07",
            "+7",
            " 7",
            "7 ",
            "7.0",
            "7e0",
            "1_000",
            "0x10",
            "٣",
            "9223372036854775808",
            "99999999999999999999999999999999999999999",
        ] {
            assert_eq!(long(text), None, "{text}");
        }
    }

    #[test]
    fn decimals_are_held_exactly_or_not_at_all() {
        for (text, value) in [
            ("1", "1.0"),
            ("1.5", "1.5"),
            ("-0.0001", "-0.0001"),
            ("12.3400", "12.3400"),
            ("922337203685477.5807", "922337203685477.5807"),
            ("-922337203685477.5808", "-922337203685477.5808"),
        ] {
            assert_eq!(decimal(text).as_deref(), Some(value), "{text}");
        }
        for text in [
            "",
            ".5",
            "1.",
            "1.00000",
            "1.2.3",
            "1e3",
            "01.5",
            "+1.5",
            "1,5",
            "922337203685477.5808",
            "1.-5",
            "1. 5",
        ] {
            assert_eq!(decimal(text), None, "{text}");
        }
    }

    #[test]
    fn addresses_and_truths() {
        assert_eq!(ip("10.1.2.3").as_deref(), Some("10.1.2.3"));
        assert_eq!(ip("2001:DB8:0::1").as_deref(), Some("2001:db8::1"));
        for text in [
            "",
            "10.1.2",
            "010.1.2.3",
            "10.1.2.3/8",
            "::ffff:10.1.2.3",
            "::ffff:a01:203",
            "fe80::1%eth0",
            "[::1]",
            " ::1",
        ] {
            assert_eq!(ip(text), None, "{text}");
        }
        assert_eq!(
            (boolean("true"), boolean("false"), boolean("True"), boolean("1"), boolean("")),
            (Some(true), Some(false), None, None, None)
        );
    }
}
