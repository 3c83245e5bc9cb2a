//! Encoded bodies cannot be judged, so they are refused; what nobody looks into still has its length.

use tests::rig::Target;

use super::message::{Framing, Message, parcel};
use super::yard::{DEPOT, STORE, WRITER, Yard};

/// What `addPicture` accepts.
const PICTURE_BYTES_MAX: usize = 20_000;

#[test]
fn an_encoded_body_is_refused_and_an_identity_is_none() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let mut cells = 0;
        for framing in Framing::ALL {
            // Undefined by the standard, but some services undo a coding that only a trailer names; here it is the head.
            for coding in
                ["gzip", "br", "deflate", "GZIP", "gzip, identity", "identity, gzip", "x-unknown", "identity"]
            {
                let what = format!("{framing:?} {coding}");
                let host = if framing.is_http2() { STORE } else { DEPOT };
                let mut message =
                    Message::post(host, "/parcels", framing, parcel(300)).header("content-encoding", coding);
                // Envoy drops the trailers of HTTP/1.1 as it is generated.
                message.trailers.retain(|_| framing.is_http2());
                yard.rig.reset_spies();
                let outcome = yard.send(WRITER, &message);
                if coding == "identity" {
                    yard.assert_accepted(outcome, &message, &what);
                } else {
                    yard.assert_refused(outcome, 415, "content_encoding_not_allowed", &what);
                }
                cells += 1;
            }
        }
        assert_eq!(cells, 48);
    }
}

/// Its parts are not looked into, and so any bytes pass; whole and bounded it must be all the same.
#[test]
fn of_a_form_with_files_the_length_and_the_head_are_judged() {
    for target in Target::ALL {
        let yard = Yard::start(target);
        let picture = |bytes: usize, content_type: &str| {
            let body: Vec<u8> = (0..=255).cycle().take(bytes).collect();
            let mut message = Message::post(DEPOT, "/pictures", Framing::Chunked, body).in_pieces(&[4_096]);
            message.headers = vec![(b"content-type".to_vec(), content_type.as_bytes().to_vec())];
            message
        };
        for (bytes, content_type, refusal) in [
            (PICTURE_BYTES_MAX, "multipart/form-data", None),
            (PICTURE_BYTES_MAX, "multipart/form-data; boundary=xyz", None),
            (PICTURE_BYTES_MAX + 1, "multipart/form-data; boundary=xyz", Some((413, "body_too_large"))),
            (100, "multipart/mixed; boundary=xyz", Some((415, "content_type_not_declared"))),
            (0, "multipart/form-data; boundary=xyz", Some((400, "body_missing"))),
        ] {
            yard.rig.reset_spies();
            let message = picture(bytes, content_type);
            let what = format!("{bytes} bytes of {content_type}");
            match refusal {
                None => yard.assert_accepted(yard.send(WRITER, &message), &message, &what),
                Some((status, reason)) => {
                    yard.assert_refused(yard.send(WRITER, &message), status, reason, &what)
                }
            }
        }
        yard.rig.reset_spies();
        let encoded = picture(100, "multipart/form-data").header("content-encoding", "gzip");
        yard.assert_refused(
            yard.send(WRITER, &encoded),
            415,
            "content_encoding_not_allowed",
            "an encoded form",
        );
    }
}
