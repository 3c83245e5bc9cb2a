//! What the proxies count themselves, read from their admin interfaces.
//!
//! INVARIANT: counters only grow while a proxy lives, so that a difference of two readings is what happened between them.

use crate::failure::Failure;
use serde_json::Value;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The admin interface answers from the main thread, which is not the one that is busy.
const WITHIN: Duration = Duration::from_secs(5);

/// A few dozen counters.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Both proxies at one moment.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    /// What callers' proxies sent, every try.
    pub(crate) attempts: u64,
    /// Refusals and failures that came out of the service's proxy.
    pub(crate) failures: u64,
}

impl Counters {
    pub(crate) async fn read(callers: SocketAddr, service: SocketAddr) -> Result<Counters, Failure> {
        let attempts = sum(callers, r"^cluster\.caller-\d\d\.upstream_rq_total$").await?;
        let failures = sum(service, r"^http\.palisade\.downstream_rq_(4xx|5xx)$").await?;
        Ok(Counters { attempts, failures })
    }

    pub(crate) const fn since(self, earlier: Counters) -> Counters {
        Counters {
            attempts: self.attempts.saturating_sub(earlier.attempts),
            failures: self.failures.saturating_sub(earlier.failures),
        }
    }
}

/// How often the service's proxy took a configuration of the filter that was discovered.
pub(crate) async fn taken(service: SocketAddr) -> Result<u64, Failure> {
    sum(service, r"extension_config_discovery\..*\.config_reload$").await
}

async fn sum(admin: SocketAddr, filter: &str) -> Result<u64, Failure> {
    let escaped: String = filter.chars().map(escape).collect();
    let url = format!("http://admin/stats?format=json&filter={escaped}");
    let fetched = timeout(WITHIN, fetch(admin, &url)).await;
    let text = fetched.map_err(|_| Failure::new("a proxy's counters do not come"))??;
    let document: Value =
        serde_json::from_slice(&text).map_err(Failure::because("a proxy's counters are not JSON"))?;
    let counters = document.get("stats").and_then(Value::as_array);
    let counters = counters.ok_or_else(|| Failure::new("a proxy's counters are not what they were"))?;
    if counters.is_empty() {
        return Err(Failure::new(format!("a proxy has no counter `{filter}`")));
    }
    Ok(counters.iter().filter_map(|counter| counter.get("value")?.as_u64()).sum())
}

async fn fetch(admin: SocketAddr, url: &str) -> Result<Vec<u8>, Failure> {
    const CANNOT: &str = "a proxy's counters cannot be read";
    let stream = TcpStream::connect(admin).await.map_err(Failure::because(CANNOT))?;
    let (sender, connection) = h2::client::handshake(stream).await.map_err(Failure::because(CANNOT))?;
    let connection = tokio::spawn(connection);
    let mut sender = sender.ready().await.map_err(Failure::because(CANNOT))?;
    let request = http::Request::get(url).body(()).map_err(Failure::because(CANNOT))?;
    let (response, _) = sender.send_request(request, true).map_err(Failure::because(CANNOT))?;
    let mut body = response.await.map_err(Failure::because(CANNOT))?.into_body();
    let mut text = Vec::new();
    while let Some(piece) = body.data().await {
        let piece = piece.map_err(Failure::because(CANNOT))?;
        body.flow_control().release_capacity(piece.len()).map_err(Failure::because(CANNOT))?;
        text.extend_from_slice(&piece);
        if text.len() > TEXT_BYTES_MAX {
            return Err(Failure::new("a proxy's counters are longer than any that were expected"));
        }
    }
    connection.abort();
    Ok(text)
}

/// What is not plain in a query.
fn escape(character: char) -> String {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '_' | '-' | '.' => character.to_string(),
        other => format!("%{:02X}", u32::from(other)),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_pattern_survives_a_query() {
        let escaped: String = r"^a\.(b|c)$".chars().map(super::escape).collect();
        assert_eq!(escaped, "%5Ea%5C.%28b%7Cc%29%24");
    }
}
