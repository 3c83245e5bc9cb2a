//! Names and addresses of the network: hosts by RFC 1123, mailboxes by RFC 5321.

use core::net::{Ipv4Addr, Ipv6Addr};

pub(super) fn is_ipv4(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok()
}

pub(super) fn is_ipv6(text: &str) -> bool {
    text.parse::<Ipv6Addr>().is_ok()
}

/// Labels of letters, digits and inner hyphens. What a label that begins with `xn--` means is not looked at.
pub(super) fn is_hostname(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let bytes = label.as_bytes();
    let letters = bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    let ends = bytes.first() != Some(&b'-') && bytes.last() != Some(&b'-');
    // Two hyphens in the third place are reserved, and only `xn` was ever given.
    let prefixed = bytes.get(2..4) == Some(b"--");
    let known = bytes.get(..2).is_some_and(|prefix| prefix.eq_ignore_ascii_case(b"xn")) && bytes.len() > 4;
    !bytes.is_empty() && bytes.len() <= 63 && letters && ends && (!prefixed || known)
}

pub(super) fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    (1..=64).contains(&local.len()) && is_local(local) && is_domain(domain)
}

fn is_local(local: &str) -> bool {
    match local.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(quoted) => is_quoted(quoted),
        None => local.split('.').all(|atom| !atom.is_empty() && atom.bytes().all(is_atom_byte)),
    }
}

const fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'/'
                | b'='
                | b'?'
                | b'^'
                | b'_'
                | b'`'
                | b'{'
                | b'|'
                | b'}'
                | b'~'
        )
}

fn is_quoted(quoted: &str) -> bool {
    let mut bytes = quoted.bytes();
    while let Some(byte) = bytes.next() {
        let printable = |byte: u8| matches!(byte, b' '..=b'~');
        match byte {
            b'"' => return false,
            b'\\' if !bytes.next().is_some_and(printable) => return false,
            byte if !printable(byte) => return false,
            _ => {}
        }
    }
    true
}

fn is_domain(domain: &str) -> bool {
    match domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(literal) => match literal.get(..5) {
            Some(tag) if tag.eq_ignore_ascii_case("IPv6:") => is_ipv6(literal.get(5..).unwrap_or_default()),
            _ => is_ipv4(literal),
        },
        None => is_hostname(domain),
    }
}
