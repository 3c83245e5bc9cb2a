//! Values and numbers of a contract, exact: `0.1` stays one tenth, and `1.0` is `1`.

use std::cmp::Ordering;
use std::fmt;

/// A value that stands in a contract.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Json {
    Null,
    Bool(bool),
    Number(Decimal),
    Text(Box<str>),
    List(Box<[Json]>),
    /// In the order of its keys.
    Object(Box<[(Box<str>, Json)]>),
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(value) => write!(f, "{value}"),
            Json::Number(number) => write!(f, "{number}"),
            Json::Text(text) => write!(f, "{text:?}"),
            Json::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("]")
            }
            Json::Object(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(f, "{}{key:?}: {value}", if at > 0 { ", " } else { "" })?;
                }
                f.write_str("}")
            }
        }
    }
}

/// A number as a coefficient and a power of ten.
///
/// INVARIANT: the coefficient does not end in zero, unless it is zero; then the exponent is zero, too. Equal numbers are
/// equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Decimal {
    coefficient: i128,
    exponent: i32,
}

/// Numbers that no 64-bit float has are mistakes, and bounds what a comparison costs.
const EXPONENT_MAX: i32 = 400;

impl Decimal {
    pub const ZERO: Decimal = Decimal { coefficient: 0, exponent: 0 };

    /// Reads a number as JSON and YAML write them. `None`: not a finite number, or one of more than 36 digits.
    pub fn parse(text: &str) -> Option<Decimal> {
        let (negative, unsigned) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        for (prefix, radix) in [("0x", 16), ("0o", 8)] {
            if let Some(digits) = unsigned.strip_prefix(prefix) {
                let coefficient = i128::from(i64::from_str_radix(digits, radix).ok()?);
                return Decimal::new(if negative { -coefficient } else { coefficient }, 0);
            }
        }
        let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (unsigned, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let digits = digits.trim_start_matches('0');
        let trimmed = digits.trim_end_matches('0');
        if trimmed.len() > 36 || whole.len() + fraction.len() == 0 {
            return None;
        }
        let zeros = i32::try_from(digits.len() - trimmed.len()).ok()?;
        let exponent = exponent.checked_sub(i32::try_from(fraction.len()).ok()?)?.checked_add(zeros)?;
        let coefficient = if trimmed.is_empty() { 0 } else { trimmed.parse::<i128>().ok()? };
        Decimal::new(if negative { -coefficient } else { coefficient }, exponent)
    }

    fn new(mut coefficient: i128, mut exponent: i32) -> Option<Decimal> {
        if coefficient == 0 {
            return Some(Decimal::ZERO);
        }
        while coefficient % 10 == 0 {
            coefficient /= 10;
            exponent = exponent.checked_add(1)?;
        }
        (exponent.abs() <= EXPONENT_MAX).then_some(Decimal { coefficient, exponent })
    }

    /// Without a power of ten below one.
    pub fn is_whole(self) -> bool {
        self.exponent >= 0
    }

    /// How many digits stand after the point.
    pub fn places(self) -> u32 {
        self.exponent.min(0).unsigned_abs()
    }

    pub fn is_positive(self) -> bool {
        self.coefficient > 0
    }

    /// The coefficient: the number without its power of ten, which `exponent` is.
    pub fn coefficient(self) -> i128 {
        self.coefficient
    }

    pub fn exponent(self) -> i32 {
        self.exponent
    }

    /// How many digits stand before the point; what is below one has none or fewer.
    fn magnitude(self) -> i64 {
        let digits = self.coefficient.unsigned_abs().checked_ilog10().unwrap_or(0);
        i64::from(digits) + 1 + i64::from(self.exponent)
    }

    fn compare_positive(self, other: Decimal) -> Ordering {
        let by_magnitude = self.magnitude().cmp(&other.magnitude());
        if by_magnitude != Ordering::Equal {
            return by_magnitude;
        }
        // The same magnitude: the digits compare like texts, a missing one being a zero.
        let digits = |number: Decimal| number.coefficient.unsigned_abs().to_string();
        digits(self).cmp(&digits(other))
    }
}

impl Ord for Decimal {
    fn cmp(&self, other: &Self) -> Ordering {
        let sign = self.coefficient.signum().cmp(&other.coefficient.signum());
        if sign != Ordering::Equal {
            return sign;
        }
        match self.coefficient.signum() {
            0 => Ordering::Equal,
            1 => self.compare_positive(*other),
            _ => other.compare_positive(*self),
        }
    }
}

impl PartialOrd for Decimal {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// In full where that is short, else with its power of ten.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Decimal { coefficient, exponent } = *self;
        let sign = if coefficient < 0 { "-" } else { "" };
        let digits = coefficient.unsigned_abs();
        match exponent {
            0..=18 => {
                let zeros = usize::try_from(exponent).unwrap_or_default();
                write!(f, "{sign}{digits}{}", "0".repeat(zeros))
            }
            -18..=-1 => {
                let places = usize::try_from(-exponent).unwrap_or_default();
                let digits = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = digits.split_at_checked(digits.len() - places).unwrap_or(("", ""));
                write!(f, "{sign}{whole}.{fraction}")
            }
            _ => write!(f, "{sign}{digits}e{exponent}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Decimal;

    #[test]
    fn numbers_are_exact_and_have_one_form() {
        let check = |text: &str, shown: &str| {
            assert_eq!(
                Decimal::parse(text).map(|number| number.to_string()).as_deref(),
                Some(shown),
                "{text}"
            );
        };
        check("0", "0");
        check("-0.0", "0");
        check("1.50", "1.5");
        check("100", "100");
        check("1e3", "1000");
        check("0.1", "0.1");
        check("-0.05", "-0.05");
        check("1.7976931348623157e+308", "17976931348623157e292");
        check("0x10", "16");
        check("9223372036854775807", "9223372036854775807");
        for text in ["", ".", "x", ".inf", "1e999", "1234567890123456789012345678901234567"] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
        assert_eq!(Decimal::parse("10"), Decimal::parse("1e1"));
    }

    #[test]
    fn numbers_compare_whatever_their_form() {
        let ordered =
            ["-1e300", "-2", "-1.5", "0", "1e-300", "0.09", "0.1", "0.11", "1", "9.99", "10", "1e300"];
        for pair in ordered.windows(2) {
            let [less, more] = [pair[0], pair[1]].map(|text| Decimal::parse(text).unwrap());
            assert!(less < more, "{} {}", pair[0], pair[1]);
        }
    }
}
