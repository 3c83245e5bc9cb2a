//! The demo's two services, `orders` and `payments`, and a stand-in for any service that nobody runs.
//!
//! They are real HTTP services behind the proxy and know nothing of it: no identity, no permission, no
//! validation beyond their own types. Whatever reaches them is obeyed, which is what the proxy is for.
//!
//! INVARIANT: each keeps at most `RECORDS_MAX` records; the oldest goes first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

const RECORDS_MAX: usize = 1000;
const BODY_BYTES_MAX: usize = 64 << 10;

/// A service that runs until it is dropped.
#[derive(Debug)]
pub struct Service {
    pub address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// True for the services that the demo brings along.
pub fn has(name: &str) -> bool {
    matches!(name, "orders" | "payments")
}

/// Starts the demo's service of that name, or a stand-in, on a free loopback port.
pub async fn start(name: &str) -> io::Result<Service> {
    match name {
        "orders" => run(orders()).await,
        "payments" => run(payments()).await,
        _ => start_stand_in(name).await,
    }
}

/// Starts a service that answers everything, over HTTP/2 too, with how to replace it.
pub async fn start_stand_in(name: &str) -> io::Result<Service> {
    run(stand_in(name)).await
}

async fn run(router: Router) -> io::Result<Service> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    let router = router.layer(DefaultBodyLimit::max(BODY_BYTES_MAX));
    let task = tokio::spawn(async move {
        // Accept errors are retried inside; nothing else ends it.
        let _ = axum::serve(listener, router).await;
    });
    Ok(Service { address, task })
}

/// What a service remembers, by number.
#[derive(Debug)]
struct Records<T> {
    prefix: &'static str,
    newest: u64,
    by_number: BTreeMap<u64, T>,
}

type Shared<T> = Arc<Mutex<Records<T>>>;

impl<T> Records<T> {
    fn new(prefix: &'static str) -> Records<T> {
        Records { prefix, newest: 0, by_number: BTreeMap::new() }
    }

    fn add(&mut self, record: impl FnOnce(String) -> T) -> &T {
        if self.by_number.len() >= RECORDS_MAX {
            self.by_number.pop_first();
        }
        self.newest = self.newest.saturating_add(1);
        let id = format!("{}-{}", self.prefix, self.newest);
        self.by_number.entry(self.newest).or_insert(record(id))
    }

    fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(self.prefix)?.strip_prefix('-')?.parse().ok()
    }

    fn find(&mut self, id: &str) -> Option<&mut T> {
        let number = self.number(id)?;
        self.by_number.get_mut(&number)
    }

    fn remove(&mut self, id: &str) -> Option<T> {
        let number = self.number(id)?;
        self.by_number.remove(&number)
    }
}

/// Runs `action` on the records. A poisoned lock is used all the same: a demo's record is whole or absent.
fn with<T, R>(records: &Shared<T>, action: impl FnOnce(&mut Records<T>) -> R) -> R {
    action(&mut records.lock().unwrap_or_else(PoisonError::into_inner))
}

fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({"problem": text}))).into_response()
}

#[derive(Debug, Clone, Deserialize)]
struct NewOrder {
    item: String,
    quantity: u32,
}

#[derive(Debug, Clone, Serialize)]
struct Order {
    id: String,
    item: String,
    quantity: u32,
}

fn orders() -> Router {
    let mut records = Records::new("o");
    for (item, quantity) in [("lamp", 2), ("chair", 4)] {
        records.add(|id| Order { id, item: item.to_owned(), quantity });
    }
    Router::new()
        .route("/orders", get(list_orders).post(create_order))
        .route("/orders/{orderId}", get(get_order).delete(delete_order))
        .with_state(Arc::new(Mutex::new(records)))
}

async fn list_orders(State(records): State<Shared<Order>>) -> Response {
    let orders: Vec<Order> = with(&records, |records| records.by_number.values().cloned().collect());
    Json(json!({"orders": orders})).into_response()
}

async fn create_order(State(records): State<Shared<Order>>, Json(new): Json<NewOrder>) -> Response {
    let NewOrder { item, quantity } = new;
    let order = with(&records, |records| records.add(|id| Order { id, item, quantity }).clone());
    (StatusCode::CREATED, Json(order)).into_response()
}

/// Also names the headers that arrived, so that one can see which never do.
async fn get_order(
    State(records): State<Shared<Order>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(order) = with(&records, |records| records.find(&id).cloned()) else {
        return problem(StatusCode::NOT_FOUND, "there is no such order");
    };
    let seen: BTreeSet<&str> = headers.keys().map(|name| name.as_str()).collect();
    Json(json!({"order": order, "seen_headers": seen})).into_response()
}

async fn delete_order(State(records): State<Shared<Order>>, Path(id): Path<String>) -> Response {
    match with(&records, |records| records.remove(&id)) {
        Some(_) => StatusCode::NO_CONTENT.into_response(),
        None => problem(StatusCode::NOT_FOUND, "there is no such order"),
    }
}

#[derive(Debug, Clone, Deserialize)]
struct NewPayment {
    order_id: String,
    amount_cents: u64,
}

