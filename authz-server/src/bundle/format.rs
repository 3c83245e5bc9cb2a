//! What people write: the keys of `palisade.yaml`, `service.yaml` and `entities/*.yaml`.
//!
//! INVARIANT: an unknown key is an error everywhere, and nothing about trust has a default.

use super::callers::Identity;
use super::entities::Attributes;
pub use super::failure::{FailMode, FailureSettings};
use super::lints::LintSettings;
use super::record::{Named, Placed, Read, Reader, Tried, choice, record};
use super::shedding::format::{LimitSettings, PriorityWord, SheddingSettings};
use super::shedding::limiter::RateLimitService;
use super::yaml::Node;
use crate::audit::day_ms;
use crate::identity::is_trust_domain;
use std::collections::BTreeMap;

/// The version of the directory layout that this build reads.
pub const FORMAT_VERSION: u32 = 1;

/// The longest time for which the bundle before this one may still be honoured.
const PREVIOUS_BUNDLE_ACCEPTED_S_MAX: u64 = 24 * 60 * 60;

record! {
    /// `palisade.yaml`: what holds for all services.
    pub struct Palisade {
        /// The version of the bundle's layout: `1`.
        required palisade: Placed<u32>,
        /// SPIFFE trust domains whose workloads may be callers. No default; an empty list trusts none.
        required trust_domains: Vec<Placed<String>>,
        /// Where identities come from.
        required identity: Identity,
        /// How filter and server change from one bundle to the next.
        required handoff: HandoffSettings,
        /// What stands in the ledger, and when it counts as recorded. Absent: all that policies may ask, and before the
        /// reply.
        optional ledger: LedgerSettings,
        /// What becomes of calls that the server cannot decide or record in time, or of which it never hears. Absent: they
        /// are refused.
        optional failure: FailureSettings,
        /// Where limits with `scope: global` are counted. Absent: there are none.
        optional rate_limit_service: Option<RateLimitService>,
        /// What `palisade check` shall not warn of. Absent: it warns of everything.
        optional lints: LintSettings,
    }
}

record! {
    /// `handoff`.
    pub struct HandoffSettings {
        /// What becomes of a call that did not come through the filter. Absent: `required`.
        optional mode: Placed<HandoffMode>,
        /// For how long after a change filters may still work with the bundle before, in seconds, at most a day.
        required previous_bundle_accepted_s: Placed<u64>,
    }
}

choice! {
    /// Whether calls must come through the filter.
    pub enum HandoffMode: "`required` or `optional`" {
        /// One that did not is refused.
        Required = "required",
        /// The server judges it alone: for a proxy that cannot run the filter. Responses are not judged then, no load is
        /// shed, and nobody proves that the proxy holds a body back until it was judged.
        Optional = "optional",
    }
}

#[expect(clippy::derivable_impls, reason = "`choice!` has no place for the attribute that deriving needs")]
impl Default for HandoffMode {
    fn default() -> HandoffMode {
        HandoffMode::Required
    }
}

record! {
    /// `ledger`.
    #[derive(Default)]
    pub struct LedgerSettings {
        /// Values that do not stand in entries, whichever the operation.
        optional mask: MaskEverywhere,
        /// When an allowed call counts as recorded, by its class. Denials are always `durable`.
        optional durability: Durabilities,
    }
}

record! {
    /// `ledger.mask`.
    #[derive(Default)]
    pub struct MaskEverywhere {
        /// Headers by name, each `drop` or `digest`. `x-request-id`, which every entry has, can be named too.
        optional headers: Named<Mask>,
        /// Query parameters by name, each `drop` or `digest`.
        optional query: Named<Mask>,
        /// What tokens say of persons, each `drop` or `digest`: `groups`, `roles`, or an attribute by its name. An entry of
        /// whom policies read it cannot be decided again.
        optional claims: Named<Mask>,
    }
}

