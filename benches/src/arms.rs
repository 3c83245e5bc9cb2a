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
    pub(crate) contract: Bundled,
    pub(crate) group: Group,
    /// A copy of the bundle is evaluated beside it.
    pub(crate) candidate: bool,
}

/// Which bundle the configuration and the contract come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bundled {
    /// `policies/`.
    Demo,
    /// `benches/bundle/`, for bodies and answers.
    Own,
    /// `policies/` without a word on load, and with shedding but without limits.
    Calm,
    Shedding,
    /// A made one with a thousand operations.
    Large,
    /// Made ones with that many policies, 1,500 entities, and a buffered ledger for reads.
    Crowd10,
    Crowd1k,
    Crowd10k,
}

/// Arms that can be measured without the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Heads,
    Bodies,
    Responses,
    Start,
    Decisions,
    Shedding,
}

impl Group {
    pub(crate) const ALL: [Group; 6] =
        [Group::Heads, Group::Bodies, Group::Responses, Group::Start, Group::Decisions, Group::Shedding];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Group::Heads => "heads",
            Group::Bodies => "bodies",
            Group::Responses => "responses",
            Group::Start => "start",
            Group::Decisions => "decisions",
            Group::Shedding => "shedding",
        }
    }
}

/// The HTTP filters before the router.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) first: First,
    pub(crate) ext_authz: bool,
    /// Outcomes are streamed to the server.
    pub(crate) access_log: bool,
    pub(crate) route: Route,
}

/// What is behind the filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Route {
    /// It answers by itself.
    Answers,
    /// The same, after Envoy's own buffer filter has seen the end of the body: an answer before it would close the
    /// connection.
    AnswersWhole,
    /// A service of the bench answers: only what comes from a service is judged on the way back.
    Service,
}

/// What a request meets first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    Nothing,
    NativeRbac,
    FloorFilter,
    /// The same, with the second property read that ours makes where no decision came.
    FloorTwice,
    /// The same as `FloorFilter`, which also holds the body and reads it once.
    FloorHolds,
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
    /// With a token that was verified before.
    ReadKnown,
    /// With tokens of which none comes twice.
    ReadUnknown,
    Write,
    /// POST of a document of about 1 kB.
    Batch1k,
    /// The largest that a contract may allow.
    Batch1m,
    /// GET of a document of about 1 kB, of which one in sixteen is looked at, none, or each.
    ReportSampled,
    ReportNone,
    ReportAll,
}

impl Kind {
    /// The fixed rate: what the whole machine can carry, where that is less than what was asked for.
    pub(crate) fn rate(self, asked: u32) -> u32 {
        match self {
            Kind::Batch1m => asked.min(RATE_OF_LARGEST),
            _ => asked,
        }
    }

    pub(crate) fn connections(self, asked: u16) -> u16 {
        match self {
            Kind::Batch1m => asked.min(CONNECTIONS_OF_LARGEST),
            _ => asked,
        }
    }
}

/// A body of 1 MB takes milliseconds of the worker.
const RATE_OF_LARGEST: u32 = 20;
const CONNECTIONS_OF_LARGEST: u16 = 4;

impl Arm {
    const fn new(name: &'static str, what: &'static str, first: First, server: Server, kind: Kind) -> Arm {
        let ext_authz = !matches!(server, Server::None);
        let access_log = matches!(server, Server::Palisade);
        let chain = Chain { first, ext_authz, access_log, route: Route::Answers };
        Arm {
            name,
            what,
            chain,
            server,
            kind,
            contract: Bundled::Demo,
            group: Group::Heads,
            candidate: false,
        }
    }

    /// A body of the benches' own bundle, judged in front of a route that answers.
    const fn body(name: &'static str, what: &'static str, first: First, kind: Kind) -> Arm {
        let mut arm = Arm::new(name, what, first, Server::None, kind);
        arm.chain.route = Route::AnswersWhole;
        arm.contract = Bundled::Own;
        arm.group = Group::Bodies;
        arm
    }

    /// An answer of 1 kB by a service, to a request that has its decision.
    const fn response(name: &'static str, what: &'static str, first: First, kind: Kind) -> Arm {
        let mut arm = Arm::new(name, what, first, Server::Echo, kind);
        arm.chain.route = Route::Service;
        arm.contract = Bundled::Own;
        arm.group = Group::Responses;
        arm
    }

    /// Our filter alone, by a contract that sheds or does not: the rest of a call would hide what the shedder costs.
    const fn shedding(name: &'static str, what: &'static str, contract: Bundled) -> Arm {
        let mut arm = Arm::new(name, what, First::OurFilter, Server::None, Kind::Read);
        arm.contract = contract;
        arm.group = Group::Shedding;
        arm
    }

    const fn large(name: &'static str, what: &'static str, first: First) -> Arm {
        let mut arm = Arm::new(name, what, first, Server::None, Kind::Read);
        arm.contract = Bundled::Large;
        arm.group = Group::Start;
        arm
    }

    /// A read that is decided by a bundle with many policies.
    const fn decision(name: &'static str, what: &'static str, contract: Bundled, kind: Kind) -> Arm {
        let mut arm = Arm::new(name, what, First::OurFilter, Server::Palisade, kind);
        arm.chain.access_log = false;
        arm.contract = contract;
        arm.group = Group::Decisions;
        arm
    }

