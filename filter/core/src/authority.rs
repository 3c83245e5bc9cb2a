//! The host that a request is for: a name or an address with an optional port.

use crate::limits::AUTHORITY_BYTES_MAX;
use crate::reason::Reason;

/// An authority with one reading. Case does not matter and the port is not part of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    raw: &'a str,
    host: &'a str,
    port: Option<u16>,
}

impl<'a> Authority<'a> {
    pub fn parse(raw: &'a [u8]) -> Result<Authority<'a>, Reason> {
        if raw.is_empty() {
            return Err(Reason::HostMissing);
        }
        if raw.len() > AUTHORITY_BYTES_MAX || !raw.is_ascii() {
            return Err(Reason::HostInvalid);
        }
        let raw = core::str::from_utf8(raw).map_err(|_| Reason::HostInvalid)?;
        if let Some(bracketed) = raw.strip_prefix('[') {
            return parse_address(raw, bracketed);
        }
        let (host, port) = match raw.split_once(':') {
            Some((host, port)) => (host, Some(parse_port(port)?)),
            None => (raw, None),
        };
        check_name(host)?;
        Ok(Authority { raw, host, port })
    }

    /// As it was sent.
    pub const fn raw(&self) -> &'a str {
        self.raw
    }

    /// Without the port; compare it without regard to case.
    pub const fn host(&self) -> &'a str {
        self.host
    }

    pub const fn port(&self) -> Option<u16> {
        self.port
    }
}

fn parse_address<'a>(raw: &'a str, bracketed: &'a str) -> Result<Authority<'a>, Reason> {
    let (address, rest) = bracketed.split_once(']').ok_or(Reason::HostInvalid)?;
    if address.parse::<core::net::Ipv6Addr>().is_err() {
        return Err(Reason::HostInvalid);
    }
    let port = match rest.strip_prefix(':') {
        Some(port) => Some(parse_port(port)?),
        None if rest.is_empty() => None,
        None => return Err(Reason::HostInvalid),
    };
    Ok(Authority { raw, host: address, port })
}

fn parse_port(port: &str) -> Result<u16, Reason> {
    // A zero in front would be a second spelling.
    if port.is_empty()
        || port.len() > 5
        || port.starts_with('0')
        || !port.bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(Reason::HostInvalid);
    }
    match port.parse() {
        Ok(port) => Ok(port),
        Err(_) => Err(Reason::HostInvalid),
    }
}

fn check_name(host: &str) -> Result<(), Reason> {
    if host.ends_with('.') {
        return Err(Reason::HostTrailingDot);
    }
    let label_holds = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    if host.split('.').all(label_holds) { Ok(()) } else { Err(Reason::HostInvalid) }
}

#[cfg(test)]
mod tests {
    use super::Authority;
    use crate::reason::Reason;
    use crate::testing::universal_test;

    fn check(raw: &str, expected: Result<(&str, Option<u16>), Reason>) {
        let found = Authority::parse(raw.as_bytes()).map(|authority| (authority.host(), authority.port()));
        assert_eq!(found, expected, "{raw}");
    }

    universal_test! {
        fn reads_names_and_addresses() {
            check("orders", Ok(("orders", None)));
            check("Orders.Shop.svc.cluster.local:8080", Ok(("Orders.Shop.svc.cluster.local", Some(8080))));
            check("127.0.0.1:80", Ok(("127.0.0.1", Some(80))));
            check("[::1]:8080", Ok(("::1", Some(8080))));
            check("[::1]", Ok(("::1", None)));
        }
    }

    universal_test! {
        fn refuses_what_has_two_readings() {
            check("", Err(Reason::HostMissing));
            check("orders.", Err(Reason::HostTrailingDot));
            check("orders.:80", Err(Reason::HostTrailingDot));
            for raw in ["orders:", "orders:0", "orders:65536", "orders:080808", "orders:080", "[::1]:080", "[fe80::1%25eth0]", "orders%2e", "orders:8 0", "user@orders", "orders/x", ".orders", "a..b", "ord ers", "ord\u{e4}rs", "[::1", "[::1]x", "[orders]", "::1", "orders:80:80", "a\0b", "orders,payments"] {
                check(raw, Err(Reason::HostInvalid));
            }
        }
    }
}