record! {
    /// `ledger.durability`.
    #[derive(Default)]
    pub struct Durabilities {
        /// Allowed calls of operations that read. Absent: `durable`.
        optional read: Placed<Durability>,
        /// Allowed calls of operations that write. Absent: `durable`.
        optional write: Placed<Durability>,
        /// Allowed calls of operations that delete. Absent: `durable`.
        optional delete: Placed<Durability>,
    }
}

choice! {
    /// When an entry counts as recorded.
    pub enum Durability: "`durable` or `buffered`" {
        /// When it is on disk, before the reply leaves.
        Durable = "durable",
        /// At once; it is on disk within a tenth of a second, and lost if the machine fails before.
        Buffered = "buffered",
    }
}

#[expect(clippy::derivable_impls, reason = "`choice!` has no place for the attribute that deriving needs")]
impl Default for Durability {
    fn default() -> Durability {
        Durability::Durable
    }
}

choice! {
    /// What stands in an entry instead of a value. The later one is the stricter one.
    pub enum Mask: "`drop` or `digest`" {
        /// A keyed digest: equal values have equal ones.
        Digest = "digest",
        /// Nothing but that there was one.
        Drop = "drop",
    }
}

record! {
    /// `services/<name>/service.yaml`: what the contract does not say of a service.
    pub struct ServiceFile {
        /// Names by which callers reach the service, without port.
        required hosts: Tried<Placed<Vec<Placed<String>>>>,
        /// Which workload it is, for Istio's selectors.
        required workload: Tried<Workload>,
        /// Who is asked about it.
        required owner: Tried<String>,
        /// What stands before all paths of the contract, for example `/v1`; `/` for nothing. Absent: what the contract's
        /// `servers` say.
        optional base_path: Option<Placed<String>>,
        /// How its callers may prove who they are: any of `mtls`, `api_key`, `jwt`, `jwt.<issuer>`, `introspection` and
        /// `introspection.<issuer>`. Absent: all that the bundle has. Who proves nothing is for policies to judge.
        optional identity: Option<Vec<Placed<String>>>,
        /// What becomes of a property that its contract marks `readOnly` and a request sends. Absent: `refuse`.
        optional read_only: ReadOnly,
        /// What becomes of responses that the contract does not know, for all operations. `enforce` is for those that
        /// read: after a change, only what the operation says itself is enforced.
        optional responses: ResponseSettings,
        /// What becomes of requests when more come than the service can serve. Absent: `mode: off`.
        optional shedding: Option<SheddingSettings>,
        /// How many requests may come. Absent: nobody counts.
        optional limits: Vec<Placed<LimitSettings>>,
        /// Rules by operationId; an operation that needs none is left out.
        optional operations: Named<OperationRules>,
    }
}

record! {
    /// `workload`: what Kubernetes calls the service's pods.
    pub struct Workload {
        /// Their namespace.
        required namespace: String,
        /// Their labels.
        required labels: BTreeMap<String, String>,
    }
}

record! {
    /// `operations.<operationId>`.
    pub struct OperationRules {
        /// What the operation does. Absent: by method.
        optional class: Option<Class>,
        /// The largest body that is accepted. Absent: 65536.
        optional body_bytes_max: Option<Placed<u32>>,
        /// Who goes first when more requests come than the service can serve. Absent: `default`.
        optional priority: Option<PriorityWord>,
        /// The protocol to which the operation may be upgraded, for example `websocket`.
        optional upgrade: Option<Placed<String>>,
        /// What policies may ask of the request beside its path and query parameters.
        optional context: ContextRules,
        /// Values of its requests that do not stand in its entries. Absent: those of `ledger.mask` in `palisade.yaml`.
        optional mask: MaskRules,
        /// Which numbers its JSON bodies may hold. Absent: `double`.
        optional numbers: NumberRule,
        /// What becomes of its responses. Absent: what `responses` of the service says.
        optional responses: ResponseSettings,
        /// Rules of its contract that are only watched, each until a day, for example `body: 2027-01-31`.
        optional shadow: Named<Placed<Day>>,
    }
}

