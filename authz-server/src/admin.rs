//! The administration port: liveness, readiness, metrics, the bundle in force.
//!
//! It is a port of its own, plain HTTP, and tells nothing that a neighbour may not know: no policy, no key, no entry.

use crate::ledger::LedgerState;
use crate::serve::service::Service;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;

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
        .with_state(Shared { service, readiness });
    if let Err(error) = axum::serve(listener, router).await {
        tracing::error!(%error, "the administration port failed");
    }
}

async fn readyz(State(shared): State<Shared>) -> Response {
    let ledger_writes = matches!(shared.service.ledger().state(), LedgerState::Open);
    let ready = shared.readiness.is_ready() && ledger_writes;
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let body =
        json!({"ready": ready, "accepting": shared.readiness.is_ready(), "ledger_writes": ledger_writes});
    (status, Json(body)).into_response()
}

async fn metrics(State(shared): State<Shared>) -> Response {
    match shared.service.metrics().render() {
        Ok(text) => ([("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

async fn bundle(State(shared): State<Shared>) -> Response {
    let decider = shared.service.decider();
    let previous = decider.previous.map(
        |previous| json!({"digest": previous.digest.to_string(), "replaced_at_ms": previous.replaced_at_ms}),
    );
    Json(json!({
        "digest": decider.bundle.digest.to_string(),
        "epoch": {"server": decider.epoch.server, "counter": decider.epoch.counter},
        "previous": previous,
        "services": decider.bundle.services.iter().map(|service| &service.name).collect::<Vec<_>>(),
    }))
    .into_response()
}
