//! `rate_limit_service` of `palisade.yaml`: the limiter that counts for all proxies.

use super::super::problem::{Problem, Problems};
use super::super::record::{Placed, Reader, choice, record};
use super::super::service::ServiceSettings;

/// Before this, a limiter in the same network has answered a hundred times.
const TIMEOUT_MS_DEFAULT: u64 = 100;

/// The caller waits for it, before the service has even begun.
const TIMEOUT_MS_MAX: u64 = 2_000;

/// Domains and namespaces of limiters are short names.
const DOMAIN_DEFAULT: &str = "palisade";

record! {
    /// `rate_limit_service`: where limits with `scope: global` are counted. It speaks Envoy's rate limit protocol, as
    /// envoyproxy/ratelimit and Limitador do.
    pub struct RateLimitService {
        /// Where it listens: `HOST:PORT`, or `unix:PATH` for an Envoy of your own. In Istio a service of the mesh by its
        /// full name.
        required address: Placed<String>,
        /// The name under which its limits stand: a domain of envoyproxy/ratelimit, a namespace of Limitador. Absent:
        /// `palisade`.
        optional domain: Option<Placed<String>>,
        /// How long a request waits for its answer, in milliseconds, from 1 to 2000. Absent: 100.
        optional timeout_ms: Option<Placed<u64>>,
        /// What becomes of requests that nobody could count. Absent: `closed`.
        optional fail: Option<LimiterFail>,
        /// Whether an Envoy of your own may speak to it over a network without TLS: whoever is on the way learns who calls,
        /// and can let requests pass. In Istio the mesh protects the way. Absent: `false`.
        optional plaintext: bool,
    }
}

choice! {
    /// What becomes of requests when the limiter does not answer.
    pub enum LimiterFail: "`open` or `closed`" {
        /// They go on, held to the limits of the proxies alone.
        Open = "open",
        /// They are refused with status 500, which callers' proxies do not try again.
        Closed = "closed",
    }
}

impl RateLimitService {
    pub fn domain(&self) -> &str {
        self.domain.as_ref().map_or(DOMAIN_DEFAULT, |domain| &domain.value)
    }

    pub fn timeout_ms(&self) -> u64 {
        self.timeout_ms.as_ref().map_or(TIMEOUT_MS_DEFAULT, |timeout| timeout.value)
    }

    /// Closed where nothing is said, as everything is that cannot be known: a quota that is gone whenever its limiter is
    /// slow would invite whoever wants to exceed it to make it slow.
    pub fn fail(&self) -> LimiterFail {
        self.fail.unwrap_or(LimiterFail::Closed)
    }

    pub(in crate::bundle) fn check(&self, reader: &mut Reader<'_>) {
        let address = &self.address;
        if address.value.parse::<crate::build::Address>().is_err() {
            let message = format!("`{}` is not an address", address.value);
            let help =
                "expected `HOST:PORT`, such as `ratelimit.limits.svc.cluster.local:8081`, or `unix:PATH`";
            reader.wrong(address.at, message, help);
        }
        if let Some(domain) = &self.domain {
            let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
            if domain.value.is_empty() || domain.value.len() > 63 || !domain.value.bytes().all(allowed) {
                let message = format!("`{}` cannot be the domain of a limiter", domain.value);
                reader.wrong(domain.at, message, "expected letters, digits, `-`, `_` and `.`, at most 63");
            }
        }
        if let Some(Placed { value: timeout_ms, at }) = self.timeout_ms
            && !(1..=TIMEOUT_MS_MAX).contains(&timeout_ms)
        {
            let message = format!("`timeout_ms: {timeout_ms}` is not from 1 to {TIMEOUT_MS_MAX}");
            reader.wrong(at, message, "each request waits for the limiter before the service sees it");
        }
    }
}

/// A limit that is to be counted by a limiter, where no limiter is named.
pub(in crate::bundle) fn check_named<'s>(
    services: impl Iterator<Item = &'s ServiceSettings>,
    limiter: Option<&RateLimitService>,
    problems: &mut Problems,
) {
    if limiter.is_some() {
        return;
    }
    for limit in services.flat_map(|service| &service.global_limits) {
        let message = format!("limit `{}` is global, and nobody is named who counts it", limit.name);
        let help = "write `rate_limit_service: {address: HOST:PORT}` into `palisade.yaml`, or let the limit be one of the proxy by `scope: proxy`";
        problems.push(Problem::new(limit.place.clone(), message).help(help));
    }
}
