//! Random documents: good ones in odd spellings, nearly good ones, and those that readers are known to differ about.

use tests::dice::Dice;

/// What readers differ about, to be put anywhere.
const ODDITIES: &[&str] = &[
    "NaN",
    "Infinity",
    "-Infinity",
    "nan",
    "undefined",
    "None",
    "True",
    "0x10",
    "+1",
    "01",
    "-01",
    ".5",
    "5.",
    "1e",
    "-",
    "'a'",
    "/* c */",
    "// c\n",
    "# c\n",
    "\u{feff}",
    "\u{a0}",
    "\u{2028}",
    "\u{b}",
    "\u{c}",
    "\0",
    "\u{1f}",
    "\u{7f}",
    "\"\\ud800\"",
    "\"\\udc00\"",
    "\"\\ud800\\ud800\"",
    "\"\\ud83d\\ude00\"",
    "\"\\uD83D\\uDE00\"",
    "\"\\u0000\"",
    "\"\\x41\"",
    "\"\\a\"",
    "\"\\v\"",
    "\"\\'\"",
    "\"\\u12\"",
    "\"\\U0041\"",
    "\"\\u{41}\"",
    "\"\\\n\"",
    "\"\t\"",
    "[1,]",
    "{\"a\":1,}",
    "[,1]",
    "{,}",
    "{\"a\"}",
    "{\"a\":}",
    "{a:1}",
    "{1:1}",
    "[1 2]",
    "[]]",
    "}",
    "1 2",
    "\"a\" \"b\"",
    "{\"a\":1,\"a\":2}",
    "{\"a\":1,\"\\u0061\":2}",
    "{\"\":1,\"\":2}",
    "{\"__proto__\":{\"a\":1}}",
    "{\"__proto__\":1,\"constructor\":2,\"toString\":3}",
    "{\"1\":1,\"0\":2,\"01\":3}",
    "{\"\u{e9}\":1,\"e\u{301}\":2}",
    "{\"\u{ffff}\":1,\"\u{10000}\":2}",
    "{\"A\":1,\"a\":2}",
    "1e400",
    "-1e400",
    "1e-400",
    "-0",
    "-0.0",
    "0e99",
    "9007199254740991",
    "9007199254740992",
    "9007199254740993",
    "18446744073709551615",
    "18446744073709551616",
    "0.1",
    "0.10000000000000000555",
    "1.7976931348623157e308",
    "1.7976931348623159e308",
    "5e-324",
    "2e-324",
    "4.9e-324",
    "2.2250738585072011e-308",
    "123456789012345678901234567890",
    "1E+2",
    "1e05",
    "100000000000000000000000",
];

/// Bytes that are no UTF-8, or not the shortest.
const BAD_BYTES: &[&[u8]] = &[
    b"\xff",
    b"\xc3",
    b"\xc0\xaf",
    b"\xed\xa0\x80",
    b"\xed\xb0\x80",
    b"\xf4\x90\x80\x80",
    b"\xe2\x82",
    b"\x80",
    b"\xef\xbb\xbf",
];

pub(super) fn document(dice: &mut Dice) -> Vec<u8> {
    let mut out = String::new();
    space(dice, &mut out);
    if dice.once_in(60) {
        deep(dice, &mut out);
    } else {
        let room = 1 + dice.below(5);
        value(dice, room, &mut out);
    }
    space(dice, &mut out);
    let mut bytes = out.into_bytes();
    match dice.below(8) {
        0 => bytes = dice.damaged(&bytes),
        1 => {
            let at = dice.below(bytes.len() + 1);
            let oddity = dice.one_of(ODDITIES).bytes();
            bytes.splice(at..at, oddity);
        }
        2 if dice.once_in(2) => {
            let at = dice.below(bytes.len() + 1);
            let bad = dice.one_of(BAD_BYTES).iter().copied();
            bytes.splice(at..at, bad);
        }
        _ => {}
    }
    bytes
}

fn space(dice: &mut Dice, out: &mut String) {
    while dice.once_in(5) {
        out.push(dice.one_of(&[' ', '\t', '\n', '\r']));
    }
}

/// Around the depth at which ours refuses.
fn deep(dice: &mut Dice, out: &mut String) {
    let depth = 58 + dice.below(10);
    let objects: Vec<bool> = (0..depth).map(|_| dice.once_in(2)).collect();
    for object in &objects {
        out.push_str(if *object { "{\"k\":" } else { "[" });
    }
    out.push('1');
    for object in objects.iter().rev() {
        out.push(if *object { '}' } else { ']' });
    }
}

