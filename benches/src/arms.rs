//! The arms: what stands between a request and its answer in each.
//!
//! INVARIANT: all arms answer the same requests with the same status from the same route, so that two arms differ in
//! the named part alone.

/// One arrangement that is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Arm {
    /// Short, for tables and `--only`.
    pub(crate) name: &'static str,
    /// What it shows.
    pub(crate) what: &'static str,
    pub(crate) chain: Chain,
    pub(crate) server: Server,
    pub(crate) kind: Kind,
}

/// The HTTP filters before the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) first: First,
    pub(crate) ext_authz: bool,
    /// Outcomes are streamed to the server.
    pub(crate) access_log: bool,
}

/// What a request meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Nothing,
    NativeRbac,
    FloorFilter,
    /// The same, with the second property read that ours makes where no decision came.
    FloorTwice,
    OurFilter,
    /// Another build of it.
    Baseline,
}

/// Who answers ext_authz.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    None,
    /// Allows everything.
    Allow,
    /// Allows everything, and returns the handoff's call id as the decision's id.
    Echo,
    /// Asks Cedar, through an index by scope over a thousand policies.
    Cedar,
    Palisade,
}

/// Which request is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Read,
    Write,
}

impl Arm {
    const fn new(name: &'static str, what: &'static str, first: First, server: Server, kind: Kind) -> Arm {
        let ext_authz = !matches!(server, Server::None);
        let access_log = matches!(server, Server::Palisade);
        Arm { name, what, chain: Chain { first, ext_authz, access_log }, server, kind }
    }

    const fn without_access_log(mut self) -> Arm {
        self.chain.access_log = false;
        self
    }
}

pub(crate) const ENVOY: &str = "envoy";
pub(crate) const FLOOR: &str = "floor";
pub(crate) const FLOOR_TWICE: &str = "floor twice";
pub(crate) const FILTER: &str = "filter";
pub(crate) const BASELINE: &str = "baseline";
pub(crate) const ALLOW: &str = "allow";
pub(crate) const CEDAR: &str = "cedar";
pub(crate) const ECHO: &str = "echo";
pub(crate) const FLOOR_ECHO: &str = "floor+echo";
pub(crate) const FILTER_ECHO: &str = "filter+echo";
pub(crate) const PALISADE: &str = "palisade";
pub(crate) const NO_OUTCOMES: &str = "no outcomes";
pub(crate) const ALLOW_WRITE: &str = "allow write";
pub(crate) const PALISADE_WRITE: &str = "palisade write";

/// In the order in which each round measures them; rivals stand beside what they are compared with.
pub(crate) const ARMS: [Arm; 15] = {
    use First::{Baseline, FloorFilter, FloorTwice, NativeRbac, Nothing, OurFilter};
    use Kind::{Read, Write};
    use Server::{Allow, Cedar, Echo, None, Palisade};
    [
        Arm::new(ENVOY, "Envoy alone", Nothing, None, Read),
        Arm::new("rbac", "native RBAC, one policy", NativeRbac, None, Read),
        Arm::new(FLOOR, "floor filter: map read, one header set, one property read", FloorFilter, None, Read),
        Arm::new(FLOOR_TWICE, "the same, with two properties read", FloorTwice, None, Read),
        Arm::new(FILTER, "our filter alone", OurFilter, None, Read),
        Arm::new(BASELINE, "the filter of `--baseline`, alone", Baseline, None, Read),
        Arm::new(ECHO, "ext_authz → tonic, echoes the call id", Nothing, Echo, Read),
        Arm::new(FLOOR_ECHO, "floor filter, then the same", FloorFilter, Echo, Read),
        Arm::new(FILTER_ECHO, "our filter, then the same", OurFilter, Echo, Read),
        Arm::new(ALLOW, "ext_authz → tonic, always allow", Nothing, Allow, Read),
        Arm::new(CEDAR, "ext_authz → tonic + Cedar, 1,000 policies by index", Nothing, Cedar, Read),
        Arm::new(PALISADE, "Palisade: filter, identity, Cedar, durable ledger", OurFilter, Palisade, Read),
        Arm::new(NO_OUTCOMES, "the same without the access log", OurFilter, Palisade, Read)
            .without_access_log(),
        Arm::new(ALLOW_WRITE, "ext_authz → tonic, always allow, POST", Nothing, Allow, Write),
        Arm::new(PALISADE_WRITE, "Palisade, POST with a JSON body", OurFilter, Palisade, Write),
    ]
};
