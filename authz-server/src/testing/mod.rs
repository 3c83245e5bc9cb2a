//! `palisade test`.

mod proxy;
pub use proxy::{Answer, Proxy, ProxyError};