fn value(dice: &mut Dice, room: usize, out: &mut String) {
    match dice.below(if room == 0 { 7 } else { 12 }) {
        0 => out.push_str(dice.one_of(&["true", "false", "null"])),
        1..4 => number(dice, out),
        4 | 5 => string(dice, out),
        6 if dice.once_in(6) => out.push_str(dice.one_of(ODDITIES)),
        6 => string(dice, out),
        7..9 => {
            out.push('[');
            for item in 0..dice.below(5) {
                if item > 0 {
                    out.push(',');
                }
                space(dice, out);
                value(dice, room - 1, out);
                space(dice, out);
            }
            out.push(']');
        }
        _ => object(dice, room, out),
    }
}

fn object(dice: &mut Dice, room: usize, out: &mut String) {
    out.push('{');
    // Now and then more members than are told apart by looking at each.
    let members = if dice.once_in(30) { 40 } else { dice.below(6) };
    for member in 0..members {
        if member > 0 {
            out.push(',');
        }
        space(dice, out);
        if members == 40 || dice.once_in(2) {
            out.push_str(&format!("\"k{member}\""));
        } else {
            string(dice, out);
        }
        space(dice, out);
        out.push(':');
        space(dice, out);
        value(dice, room.min(2) - 1, out);
        space(dice, out);
    }
    out.push('}');
}

fn number(dice: &mut Dice, out: &mut String) {
    match dice.below(8) {
        0 => out.push_str(&dice.any().to_string()),
        1 => out.push_str(&(dice.any() as i64 >> dice.below(64)).to_string()),
        2 => {
            let double = f64::from_bits(dice.any());
            out.push_str(&if double.is_finite() { format!("{double:e}") } else { "0.5".to_owned() });
        }
        3 => {
            // Around the last whole number that a double has, and beyond what it can be.
            let near = (1_u64 << 53) - 4 + dice.below(8) as u64;
            out.push_str(&near.to_string());
        }
        _ => spelled(dice, out),
    }
}

/// Digits by chance, in the grammar.
fn spelled(dice: &mut Dice, out: &mut String) {
    let digits = |dice: &mut Dice, out: &mut String| {
        for _ in 0..=dice.mostly_below(5, 40) {
            out.push(char::from(b'0' + dice.below(10) as u8));
        }
    };
    if dice.once_in(3) {
        out.push('-');
    }
    if dice.once_in(3) {
        out.push('0');
    } else {
        out.push(char::from(b'1' + dice.below(9) as u8));
        if dice.once_in(2) {
            digits(dice, out);
        }
    }
    if dice.once_in(2) {
        out.push('.');
        digits(dice, out);
    }
    if dice.once_in(3) {
        out.push_str(dice.one_of(&["e", "E", "e+", "e-", "E-", "E+"]));
        out.push_str(&dice.mostly_below(20, 400).to_string());
    }
}

fn string(dice: &mut Dice, out: &mut String) {
    out.push('"');
    for _ in 0..dice.mostly_below(6, 40) {
        match dice.below(14) {
            0 => out.push_str(dice.one_of(&["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"])),
            1 => {
                let unit = dice.below(0x1_0000);
                // Half of them in small letters; a surrogate by chance is one alone.
                out.push_str(&if dice.once_in(2) {
                    format!("\\u{unit:04x}")
                } else {
                    format!("\\u{unit:04X}")
                });
            }
            2 => {
                let (high, low) = (0xd800 + dice.below(0x400), 0xdc00 + dice.below(0x400));
                out.push_str(&format!("\\u{high:04x}\\u{low:04x}"));
            }
            3 => out.extend(char::from_u32(dice.below(0x11_0000) as u32).filter(|found| *found >= ' ')),
            4 => out.push(dice.one_of(&[
                '\u{e9}',
                '\u{7f}',
                '\u{80}',
                '\u{2028}',
                '\u{feff}',
                '\u{fffd}',
                '\u{ffff}',
                '\u{1f600}',
            ])),
            _ => out.push(dice.one_of(&['a', 'b', 'k', '0', ' ', '/', '_', '$', '<', '{', ':', ','])),
        }
    }
    out.push('"');
}