    /// Whether a word after `--only` names it: by name, or by a group that it belongs to or that is compared with it.
    pub(crate) fn is_named(&self, word: &str) -> bool {
        let compared = matches!(self.name, ENVOY | FLOOR | FLOOR_TWICE | FILTER)
            && (word == Group::Bodies.as_str() || word == Group::Start.as_str());
        let rival = matches!(self.name, ALLOW | CEDAR | FILTER_CEDAR) && word == Group::Decisions.as_str();
        self.name == word || self.group.as_str() == word || compared || rival
    }

    const fn with_candidate(mut self) -> Arm {
        self.candidate = true;
        self
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
pub(crate) const FILTER_CEDAR: &str = "filter+cedar";
pub(crate) const ECHO: &str = "echo";
pub(crate) const FLOOR_ECHO: &str = "floor+echo";
pub(crate) const FILTER_ECHO: &str = "filter+echo";
pub(crate) const PALISADE: &str = "palisade";
pub(crate) const NO_OUTCOMES: &str = "no outcomes";
pub(crate) const ALLOW_WRITE: &str = "allow write";
pub(crate) const PALISADE_WRITE: &str = "palisade write";
pub(crate) const ENVOY_1K: &str = "envoy 1k";
pub(crate) const FLOOR_1K: &str = "floor 1k";
pub(crate) const FILTER_1K: &str = "filter 1k";
pub(crate) const ENVOY_1M: &str = "envoy 1m";
pub(crate) const FLOOR_1M: &str = "floor 1m";
pub(crate) const FILTER_1M: &str = "filter 1m";
pub(crate) const NO_FILTER_BACK: &str = "back";
pub(crate) const NONE_BACK: &str = "back none";
pub(crate) const SAMPLED_BACK: &str = "back sampled";
pub(crate) const ALL_BACK: &str = "back all";
pub(crate) const FILTER_CALM: &str = "filter calm";
pub(crate) const FILTER_SHEDDING: &str = "filter shedding";
pub(crate) const ENVOY_LARGE: &str = "envoy large";
pub(crate) const FILTER_LARGE: &str = "filter large";
pub(crate) const DECIDE_10: &str = "decide 10";
pub(crate) const DECIDE_1K: &str = "decide 1k";
pub(crate) const DECIDE_10K: &str = "decide 10k";
pub(crate) const DECIDE_COLD: &str = "decide cold";
pub(crate) const DECIDE_SHADOW: &str = "decide shadow";

/// In the order in which each round measures them; rivals stand beside what they are compared with.
pub(crate) const ARMS: [Arm; 35] = {
    use Bundled::{Calm, Crowd1k, Crowd10, Crowd10k};
    use First::{Baseline, FloorFilter, FloorHolds, FloorTwice, NativeRbac, Nothing, OurFilter};
    use Kind::{Batch1k, Batch1m, Read, ReadKnown, ReadUnknown, ReportAll, ReportNone, ReportSampled, Write};
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
        Arm::new(FILTER_CEDAR, "our filter, then the same", OurFilter, Cedar, Read),
        Arm::new(PALISADE, "Palisade: filter, identity, Cedar, durable ledger", OurFilter, Palisade, Read),
        Arm::new(NO_OUTCOMES, "the same without the access log", OurFilter, Palisade, Read)
            .without_access_log(),
        Arm::new(ALLOW_WRITE, "ext_authz → tonic, always allow, POST", Nothing, Allow, Write),
        Arm::new(PALISADE_WRITE, "Palisade, POST with a JSON body", OurFilter, Palisade, Write),
        Arm::body(ENVOY_1K, "Envoy alone, which buffers a body of 1 kB", Nothing, Batch1k),
        Arm::body(FLOOR_1K, "floor filter, which holds the body and reads it", FloorHolds, Batch1k),
        Arm::body(FILTER_1K, "our filter, which judges it by its schema", OurFilter, Batch1k),
        Arm::body(ENVOY_1M, "the same three with the largest body, 1 MB", Nothing, Batch1m),
        Arm::body(FLOOR_1M, "floor filter", FloorHolds, Batch1m),
        Arm::body(FILTER_1M, "our filter", OurFilter, Batch1m),
        Arm::response(NO_FILTER_BACK, "a service answers 1 kB, ext_authz echoes", Nothing, ReportSampled),
        Arm::response(NONE_BACK, "with our filter, which looks at no answer", OurFilter, ReportNone),
        Arm::shedding(FILTER_CALM, "our filter alone, and nothing said of load", Calm),
        Arm::shedding(FILTER_SHEDDING, "the same with the shedder on", Bundled::Shedding),
        Arm::response(SAMPLED_BACK, "at one of sixteen, as by default", OurFilter, ReportSampled),
        Arm::response(ALL_BACK, "at each", OurFilter, ReportAll),
        Arm::large(ENVOY_LARGE, "Envoy alone, configured for 1,000 operations", Nothing),
        Arm::large(FILTER_LARGE, "our filter with a contract of 1,000 operations", OurFilter),
        Arm::decision(DECIDE_10, "JWT, 10 policies, 1,500 entities, buffered ledger", Crowd10, ReadKnown),
        Arm::decision(DECIDE_1K, "the same with 1,000 policies", Crowd1k, ReadKnown),
        Arm::decision(DECIDE_10K, "the same with 10,000", Crowd10k, ReadKnown),
        Arm::decision(DECIDE_COLD, "1,000 policies, and every token verified", Crowd1k, ReadUnknown),
        Arm::decision(DECIDE_SHADOW, "1,000 policies beside a candidate of as many", Crowd1k, ReadKnown)
            .with_candidate(),
    ]
};
