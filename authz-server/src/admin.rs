//! The administration port: liveness, readiness, metrics, load, the bundle in force, and the order to read it anew.
//!
//! It is a port of its own, plain HTTP, and tells nothing that a neighbour may not know: no policy, no key, no entry.
//! What is wrong with a bundle quotes it, a line at most, so that it can be mended.
//!
//! INVARIANT: an order comes from this machine, whatever address the port listens on.

use crate::ledger::LedgerState;
use crate::reload::{Attempt, Outcome, Trigger};
use crate::serve::service::Service;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::net::TcpListener;

/// How long whoever waits for news is kept waiting without any; shorter than what clients and their proxies bear.
const NEWS_AWAITED: Duration = Duration::from_secs(20);

/// Callers and operations that `/storm` names: as many as somebody reads.
const CALLERS_SHOWN: usize = 20;

/// Whether calls are accepted.
#[derive(Debug, Clone, Default)]
pub struct Readiness(Arc<AtomicBool>);

impl Readiness {
    pub fn set_ready(&self, ready: bool) {
        self.0.store(ready, Ordering::SeqCst);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

#[derive(Clone)]
struct Shared {
    service: Arc<Service>,
    readiness: Readiness,
}

pub async fn serve(listener: TcpListener, service: Arc<Service>, readiness: Readiness) {
    let router = Router::new()
        .route("/livez", get(async || "live\n"))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/bundle", get(bundle))
        .route("/storm", get(storm))
        .route("/reload", post(reload))
        .with_state(Shared { service, readiness })
        .into_make_service_with_connect_info::<SocketAddr>();
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the administration port failed");
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let ledger_writes = matches!(shared.service.ledger().state(), LedgerState::Open);
    let ready = shared.readiness.is_ready() && ledger_writes;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body = json!({
        "ready": ready,
        "accepting": shared.readiness.is_ready(),
        "ledger_writes": ledger_writes,
        // What was in force still is: a bad bundle takes nobody out of service, and is not overlooked either.
        "degraded": degraded(&shared.service.reloads().told().last),
    });
    (status, Json(body)).into_response()
}

/// What is not as its files say, and how that came.
fn degraded(last: &Attempt) -> Value {
    let sources: serde_json::Map<_, _> =
        last.degraded().map(|(source, outcome)| (source.name().to_owned(), outcome.name().into())).collect();
    if sources.is_empty() { Value::Bool(false) } else { sources.into() }
}

/// A port that probes and scrapers reach is reached by others, too.
fn may_order(peer: SocketAddr) -> bool {
    peer.ip().to_canonical().is_loopback()
}

/// Reads everything anew and answers when that is over, so that a rollout can wait for it.
async fn reload(State(shared): State<Shared>, ConnectInfo(peer): ConnectInfo<SocketAddr>) -> Response {
    if !may_order(peer) {
        let error = json!({"error": "a reload is ordered from the server's own machine: use loopback"});
        return (StatusCode::FORBIDDEN, Json(error)).into_response();
    }
    let Ok(attempt) = shared.service.orders().reload(Trigger::Request).await else {
        let error = json!({"error": "too many reloads are waiting, or the server is about to end"});
        return (StatusCode::SERVICE_UNAVAILABLE, Json(error)).into_response();
    };
    let status = match attempt.outcome() {
        Outcome::Unchanged | Outcome::Loaded => StatusCode::OK,
        Outcome::Unsettled => StatusCode::CONFLICT,
        Outcome::Refused => StatusCode::UNPROCESSABLE_ENTITY,
        Outcome::NotTaken => StatusCode::INSUFFICIENT_STORAGE,
    };
    (status, Json(attempt.object())).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.service.metrics().render() {
        Ok(text) => ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Who asks what how often, and what is shed, for whoever watches a storm.
async fn storm(State(shared): State<Shared>) -> Response {
    Json(shared.service.metrics().storms.view(CALLERS_SHOWN)).into_response()
}

/// What may be asked of `/bundle`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BundleQuery {
    /// Answer when there were more attempts than this, or after a while all the same.
    after: Option<u64>,
}

async fn bundle(State(shared): State<Shared>, Query(query): Query<BundleQuery>) -> Response {
    if let Some(attempts) = query.after {
        let news = shared.service.reloads().told_after(attempts);
        let _in_time = tokio::time::timeout(NEWS_AWAITED, news).await;
    }
    // What is told first is at least as old as what is in force.
    let told = shared.service.reloads().told();
    let decider = shared.service.decider();
    let previous: Vec<_> = decider
        .previous
        .iter()
        .map(|previous| json!({"digest": previous.digest.to_string(), "replaced_at_ms": previous.replaced_at_ms}))
        .collect();
    Json(json!({
        "digest": decider.bundle.digest.to_string(),
        "epoch": {"server": decider.epoch.server, "counter": decider.epoch.counter},
        "in_force_since_ms": told.since_ms,
        "candidate": decider.candidate.as_ref().map(|candidate| candidate.digest().to_string()),
        "previous": previous,
        "previous_accepted_s": decider.bundle.palisade.handoff.previous_bundle_accepted_s.value,
        "services": decider.bundle.services.iter().map(|service| &service.name).collect::<Vec<_>>(),
        "degraded": degraded(&told.last),
        "attempts": told.attempts,
        "last_attempt": told.last.object(),
    }))
    .into_response()
}

#[cfg(test)]
mod tests {
    use super::may_order;

    #[test]
    fn orders_come_from_this_machine_only() {
        for local in ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(may_order(local.parse().unwrap()), "{local}");
        }
        for other in ["10.0.0.7:1", "0.0.0.0:1", "[::]:1", "[fe80::1]:1", "[::ffff:10.0.0.7]:1"] {
            assert!(!may_order(other.parse().unwrap()), "{other}");
        }
    }
}