#[derive(Debug, Clone, Deserialize)]
struct NewRefund {
    amount_cents: u64,
}

#[derive(Debug, Clone, Serialize)]
struct Payment {
    id: String,
    order_id: String,
    amount_cents: u64,
    refunded_cents: u64,
}

fn payments() -> Router {
    let mut records = Records::new("p");
    records.add(|id| Payment { id, order_id: "o-1".to_owned(), amount_cents: 1_000_000, refunded_cents: 0 });
    Router::new()
        .route("/payments", post(create_payment))
        .route("/payments/{paymentId}", get(get_payment))
        .route("/payments/{paymentId}/refund", post(refund_payment))
        .with_state(Arc::new(Mutex::new(records)))
}

async fn create_payment(State(records): State<Shared<Payment>>, Json(new): Json<NewPayment>) -> Response {
    let NewPayment { order_id, amount_cents } = new;
    let payment = with(&records, |records| {
        records.add(|id| Payment { id, order_id, amount_cents, refunded_cents: 0 }).clone()
    });
    (StatusCode::CREATED, Json(payment)).into_response()
}

async fn get_payment(State(records): State<Shared<Payment>>, Path(id): Path<String>) -> Response {
    match with(&records, |records| records.find(&id).cloned()) {
        Some(payment) => Json(payment).into_response(),
        None => problem(StatusCode::NOT_FOUND, "there is no such payment"),
    }
}

async fn refund_payment(
    State(records): State<Shared<Payment>>,
    Path(id): Path<String>,
    Json(refund): Json<NewRefund>,
) -> Response {
    with(&records, |records| {
        let Some(payment) = records.find(&id) else {
            return problem(StatusCode::NOT_FOUND, "there is no such payment");
        };
        match payment.refunded_cents.checked_add(refund.amount_cents) {
            Some(refunded_cents) if refunded_cents <= payment.amount_cents => {
                payment.refunded_cents = refunded_cents;
                Json(payment.clone()).into_response()
            }
            Some(_) | None => problem(StatusCode::CONFLICT, "more would be refunded than was paid"),
        }
    })
}

/// Answers for a service of the bundle that nobody runs, so that its policies can be tried without it.
fn stand_in(name: &str) -> Router {
    let text = format!(
        "`{name}` is not running; this answer shows that the request would have reached it. Start `palisade dev` \
         with `--upstream {name}=ADDR` to put Palisade in front of yours"
    );
    Router::new().fallback(async move || problem(StatusCode::NOT_IMPLEMENTED, &text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::http::{Request, exchange};
    use std::time::Duration;

    /// Sends each request in turn to one service and compares the statuses.
    async fn check(service: &str, requests: &[(&'static str, &str, &str, u16)]) {
        let running = start(service).await.unwrap();
        for (method, target, body, expected) in requests {
            let request = match *body {
                "" => Request { method, ..Request::get(service, target) },
                body => Request { method, ..Request::post_json(service, target, body) },
            };
            let reply = exchange(running.address, &request, Duration::from_secs(10)).await.unwrap();
            assert_eq!(reply.status, *expected, "{method} {target} {body}");
        }
    }

    #[tokio::test]
    async fn orders_are_listed_created_read_and_deleted() {
        check(
            "orders",
            &[
                ("GET", "/orders", "", 200),
                ("GET", "/orders/o-3", "", 404),
                ("POST", "/orders", r#"{"item":"lamp","quantity":1}"#, 201),
                ("GET", "/orders/o-3", "", 200),
                ("DELETE", "/orders/o-3", "", 204),
                ("GET", "/orders/o-3", "", 404),
                ("DELETE", "/orders/o-3", "", 404),
                ("GET", "/orders/3", "", 404),
                ("POST", "/orders", "{", 400),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn payments_are_taken_and_refunded_up_to_what_was_paid() {
        check(
            "payments",
            &[
                ("POST", "/payments", r#"{"order_id":"o-1","amount_cents":500}"#, 201),
                ("GET", "/payments/p-2", "", 200),
                ("POST", "/payments/p-2/refund", r#"{"amount_cents":400}"#, 200),
                ("POST", "/payments/p-2/refund", r#"{"amount_cents":101}"#, 409),
                ("POST", "/payments/p-2/refund", r#"{"amount_cents":100}"#, 200),
                ("POST", "/payments/p-9/refund", r#"{"amount_cents":1}"#, 404),
            ],
        )
        .await;
    }

    #[tokio::test]
    async fn a_stand_in_answers_everything_in_the_same_way() {
        check("shipping", &[("GET", "/anything", "", 501), ("POST", "/else", "{}", 501)]).await;
    }

    #[test]
    fn the_oldest_record_goes_when_there_are_too_many() {
        let mut records = Records::new("o");
        for _ in 0..RECORDS_MAX + 5 {
            records.add(|id| id);
        }
        assert_eq!(records.by_number.len(), RECORDS_MAX);
        assert_eq!(records.find("o-5"), None);
        assert_eq!(records.find("o-6").as_deref().map(String::as_str), Some("o-6"));
    }
}
