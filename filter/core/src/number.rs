//! Decimal numbers, exact: a number of a document as it was written, and a number of a contract.
//!
//! INVARIANT: whether a number is whole, within a bound, or a multiple is decided on its digits; a float is asked only
//! whether a double would keep the number, and never for its worth.

use crate::limits::{NUMBER_EXPONENT_MAX, NUMBER_SCALE_MAX};
use core::cmp::Ordering;

/// A number of a JSON document, without the zeros that make no difference.
///
/// INVARIANT: the first and the last digit are not zero; zero has no digits, no sign and the exponent zero.
#[derive(Debug, Clone, Copy)]
pub struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    /// The power of ten of the last digit.
    exponent: i64,
}

impl<'a> Number<'a> {
    /// `text` is a number in JSON's grammar. `None`: its exponent is beyond what is computed with.
    pub fn parse(text: &'a str) -> Option<Number<'a>> {
        let (negative, unsigned) = match text.as_bytes() {
            [b'-', rest @ ..] => (true, rest),
            unsigned => (false, unsigned),
        };
        let (whole, rest) = split_digits(unsigned);
        let (fraction, rest) = match rest {
            [b'.', rest @ ..] => split_digits(rest),
            rest => (&[][..], rest),
        };
        let exponent = match rest {
            [b'e' | b'E', b'-', digits @ ..] => parse_exponent(digits)?.saturating_neg(),
            [b'e' | b'E', b'+', digits @ ..] | [b'e' | b'E', digits @ ..] => parse_exponent(digits)?,
            _ => 0,
        };
        let places = i64::try_from(fraction.len()).ok()?;
        let (mut whole, mut fraction) = (trim_start(whole), fraction);
        if whole.is_empty() {
            fraction = trim_start(fraction);
        }
        let written = fraction.len();
        fraction = trim_end(fraction);
        let mut zeros = written.saturating_sub(fraction.len());
        if fraction.is_empty() {
            let written = whole.len();
            whole = trim_end(whole);
            zeros = zeros.saturating_add(written.saturating_sub(whole.len()));
        }
        if whole.is_empty() && fraction.is_empty() {
            return Some(Number { negative: false, whole, fraction, exponent: 0 });
        }
        let exponent = exponent.saturating_sub(places).saturating_add(i64::try_from(zeros).ok()?);
        Some(Number { negative, whole, fraction, exponent })
    }

    pub const fn is_zero(&self) -> bool {
        self.whole.is_empty() && self.fraction.is_empty()
    }

    /// `1.0` and `1e2` are whole.
    pub const fn is_whole(&self) -> bool {
        self.exponent >= 0
    }

    fn digits(&self) -> impl Iterator<Item = u8> + use<'a> {
        self.whole.iter().chain(self.fraction).map(|byte| byte.wrapping_sub(b'0'))
    }

    const fn digit_count(&self) -> usize {
        self.whole.len().saturating_add(self.fraction.len())
    }

    /// How many digits stand before the point; below one it is zero or negative.
    fn magnitude(&self) -> i64 {
        i64::try_from(self.digit_count()).unwrap_or(i64::MAX).saturating_add(self.exponent)
    }

    const fn sign(&self) -> i8 {
        sign(self.is_zero(), self.negative)
    }

    /// The digits as one integer, where they are few.
    fn small(&self) -> Option<u64> {
        (self.digit_count() <= SMALL_DIGITS).then(|| {
            self.digits().fold(0_u64, |sum, digit| sum.wrapping_mul(10).wrapping_add(u64::from(digit)))
        })
    }

    /// How it stands to a number of a contract.
    pub fn compare(&self, other: &Decimal) -> Ordering {
        let by_sign = self.sign().cmp(&other.sign());
        if by_sign != Ordering::Equal || self.is_zero() {
            return by_sign;
        }
        let by_size = self.compare_size(other);
        if self.negative { by_size.reverse() } else { by_size }
    }

