//! Addresses to listen on, settled before those who will listen are started.
//!
//! A port is only proven to be free, not held: a socket that is held accepts connections that nobody answers.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use super::error::DevError;

/// Proves that `address` can be listened on; port 0 becomes a free one.
///
/// Envoy would not notice: it shares a port with whoever shares it too.
pub fn claim(address: SocketAddr) -> Result<SocketAddr, DevError> {
    match TcpListener::bind(address).and_then(|listener| listener.local_addr()) {
        Ok(address) => Ok(address),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(DevError::ListenBusy(address)),
        Err(error) => Err(DevError::Listen { address, error }),
    }
}

/// That many different free loopback ports.
pub fn free<const N: usize>() -> io::Result<[SocketAddr; N]> {
    // All are held until the last one is known, so that none comes twice.
    let mut held = Vec::with_capacity(N);
    let mut addresses = [SocketAddr::from((Ipv4Addr::LOCALHOST, 0)); N];
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_port_is_named_with_the_way_out() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = holder.local_addr().unwrap();
        let message = claim(address).unwrap_err().to_string();
        assert!(message.contains(&format!("port {} of `127.0.0.1` is in use", address.port())), "{message}");
        assert!(message.contains("`--listen 127.0.0.1:0`"), "{message}");
        drop(holder);
        assert_eq!(claim(address).unwrap(), address);
    }

    #[test]
    fn free_ports_differ() {
        let [first, second, third] = free().unwrap();
        assert!(first != second && second != third && first != third);
        assert_ne!(claim("127.0.0.1:0".parse().unwrap()).unwrap().port(), 0);
    }
}