/// A day, by the milliseconds from 1970 to its beginning in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Day(pub u64);

impl Read for Day {
    const EXPECTED: &'static str = "a day such as `2027-01-31`";

    fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Day> {
        let day = node.as_text().and_then(day_ms).map(Day);
        if day.is_none() {
            reader.expected::<Day>(node);
        }
        day
    }
}

choice! {
    /// Which numbers are let through.
    pub enum NumberRule: "`double` or `any`" {
        /// Those that are the same after they were held in a double, as most services hold them.
        Double = "double",
        /// All; what a service makes of long ones is its own matter.
        Any = "any",
    }
}

choice! {
    /// What becomes of a property that only the service sets.
    pub enum ReadOnly: "`refuse` or `accept`" {
        /// The request is refused: what a service sets itself, nobody else may.
        Refuse = "refuse",
        /// It is judged like any other, for callers who send back what they were given.
        Accept = "accept",
    }
}

choice! {
    /// What becomes of a response that its contract does not know.
    pub enum OnResponse: "`report`, `enforce` or `off`" {
        /// It goes out, and is counted as drift.
        Report = "report",
        /// The caller gets status 502 and a reason instead.
        Enforce = "enforce",
        /// Nobody looks.
        Off = "off",
    }
}

#[expect(clippy::derivable_impls, reason = "`choice!` has no place for the attribute that deriving needs")]
impl Default for NumberRule {
    fn default() -> NumberRule {
        NumberRule::Double
    }
}

#[expect(clippy::derivable_impls, reason = "`choice!` has no place for the attribute that deriving needs")]
impl Default for ReadOnly {
    fn default() -> ReadOnly {
        ReadOnly::Refuse
    }
}

record! {
    /// `responses` of a service, and `operations.<operationId>.responses`.
    #[derive(Default)]
    pub struct ResponseSettings {
        /// For status, headers and content type. Absent: `report`.
        optional head: Option<Placed<OnResponse>>,
        /// For bodies that are JSON. Absent: `report`.
        optional body: Option<Placed<OnResponse>>,
        /// Where responses are only reported, one of so many is looked at. Absent: 16.
        optional sample: Option<Placed<u32>>,
        /// The most of a body that is judged. Absent: 65536.
        optional body_bytes_max: Option<Placed<u32>>,
        /// What no response may carry, whatever the contract says.
        optional never: NeverRules,
    }
}

record! {
    /// `responses.never`.
    #[derive(Default)]
    pub struct NeverRules {
        /// Headers.
        optional headers: Vec<Placed<String>>,
        /// Properties of JSON bodies, at any depth.
        optional properties: Vec<Placed<String>>,
    }
}

record! {
    /// `operations.<operationId>.context`.
    #[derive(Default)]
    pub struct ContextRules {
        /// Header parameters of the contract that become `context.header`.
        optional headers: Vec<Placed<String>>,
        /// JSON pointers of body fields that become `context.body`, for example `/amount`. The server then sees the
        /// operation's bodies.
        optional body: Vec<Placed<String>>,
    }
}

record! {
    /// `operations.<operationId>.mask`. Parameters of the path cannot be masked: the path itself stands in entries, and in
    /// the logs of every proxy. What must not be known does not belong into a path.
    #[derive(Default)]
    pub struct MaskRules {
        /// Headers by name, each `drop` or `digest`. `x-request-id`, which every entry has, can be named too.
        optional headers: Named<Mask>,
        /// Query parameters by name, each `drop` or `digest`.
        optional query: Named<Mask>,
        /// Body fields by JSON pointer, each `drop` or `digest`; all that is below a field is masked with it.
        optional body: Named<Mask>,
    }
}

choice! {
    /// The class of an operation as it is written.
    pub enum Class: "`read`, `write` or `delete`" {
        Read = "read",
        Write = "write",
        Delete = "delete",
    }
}

