//! Formats of texts: each is a grammar that a text keeps to or does not.
//!
//! INVARIANT: a format that is named here is asserted; whoever compiles a contract refuses every other one by name, but
//! those that say nothing of a text (`password`, `binary`).

mod net;
mod time;
mod uri;

/// Declares the formats once.
macro_rules! formats {
    ($($variant:ident $code:literal $name:literal $check:path;)*) => {
        /// A grammar of texts.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Format { $($variant = $code),* }

        impl Format {
            pub const ALL: &'static [Format] = &[$(Format::$variant),*];

            /// As it stands in a contract.
            pub const fn as_str(self) -> &'static str {
                match self { $(Format::$variant => $name),* }
            }

            pub fn is_met_by(self, text: &str) -> bool {
                match self { $(Format::$variant => $check(text)),* }
            }
        }
    };
}

formats! {
    DateTime 1 "date-time" time::is_date_time;
    Date 2 "date" time::is_date;
    Time 3 "time" time::is_time;
    Duration 4 "duration" time::is_duration;
    Uuid 5 "uuid" is_uuid;
    Email 6 "email" net::is_email;
    Hostname 7 "hostname" net::is_hostname;
    Ipv4 8 "ipv4" net::is_ipv4;
    Ipv6 9 "ipv6" net::is_ipv6;
    Uri 10 "uri" uri::is_uri;
    UriReference 11 "uri-reference" uri::is_uri_reference;
    Iri 12 "iri" uri::is_iri;
    IriReference 13 "iri-reference" uri::is_iri_reference;
    UriTemplate 14 "uri-template" uri::is_uri_template;
    JsonPointer 15 "json-pointer" is_json_pointer;
    RelativeJsonPointer 16 "relative-json-pointer" is_relative_json_pointer;
    Byte 17 "byte" is_base64;
}

impl Format {
    pub fn parse(name: &str) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| format.as_str() == name)
    }

    pub(super) fn decode(code: u8) -> Option<Format> {
        Format::ALL.iter().copied().find(|format| *format as u8 == code)
    }
}

/// Eight, four, four, four and twelve hexadecimal digits, whatever the version.
fn is_uuid(text: &str) -> bool {
    let mut groups = text.split('-');
    let is_group = |(group, length): (&str, usize)| {
        group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    groups.by_ref().zip([8, 4, 4, 4, 12]).map(is_group).filter(|good| *good).count() == 5 && text.len() == 36
}

fn is_json_pointer(text: &str) -> bool {
    let escaped = |step: &str| step.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    text.is_empty() || text.starts_with('/') && text.split('/').all(escaped)
}

fn is_relative_json_pointer(text: &str) -> bool {
    let end = text.bytes().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (Some(up), Some(rest)) = (text.get(..end), text.get(end..)) else { return false };
    let is_number = up == "0" || !up.is_empty() && !up.starts_with('0');
    is_number && (rest == "#" || is_json_pointer(rest))
}

/// The alphabet of base64 with its padding, which is what OpenAPI means by `byte`.
fn is_base64(text: &str) -> bool {
    let body = text.trim_end_matches('=');
    let padding = text.len().saturating_sub(body.len());
    let digit = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    text.len().is_multiple_of(4) && padding <= 2 && body.bytes().all(digit)
}

/// Takes a text apart from its front.
#[derive(Debug, Clone, Copy)]
struct Scan<'a>(&'a [u8]);

impl<'a> Scan<'a> {
    fn of(text: &'a str) -> Scan<'a> {
        Scan(text.as_bytes())
    }

    fn take(&mut self, accepted: impl Fn(u8) -> bool) -> Option<u8> {
        let (byte, rest) = self.0.split_first().filter(|(byte, _)| accepted(**byte))?;
        self.0 = rest;
        Some(*byte)
    }

    fn is(&mut self, wanted: &[u8]) -> Option<()> {
        self.take(|byte| wanted.contains(&byte)).map(drop)
    }

    /// A number of exactly so many digits.
    fn number(&mut self, digits: usize) -> Option<u32> {
        let mut value = 0_u32;
        for _ in 0..digits {
            let digit = self.take(|byte| byte.is_ascii_digit())?;
            value = value.checked_mul(10)?.checked_add(u32::from(digit.wrapping_sub(b'0')))?;
        }
        Some(value)
    }

    /// How many of these stand here.
    fn run(&mut self, accepted: impl Fn(u8) -> bool) -> usize {
        let mut count = 0_usize;
        while self.take(&accepted).is_some() {
            count = count.saturating_add(1);
        }
        count
    }

    const fn is_done(self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests;
