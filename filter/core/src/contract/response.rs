//! What a service may answer, and what becomes of an answer that is something else.

use super::body::Content;
use super::parameter::Parameter;
use crate::json::Numbers;

/// What becomes of a response that its contract does not know. The later one is the stricter one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
#[repr(u8)]
pub enum Enforcement {
    /// Nobody looks.
    Off = 0,
    /// It goes out, and is counted.
    #[default]
    Report = 1,
    /// The caller gets a reply of ours instead.
    Enforce = 2,
}

impl Enforcement {
    pub const ALL: [Enforcement; 3] = [Enforcement::Off, Enforcement::Report, Enforcement::Enforce];
}

/// The responses of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseRules {
    /// For status, headers and content type.
    pub head: Enforcement,
    pub body: Enforcement,
    /// Where responses are only reported, one of so many is looked at; 0 and 1 mean each.
    pub sample: u32,
    /// The most of a body that is judged. What is longer is not judged where it is reported, and refused where enforced.
    pub bytes_max: u32,
    pub numbers: Numbers,
    /// Exact statuses first, then classes, then all others.
    pub declared: Vec<(Status, ResponseRule)>,
    /// Headers and properties of bodies, at any depth, that no response may carry.
    pub never_headers: Vec<Box<str>>,
    pub never_properties: Vec<Box<str>>,
}

/// The statuses that a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Exact(u16),
    /// Its first digit.
    Class(u8),
    Other,
}

impl Status {
    pub const fn covers(self, status: u16) -> bool {
        match self {
            Status::Exact(exact) => exact == status,
            Status::Class(class) => status / 100 == class as u16,
            Status::Other => true,
        }
    }
}

/// What a response of one status may be.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResponseRule {
    /// Of part `Header`.
    pub headers: Vec<Parameter>,
    /// Empty: it has no body.
    pub media: Vec<ResponseMedia>,
}

/// A media type that a response may have, in the order in which they are asked: exact ones first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseMedia {
    /// In lower case, without parameters; `image/*` and `*/*` are ranges.
    pub range: Box<str>,
    pub content: Content,
}

impl ResponseRules {
    pub fn rule(&self, status: u16) -> Option<&ResponseRule> {
        self.declared.iter().find(|(statuses, _)| statuses.covers(status)).map(|(_, rule)| rule)
    }

    /// Whether any response is looked at.
    pub fn is_off(&self) -> bool {
        self.head == Enforcement::Off && self.body == Enforcement::Off
    }

    pub fn enforces(&self) -> bool {
        self.head == Enforcement::Enforce || self.body == Enforcement::Enforce
    }
}
