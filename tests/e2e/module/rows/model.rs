//! What must hold of a stream, whatever the filter was told: checked after each step from what the host saw.

use palisade_core::handoff;
use palisade_core::headers::HeaderMap;
use serde::de::IgnoredAny;
use tests::module::{Action, Stream};

/// The part of a stream that a callback was about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Head,
    /// So many bytes are held with it, and whether it is the last.
    Body {
        ends: bool,
    },
    Trailers,
    Response,
}

/// What the row knows of a stream.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    /// Its root has taken a configuration.
    pub configured: bool,
    /// That configuration was the demo's.
    pub demo: bool,
    /// The filter asked for a reply in place of it.
    pub refused: bool,
    /// Its head went on, and is that of a write.
    pub passed: bool,
    pub write: bool,
}

impl Known {
    /// `before` is how many replies there were; `lied` whether the host did otherwise than it should in this callback.
    pub(super) fn after(
        &mut self,
        part: Part,
        action: Action,
        stream: &Stream,
        before: usize,
        lied: bool,
    ) -> Result<(), String> {
        for reply in &stream.replies[before..] {
            let read: Result<serde_json::Value, _> = serde_json::from_str(&reply.body);
            let names_reason = read.is_ok_and(|body| {
                body["reason"].as_str().is_some_and(|code| reply.details == format!("palisade_{code}"))
            });
            if !names_reason || !(400..600).contains(&reply.status) {
                return Err(format!("a reply of no reason: {reply:?}"));
            }
        }
        if self.refused && action == Action::Continue && part != Part::Response {
            return Err("it goes on although it was refused".to_owned());
        }
        let replied = stream.replies.len() > before;
        if replied && action == Action::Continue {
            return Err("it is refused, and goes on".to_owned());
        }
        self.refused |= replied;
        let stuck = action == Action::Pause && !self.refused;
        match part {
            Part::Head if stuck => Err("its head is held, and nothing comes of it".to_owned()),
            Part::Body { ends: true } | Part::Trailers | Part::Response if stuck => {
                Err("it has ended, and is held without a reply".to_owned())
            }
            Part::Head if action == Action::Continue => self.head_went_on(stream),
            Part::Body { .. } | Part::Trailers if action == Action::Continue => self.body_went_on(stream),
            Part::Response if action == Action::Continue => self.response_went_on(stream, lied),
            Part::Head | Part::Body { .. } | Part::Trailers | Part::Response => Ok(()),
        }
    }

    fn head_went_on(&mut self, stream: &Stream) -> Result<(), String> {
        if !self.configured {
            return Err("a request goes on without a configuration".to_owned());
        }
        let given =
            stream.headers_given.as_deref().ok_or("a request goes on whose head was not handed over")?;
        if stream.change_failed {
            return Err("a request goes on although its head could not be changed".to_owned());
        }
        let ours: Vec<_> = (stream.request_headers.iter())
            .filter(|(name, _)| name.starts_with(handoff::HEADER_PREFIX.as_bytes()))
            .collect();
        let set = stream.headers_set.iter().any(|(name, _)| name == handoff::HEADER);
        // A client's copy that the host hid from the filter cannot be removed; what it showed must be.
        let shown = HeaderMap::parse(given).map_err(|reason| format!("a head goes on that is {reason:?}"))?;
        let left = ours.iter().any(|(name, _)| {
            name != handoff::HEADER.as_bytes() && shown.iter().any(|(seen, _)| seen == name)
        });
        if !set || left {
            return Err(format!("a head goes on with these of ours: {ours:?}"));
        }
        self.passed = true;
        self.write = shown.iter().any(|(name, value)| name == b":method" && value == b"POST");
        Ok(())
    }

    fn body_went_on(&self, stream: &Stream) -> Result<(), String> {
        if !self.passed {
            return Err("a body goes on whose head was never judged".to_owned());
        }
        if stream.request_body.is_empty() || !self.demo {
            return Ok(());
        }
        if !self.write {
            return Err("a body goes on that no operation declares".to_owned());
        }
        let given = stream.body_given.as_deref().ok_or("a body goes on that was not handed over")?;
        serde_json::from_slice::<IgnoredAny>(given)
            .map(drop)
            .map_err(|error| format!("a body goes on that is no JSON: {error}"))
    }

    fn response_went_on(&self, stream: &Stream, lied: bool) -> Result<(), String> {
        let source = stream.properties.get(&b"response\0code_details"[..]);
        let is_service = source.is_some_and(|source| source == b"via_upstream");
        let decided = stream.properties.keys().any(|path| path.ends_with(b"decision_id"));
        if self.passed && !self.refused && is_service && !decided && !lied {
            return Err("a response of the service goes on without a decision".to_owned());
        }
        Ok(())
    }
}
