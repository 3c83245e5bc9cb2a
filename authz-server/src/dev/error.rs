//! Why `palisade dev` could not go on. Each message ends with the way out.

use std::fmt;
use std::io;
use std::net::SocketAddr;

use super::canary::Canary;
use super::children::ChildError;
use super::command::CommandError;
use super::drill::DrillError;
use super::generated::GeneratedError;
use super::issuers::IssuersError;
use super::outline::OutlineError;
use super::provision::ProvisionError;
use crate::ledger::ReadError;
use crate::state::BundleError;

#[derive(Debug)]
pub enum DevError {
    Outline(OutlineError),
    NoBundle,
    Provision(ProvisionError),
    Child(ChildError),
    Drill(DrillError),
    /// A part of the arrangement does not do its work.
    Canary(Canary),
    /// Envoy is there, but accepts nothing.
    ListenerSilent {
        tail: Vec<String>,
    },
    /// `palisade build` refused the bundle.
    Build(CommandError),
    /// The same, while everything runs.
    Refused(String),
    Generated(GeneratedError),
    Issuers(IssuersError),
    Ledger(ReadError),
    /// The server did not keep what it works with.
    Kept(BundleError),
    /// Envoy did not take the filter's new configuration.
    FilterStays {
        tail: Vec<String>,
    },
    ListenBusy(SocketAddr),
    Listen {
        address: SocketAddr,
        error: io::Error,
    },
    UnknownUpstream {
        service: String,
        services: String,
    },
    Io {
        what: String,
        error: io::Error,
    },
    /// The tour saw something else than it expected.
    Differences(usize),
    /// The end was asked for before it was ready.
    Stopped,
}

impl DevError {
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> DevError {
        move |error| DevError::Io { what: what.into(), error }
    }

    /// True when nothing went wrong but somebody lost patience.
    pub fn is_stop(&self) -> bool {
        matches!(
            self,
            DevError::Stopped
                | DevError::Provision(ProvisionError::Stopped)
                | DevError::Child(ChildError::Stopped)
                | DevError::Build(CommandError::Stopped)
        )
    }

    /// True when somebody who wants to know more will look into logs and generated files.
    pub fn is_explained_by_logs(&self) -> bool {
        matches!(
            self,
            DevError::Child(ChildError::Ended { .. } | ChildError::Overdue { .. })
                | DevError::Canary(_)
                | DevError::ListenerSilent { .. }
                | DevError::Drill(_)
                | DevError::Generated(_)
        )
    }
}

impl fmt::Display for DevError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DevError::Outline(error) => error.fmt(f),
            DevError::NoBundle => write!(
                f,
                "there is no bundle: name one with `--bundle DIR`, or start inside a checkout of Palisade for the demo's"
            ),
            DevError::Provision(error) => error.fmt(f),
            DevError::Child(error) => error.fmt(f),
            DevError::Drill(error) => error.fmt(f),
            DevError::Canary(canary) => canary.fmt(f),
            DevError::ListenerSilent { tail } => {
                write!(f, "envoy's listener does not accept connections; the end of its log:")?;
                tail.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            DevError::Refused(message) => {
                write!(f, "the configuration could not be generated:\n    {message}")
            }
            DevError::Generated(error) => error.fmt(f),
            DevError::Issuers(error) => error.fmt(f),
            DevError::Ledger(error) => error.fmt(f),
            DevError::Kept(error) => error.fmt(f),
            DevError::FilterStays { tail } => {
                write!(f, "envoy did not take the filter's new configuration in time; the end of its log:")?;
                tail.iter().try_for_each(|line| write!(f, "\n    {line}"))
            }
            DevError::Build(error) => write!(f, "the configuration could not be generated: {error}"),
            DevError::ListenBusy(address) => write!(
                f,
                "port {} of `{}` is in use\n  end what listens there, or choose another with `--listen {}:0`",
                address.port(),
                address.ip(),
                Host(address)
            ),
            DevError::Listen { address, error } => {
                write!(f, "`{address}` cannot be listened on: {error}\n  choose another with `--listen ADDR`")
            }
            DevError::UnknownUpstream { service, services } => write!(
                f,
                "`--upstream` names the service `{service}`, expected one of the bundle's: {services}"
            ),
            DevError::Io { what, error } => write!(f, "{what}: {error}"),
            DevError::Differences(count) => {
                write!(f, "{count} of the tour's requests went another way than expected")
            }
            DevError::Stopped => write!(f, "stopped before everything was ready"),
        }
    }
}

impl std::error::Error for DevError {}

/// An address's host as it is written in front of a port.
struct Host<'a>(&'a SocketAddr);

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            SocketAddr::V4(address) => write!(f, "{}", address.ip()),
            SocketAddr::V6(address) => write!(f, "[{}]", address.ip()),
        }
    }
}

impl From<OutlineError> for DevError {
    fn from(error: OutlineError) -> DevError {
        DevError::Outline(error)
    }
}

impl From<ProvisionError> for DevError {
    fn from(error: ProvisionError) -> DevError {
        DevError::Provision(error)
    }
}

impl From<ChildError> for DevError {
    fn from(error: ChildError) -> DevError {
        DevError::Child(error)
    }
}

impl From<GeneratedError> for DevError {
    fn from(error: GeneratedError) -> DevError {
        DevError::Generated(error)
    }
}

impl From<IssuersError> for DevError {
    fn from(error: IssuersError) -> DevError {
        DevError::Issuers(error)
    }
}

impl From<DrillError> for DevError {
    fn from(error: DrillError) -> DevError {
        DevError::Drill(error)
    }
}