record! {
    /// `entities/*.yaml` and `entities/*.json`: who calls, what is called, and what they belong to.
    pub struct EntitiesFile {
        /// Groups by name. They can be in groups, roles and tiers.
        optional groups: Named<Member>,
        /// Roles by name. They can be in roles.
        optional roles: Named<RoleMember>,
        /// Tiers by name. They can be in tiers.
        optional tiers: Named<TierMember>,
        /// Clients by the name that their API keys bear.
        optional clients: Named<Member>,
        /// Workloads by SPIFFE id. One that is not listed can still call, and is in nothing.
        optional workloads: Named<Member>,
        /// Persons by issuer and subject: `corp/alice`. What their tokens say comes on top. One that is not listed can still
        /// call.
        optional users: Named<UserMember>,
        /// What the bundle's services belong to, by name.
        optional services: Named<TierMember>,
        /// Entities whose types schema fragments declare, by type, then by id.
        optional others: Named<Named<OtherMember>>,
    }
}

record! {
    /// A group, a client or a workload.
    pub struct Member {
        /// The groups it is in.
        optional groups: Vec<Placed<String>>,
        /// The roles it has.
        optional roles: Vec<Placed<String>>,
        /// The tiers it is in.
        optional tiers: Vec<Placed<String>>,
        /// Values of the attributes that a schema fragment gives its type.
        optional attributes: Attributes,
    }
}

record! {
    /// A person.
    pub struct UserMember {
        /// The groups they are in.
        optional groups: Vec<Placed<String>>,
        /// The roles they have.
        optional roles: Vec<Placed<String>>,
        /// Values of the attributes that a schema fragment gives `User`; a token's own come before them.
        optional attributes: Attributes,
    }
}

record! {
    /// A role.
    pub struct RoleMember {
        /// The roles that it is part of.
        optional roles: Vec<Placed<String>>,
        /// Values of the attributes that a schema fragment gives its type.
        optional attributes: Attributes,
    }
}

record! {
    /// A tier or a service.
    pub struct TierMember {
        /// The tiers it is in.
        optional tiers: Vec<Placed<String>>,
        /// Values of the attributes that a schema fragment gives its type.
        optional attributes: Attributes,
    }
}

record! {
    /// An entity of a type that a schema fragment declares.
    pub struct OtherMember {
        /// What it is in: ids by type.
        optional parents: Named<Vec<Placed<String>>>,
        /// Values of its type's attributes.
        optional attributes: Attributes,
    }
}

impl Palisade {
    pub(super) fn check(&self, reader: &mut Reader<'_>) {
        if self.palisade.value != FORMAT_VERSION {
            reader.wrong(
                self.palisade.at,
                format!("unknown bundle version `{}`", self.palisade.value),
                "this build reads `palisade: 1`; use the release that wrote the bundle",
            );
        }
        for domain in self.trust_domains.iter().filter(|domain| !is_trust_domain(&domain.value)) {
            reader.wrong(
                domain.at,
                format!("`{}` is not a trust domain", domain.value),
                "expected a name such as `shop.example`: lower-case letters, digits, `.`, `-`, `_`",
            );
        }
        super::callers::check(&self.identity, &self.trust_domains, reader);
        super::callers::check_masks(&self.identity, &self.ledger.mask.claims, reader);
        let accepted_s = &self.handoff.previous_bundle_accepted_s;
        if accepted_s.value > PREVIOUS_BUNDLE_ACCEPTED_S_MAX {
            reader.wrong(
                accepted_s.at,
                format!("`previous_bundle_accepted_s: {}` is longer than a day", accepted_s.value),
                "a rollout takes minutes; an old bundle is honoured only for that long",
            );
        }
        self.rate_limit_service.iter().for_each(|limiter| limiter.check(reader));
        self.lints.check(reader);
        self.failure.check(&self.lints, reader);
    }
}