    fn compare_size(&self, other: &Decimal) -> Ordering {
        if let (Some(small), Ok(coefficient)) = (self.small(), u64::try_from(other.coefficient))
            && let Some(scale) = self.exponent.checked_sub(i64::from(other.exponent))
            && let Some(power) = u32::try_from(scale.unsigned_abs()).ok().and_then(small_power)
        {
            // Both factors are below 2^64, so that the products are below 2^128.
            let (one, two) = (u128::from(small), u128::from(coefficient));
            return if scale >= 0 {
                one.saturating_mul(power).cmp(&two)
            } else {
                one.cmp(&two.saturating_mul(power))
            };
        }
        let digits = Digits::of(other.coefficient);
        let magnitude = i64::from(other.exponent).saturating_add(digits.count());
        // The same magnitude: the digits compare like texts, of which the longer is the greater.
        self.magnitude().cmp(&magnitude).then_with(|| self.digits().cmp(digits.iter()))
    }

    /// Whether it is a whole number of `step`s, of which each is above zero.
    pub fn is_multiple_of(&self, step: &Decimal) -> bool {
        if self.is_zero() {
            return true;
        }
        let Some(scale) = self.exponent.checked_sub(i64::from(step.exponent)) else { return false };
        // The last digit is not zero, so that no power of ten divides the digits.
        if scale < 0 || step.coefficient == 0 {
            return false;
        }
        // Beyond this power a factor of ten more or less divides nothing more: a coefficient has fewer twos and fives.
        let scale = scale.min(128);
        match u64::try_from(step.coefficient) {
            Ok(divisor) if divisor <= u64::MAX / 16 => {
                let zeros = core::iter::repeat_n(0, usize::try_from(scale).unwrap_or(128));
                let rest = |sum: u64, digit: u8| {
                    sum.wrapping_mul(10).wrapping_add(u64::from(digit)).checked_rem(divisor).unwrap_or(0)
                };
                self.digits().chain(zeros).fold(0, rest) == 0
            }
            _ => {
                let zeros = core::iter::repeat_n(0, usize::try_from(scale).unwrap_or(128));
                let divisor = step.coefficient;
                // INVARIANT: a coefficient is below 10^36, so that ten times it does not wrap.
                let rest = |sum: u128, digit: u8| {
                    sum.wrapping_mul(10).wrapping_add(u128::from(digit)).checked_rem(divisor).unwrap_or(0)
                };
                self.digits().chain(zeros).fold(0, rest) == 0
            }
        }
    }

    /// Whether whoever reads it into a double, and writes that again, has the same number.
    ///
    /// `text` is what it was read from.
    pub fn fits_double(&self, text: &str) -> bool {
        let magnitude = self.magnitude();
        if self.digit_count() <= 15 && (-290..=290).contains(&magnitude) {
            return true;
        }
        // The shortest text that means a double has at most 17 digits.
        if self.digit_count() > 17 && !self.is_whole() || magnitude > 310 {
            return false;
        }
        let Ok(double) = text.parse::<f64>() else { return false };
        double.is_finite() && Number::parse(&written(double)).is_some_and(|again| self.same(&again))
    }

    /// Whether both are worth the same.
    pub fn same(&self, other: &Number<'_>) -> bool {
        self.sign() == other.sign()
            && self.exponent == other.exponent
            && self.digit_count() == other.digit_count()
            && self.digits().eq(other.digits())
    }

    /// Appends what is the same for all numbers of the same worth, and for no other.
    pub fn write_canonical(&self, out: &mut Vec<u8>) {
        out.push(self.sign().to_le_bytes()[0]);
        if !self.is_zero() {
            out.extend_from_slice(&self.exponent.to_be_bytes());
            out.extend(self.digits());
        }
    }
}

