//! Numbers at their edges, and against arithmetic of another kind.

use super::{Decimal, Number};
use crate::testing::{universal_properties, universal_test};
use core::cmp::Ordering;
use proptest::prelude::*;

fn number(text: &str) -> Number<'_> {
    Number::parse(text).unwrap()
}

fn decimal(text: &str) -> Decimal {
    let number = number(text);
    let coefficient = number.digits().fold(0_u128, |sum, digit| sum * 10 + u128::from(digit));
    Decimal::new(number.negative, coefficient, number.exponent as i32).unwrap()
}

universal_test! {
    fn what_is_whole_is_said_by_worth_and_not_by_spelling() {
        for text in ["0", "-0", "0.0", "0e5", "1", "1.0", "1e2", "120e-1", "1.50e1", "12300e-2", "-7"] {
            assert!(number(text).is_whole(), "{text}");
        }
        for text in ["0.5", "1e-1", "12.05", "123e-1", "1e-400"] {
            assert!(!number(text).is_whole(), "{text}");
        }
    }
}

universal_test! {
    fn equal_worth_has_one_canonical_form() {
        let canonical = |text| {
            let mut out = Vec::new();
            number(text).write_canonical(&mut out);
            out
        };
        for (one, two) in [("1", "1.0"), ("100", "1e2"), ("0", "-0.0e9"), ("0.10", "1e-1"), ("-12.5", "-125E-1")] {
            assert_eq!(canonical(one), canonical(two), "{one} {two}");
            assert!(number(one).same(&number(two)));
        }
        for (one, two) in [("1", "10"), ("1", "-1"), ("0.1", "0.01"), ("11", "1.1"), ("1e400", "1e401")] {
            assert_ne!(canonical(one), canonical(two), "{one} {two}");
            assert!(!number(one).same(&number(two)));
        }
    }
}

universal_test! {
    fn long_numbers_compare_by_their_last_digit() {
        let bound = decimal("123456789012345678901234567890123456");
        assert_eq!(number("123456789012345678901234567890123455.999999999999").compare(&bound), Ordering::Less);
        assert_eq!(number("123456789012345678901234567890123456.000").compare(&bound), Ordering::Equal);
        assert_eq!(number("123456789012345678901234567890123456.0001").compare(&bound), Ordering::Greater);
        assert_eq!(number("-1e308").compare(&decimal("-1e309")), Ordering::Greater);
        assert_eq!(number("1e999999").compare(&decimal("1e309")), Ordering::Greater);
        assert_eq!(number("1e-999999").compare(&decimal("0")), Ordering::Greater);
        assert!(Number::parse("1e1000000001").is_none());
        assert!(Number::parse("1e-99999999999999999999").is_none());
    }
}

universal_test! {
    fn multiples_are_exact_where_floats_are_not() {
        for (text, step) in [
            ("0.3", "0.1"), ("4.35", "0.01"), ("1e308", "0.123456789e-1"), ("0", "7"), ("1e400", "3e399"),
            ("9007199254740993", "3"), ("123456789012345678901234567890", "15"), ("1e5000", "1024"),
        ] {
            let expected = match (text, step) {
                ("1e308", _) | ("1e400", _) => false,
                ("9007199254740993", _) => 9_007_199_254_740_993_u64.is_multiple_of(3),
                _ => true,
            };
            assert_eq!(number(text).is_multiple_of(&decimal(step)), expected, "{text} {step}");
        }
        let step = decimal("123456789012345678901234567890123457");
        assert!(number("123456789012345678901234567890123457000").is_multiple_of(&step));
        assert!(!number("123456789012345678901234567890123457001").is_multiple_of(&step));
    }
}

universal_test! {
    fn what_a_double_keeps_is_told_from_what_it_changes() {
        let fits = |text: &str| number(text).fits_double(text);
        // Both mean the same double, just between them; whoever writes it again writes the even one.
        assert!(fits("2033485665276879.2") && !fits("2033485665276879.3"));
        for text in [
            "0", "0.1", "1e300", "9007199254740992", "9007199254740991", "0.30000000000000004", "5e-324", "1e22", "1e23",
            "1.7976931348623157e308", "100000000000000000000000000000", "-2.5", "1001592461381907.2", "-1001592461381907.2",
        ] {
            assert!(fits(text), "{text}");
        }
        for text in [
            "9007199254740993", "1e400", "1e-400", "3.141592653589793238", "1.8e308", "123456789012345678901234567890",
            "0.1000000000000000055511151231257827", "1001592461381907.3",
        ] {
            assert!(!fits(text), "{text}");
        }
    }
}

fn written() -> impl Strategy<Value = (String, i128, i32)> {
    (-10_i128.pow(20)..10_i128.pow(20), 0_i32..30, -12_i32..12).prop_map(|(value, zeros, exponent)| {
        let zeros = zeros % 4;
        let text = format!(
            "{value}{}e{}",
            if zeros > 0 { format!(".{}", "0".repeat(zeros as usize)) } else { String::new() },
            exponent
        );
        (text, value, exponent)
    })
}

universal_properties! {
    fn comparing_is_what_integers_say(one in written(), two in written()) {
        let worth = |value: i128, exponent: i32| value.checked_mul(10_i128.pow((exponent + 12) as u32));
        if let (Some(left), Some(right)) = (worth(one.1 % 10_i128.pow(13), one.2), worth(two.1 % 10_i128.pow(13), two.2)) {
            let text = format!("{}e{}", one.1 % 10_i128.pow(13), one.2);
            let bound = decimal(&format!("{}e{}", two.1 % 10_i128.pow(13), two.2));
            prop_assert_eq!(number(&text).compare(&bound), left.cmp(&right), "{} {:?}", text, bound);
        }
    }

    fn a_number_is_equal_to_itself_however_written(one in written()) {
        let plain = format!("{}e{}", one.1, one.2);
        prop_assert!(number(&one.0).same(&number(&plain)));
        prop_assert_eq!(number(&one.0).compare(&decimal(&plain)), Ordering::Equal);
    }

    fn multiples_are_what_integers_say(value in 0_u64..u64::MAX, step in 1_u64..100_000, large in any::<bool>()) {
        let (value, step) = if large { (u128::from(value) * u128::from(step), step) } else { (u128::from(value), step) };
        let text = value.to_string();
        prop_assert_eq!(number(&text).is_multiple_of(&decimal(&step.to_string())), value % u128::from(step) == 0);
    }

    fn a_double_that_was_written_is_kept(double in any::<f64>()) {
        if double.is_finite() {
            let text = serde_json::to_string(&double).unwrap();
            prop_assert!(number(&text).fits_double(&text), "{}", text);
        }
    }

    // Of these many are half a step from two texts.
    fn a_double_between_two_texts_is_kept(eighths in 1_u64 << 48..1 << 53, negative in any::<bool>()) {
        let double = eighths as f64 / if negative { -8.0 } else { 8.0 };
        let text = serde_json::to_string(&double).unwrap();
        prop_assert!(number(&text).fits_double(&text), "{}", text);
    }
}
