//! Each format with texts that keep to it and texts that nearly do.

use super::Format;
use crate::testing::{universal_properties, universal_test};

fn check(format: Format, good: &[&str], bad: &[&str]) {
    for text in good {
        assert!(format.is_met_by(text), "{} is met by {text}", format.as_str());
    }
    for text in bad {
        assert!(!format.is_met_by(text), "{} is not met by {text}", format.as_str());
    }
}

universal_test! {
    fn times_are_those_of_the_calendar() {
        check(Format::Date, &["2024-02-29", "2000-02-29", "0001-01-01"], &["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-1-1", "2024-04-31", "2024-01-01 "]);
        check(Format::DateTime, &["2024-02-29T23:59:60Z", "2024-01-01t00:00:00.1+23:59"], &["2024-01-01T00:00Z", "2024-01-01 00:00:00Z", "2024-01-01T00:00:00.Z", "2024-01-01T00:00:00"]);
        check(Format::Time, &["23:59:60Z", "00:29:60-23:30", "12:00:00.5z"], &["23:59:61Z", "22:59:60Z", "12:00:00"]);
        check(Format::Duration, &["P1Y2M3DT4H5M6S", "P2W", "PT1M"], &["P", "PT", "P1Y2D", "P1W2D", "PT1S1M", "P1"]);
    }
}

universal_test! {
    fn names_of_hosts_and_mailboxes() {
        check(Format::Hostname, &["a", "a-b.c1", "xn--9n2bp8q.test"], &["", ".", "a.", "-a", "a_b", "ab--c", "xn--", "ä"]);
        check(Format::Email, &["a@b", "\"a b\"@c.d", "a.b+c@[127.0.0.1]", "a@[IPv6:::1]"], &["a", "@b", "a@", "a..b@c", "a@b@c", "\"a\"b\"@c", "a@[300.1.1.1]"]);
        check(Format::Ipv4, &["127.0.0.1"], &["127.0.0.01", "1.2.3", "1.2.3.4.5", "0x7f.0.0.1", "127.0.0.1 "]);
        check(Format::Ipv6, &["::", "1::2:1.2.3.4"], &["[::1]", "::1%eth0", "1::2::3", "::1.2.3.04"]);
        check(Format::Uuid, &["2EB8AA08-aa98-11ea-b4aa-73b441d16380"], &["2eb8aa08aa9811eab4aa73b441d16380", "2eb8-aa08-aa98-11ea-b4aa73b44-1d16380", "2eb8aa08-aa98-11ea-b4aa-73b441d1638g", "2eb8aa08-aa98-11ea-b4aa-73b441d16380-"]);
    }
}

universal_test! {
    fn references_and_pointers() {
        check(Format::Uri, &["a:", "http://[::1]:80/a?b#c", "urn:a:b"], &["", "a", "//a", "http://a b", "http://a:b", "1a:b", "http://[::1", "http://a/[", "http://%4"]);
        check(Format::UriReference, &["", "a", "//a", "?a", "#", "./a:b"], &["1:b", "a b", "\\a", "//a@b@c"]);
        check(Format::Iri, &["http://ä/ö?\u{e000}"], &["ä", "http://a/\u{e000}"]);
        check(Format::IriReference, &["ä"], &["\u{7f}"]);
        check(Format::UriTemplate, &["", "a{b,c*}{?d:12}"], &["{", "}", "{}", "{a:0}", "{a*:1}"]);
        check(Format::JsonPointer, &["", "/", "/a~0~1"], &["a", "/~", "/~2"]);
        check(Format::RelativeJsonPointer, &["0", "10#", "1/a"], &["", "01", "#", "0##", "/a"]);
        check(Format::Byte, &["", "YQ==", "YWI=", "YWJj"], &["Y", "YQ", "YQ===", "Y=Q=", "YW-_", "===="]);
    }
}

universal_test! {
    fn each_format_is_found_by_its_name_and_code() {
        for format in Format::ALL {
            assert_eq!(Format::parse(format.as_str()), Some(*format));
            assert_eq!(Format::decode(*format as u8), Some(*format));
        }
        assert_eq!(Format::parse("regex"), None);
    }
}

universal_properties! {
    fn no_text_is_too_much(text in ".*", near in "[-0-9a-zA-Z:.@/\\[\\]{}%#?+~\"\\\\]*") {
        for format in Format::ALL {
            format.is_met_by(&text);
            format.is_met_by(&near);
        }
    }
}