/// The shortest text that means this double, and of two such texts the nearer one, or the even one of two equally near.
///
/// So ECMAScript and Python write it; Rust's shortest text may be the odd one.
fn written(double: f64) -> String {
    let shortest = format!("{double:e}");
    let digits = shortest.split('e').next().unwrap_or_default().bytes().filter(u8::is_ascii_digit).count();
    let nearest = format!("{double:.*e}", digits.saturating_sub(1));
    if nearest.parse() == Ok(double) { nearest } else { shortest }
}

const SMALL_DIGITS: usize = 18;

const fn sign(is_zero: bool, negative: bool) -> i8 {
    match (is_zero, negative) {
        (true, _) => 0,
        (false, false) => 1,
        (false, true) => -1,
    }
}

/// A power of ten that, times 64 bits, stays within 128.
fn small_power(exponent: u32) -> Option<u128> {
    (exponent <= 18).then(|| 10_u128.checked_pow(exponent)).flatten()
}

fn split_digits(bytes: &[u8]) -> (&[u8], &[u8]) {
    let end = bytes.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(bytes.len());
    bytes.split_at_checked(end).unwrap_or((bytes, &[]))
}

fn parse_exponent(digits: &[u8]) -> Option<i64> {
    let mut value = 0_i64;
    for digit in digits {
        value = value.checked_mul(10)?.checked_add(i64::from(digit.wrapping_sub(b'0')))?;
        if value > NUMBER_EXPONENT_MAX {
            return None;
        }
    }
    Some(value)
}

fn trim_start(mut digits: &[u8]) -> &[u8] {
    while let [b'0', rest @ ..] = digits {
        digits = rest;
    }
    digits
}

fn trim_end(mut digits: &[u8]) -> &[u8] {
    while let [rest @ .., b'0'] = digits {
        digits = rest;
    }
    digits
}

/// A number of a contract: a bound, a step, a value of an `enum`.
///
/// INVARIANT: the coefficient is below 10^36 and does not end in zero, unless it is zero; then sign and exponent are
/// zero, too. Equal numbers are equal values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Decimal {
    negative: bool,
    coefficient: u128,
    exponent: i32,
}

impl Decimal {
    /// `None`: more digits, or a greater power of ten, than is computed with.
    pub const fn new(negative: bool, mut coefficient: u128, mut exponent: i32) -> Option<Decimal> {
        if coefficient == 0 {
            return Some(Decimal { negative: false, coefficient: 0, exponent: 0 });
        }
        while coefficient.is_multiple_of(10) {
            coefficient /= 10;
            exponent = exponent.saturating_add(1);
        }
        if coefficient >= COEFFICIENT_END || exponent.unsigned_abs() > NUMBER_SCALE_MAX.unsigned_abs() {
            return None;
        }
        Some(Decimal { negative, coefficient, exponent })
    }

    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    pub const fn coefficient(&self) -> u128 {
        self.coefficient
    }

    pub const fn exponent(&self) -> i32 {
        self.exponent
    }

    const fn sign(&self) -> i8 {
        sign(self.coefficient == 0, self.negative)
    }
}

const COEFFICIENT_END: u128 = 1_000_000_000_000_000_000_000_000_000_000_000_000;

/// The decimal digits of a coefficient, the first not zero.
struct Digits {
    reversed: [u8; 40],
    count: usize,
}

impl Digits {
    fn of(mut coefficient: u128) -> Digits {
        let mut digits = Digits { reversed: [0; 40], count: 0 };
        for place in &mut digits.reversed {
            if coefficient == 0 {
                break;
            }
            *place = u8::try_from(coefficient % 10).unwrap_or(0);
            coefficient /= 10;
            digits.count = digits.count.saturating_add(1);
        }
        digits
    }

    fn count(&self) -> i64 {
        i64::try_from(self.count).unwrap_or(i64::MAX)
    }

    fn iter(&self) -> impl Iterator<Item = u8> {
        self.reversed.iter().take(self.count).rev().copied()
    }
}

#[cfg(test)]
mod tests;
