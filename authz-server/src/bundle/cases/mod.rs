//! The tests of a bundle, `tests/**/*.yaml`: requests with the answer that the whole proxy must give.
//!
//! `format` is what people write, `checked` makes cases of it. They are part of the bundle and of its digest.
//! INVARIANT: a `Case` names only what the bundle has, and is a request that an HTTP client could send: a test that
//! cannot fail because of a misspelled name does not load.

mod callers;
mod checked;
mod expected;
pub mod format;

pub(super) use checked::{Known, check_all, read_all, read_one};

use super::Place;
use crate::identity::{ClaimValue, User};
use palisade_core::reason::Reason;
use std::collections::BTreeSet;
use std::fmt;

/// The cases of one file, tables written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFile {
    pub path: String,
    pub cases: Vec<Case>,
}

/// One request of one caller, and the answer that it must get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Case {
    /// Unique in its file; a case out of a table has its caller and its request behind its name.
    pub name: String,
    /// Of its name; of its request where it is one of several.
    pub place: Place,
    pub caller: Caller,
    pub request: CaseRequest,
    pub expect: Expectation,
}

/// Who calls.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Caller {
    Anonymous,
    /// By SPIFFE id.
    Workload(String),
    Client {
        name: String,
        /// What the key is good for, where it says so.
        scopes: Option<BTreeSet<String>>,
        /// The workload that carries the call.
        through: Option<String>,
    },
    User(Box<CaseUser>),
}

/// A person with what their token says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CaseUser {
    pub user: User,
    pub scopes: Option<BTreeSet<String>>,
    /// The workload that carries the call.
    pub through: Option<String>,
}

impl Caller {
    /// The workload whose connection it is.
    pub fn peer(&self) -> Option<&str> {
        match self {
            Caller::Anonymous => None,
            Caller::Workload(id) => Some(id),
            Caller::Client { through, .. } => through.as_deref(),
            Caller::User(person) => person.through.as_deref(),
        }
    }
}

/// What is asked, as a client sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseRequest {
    pub method: String,
    /// With the query.
    pub path: String,
    pub host: String,
    /// Names in lower case, as a proxy holds them.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

/// What must come out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    pub allowed: bool,
    /// Only beside a denial. `None`: any.
    pub reason: Option<Reason>,
    /// Sorted. `None`: any.
    pub policies: Option<Vec<String>>,
    pub shadow: Option<ShadowExpectation>,
}

/// What would come out if the shadow policies counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowExpectation {
    pub allowed: bool,
    /// Sorted. `None`: any.
    pub policies: Option<Vec<String>>,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Caller::Anonymous => f.write_str("anonymous"),
            Caller::Workload(id) => f.write_str(id),
            Caller::Client { name, scopes, through } => told(f, name, scopes.as_ref(), through.as_ref()),
            Caller::User(person) => {
                let CaseUser { user, scopes, through } = &**person;
                let mut said = user.name();
                for (what, names) in [("in", &user.groups), ("as", &user.roles)] {
                    for name in names {
                        said.push_str(&format!(" {what} {name}"));
                    }
                }
                for (name, value) in &user.attributes {
                    said.push_str(&format!(" {name} {}", shown(value)));
                }
                told(f, &said, scopes.as_ref(), through.as_ref())
            }
        }
    }
}

/// What is told of everybody who brings a credential over somebody's connection.
fn told(
    f: &mut fmt::Formatter<'_>,
    who: &str,
    scopes: Option<&BTreeSet<String>>,
    through: Option<&String>,
) -> fmt::Result {
    f.write_str(who)?;
    if let Some(scopes) = scopes {
        let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
        write!(f, " with [{}]", scopes.join(" "))?;
    }
    match through {
        Some(workload) => write!(f, " through {workload}"),
        None => Ok(()),
    }
}

fn shown(value: &ClaimValue) -> String {
    match value {
        ClaimValue::Text(text) => text.clone(),
        ClaimValue::Long(number) => number.to_string(),
        ClaimValue::Bool(value) => value.to_string(),
        ClaimValue::Texts(items) => {
            let items: Vec<&str> = items.iter().map(String::as_str).collect();
            format!("[{}]", items.join(" "))
        }
    }
}

impl fmt::Display for CaseRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} at {}", self.method, self.path, self.host)
    }
}
