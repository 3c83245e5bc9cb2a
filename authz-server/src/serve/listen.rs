//! Where the server listens, and whom it lets in: loopback, a Unix socket, or mTLS with a list of peers.
//!
//! INVARIANT: without one of these three, plaintext needs a flag whose name says what it gives up.

use super::connection::Came;
use crate::identity::{SpiffeId, the_uri};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tonic::transport::server::TlsConnectInfo;
use tonic::transport::{Certificate, Identity, ServerTlsConfig};
use tonic::{Request, Status};

/// `127.0.0.1:9191`, `[::1]:9191` or `unix:/run/palisade.sock`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ListenAddress {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for ListenAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') {
                Ok(ListenAddress::Unix(path.into()))
            } else {
                Err(format!("`{path}` is not an absolute path"))
            };
        }
        text.parse()
            .map(ListenAddress::Tcp)
            .map_err(|_| format!("`{text}` is neither `ADDRESS:PORT` nor `unix:/PATH`"))
    }
}

/// How long a peer may take to prove who it is.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Files for mTLS.
#[derive(Debug, Clone)]
pub struct ServerTls {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub client_ca: PathBuf,
}

/// Who may call.
#[derive(Debug, Clone)]
pub enum Peers {
    /// Whoever can reach the address: sound for loopback and Unix sockets only.
    Local,
    /// Plaintext on any address, on the operator's word that the network is closed.
    AnyoneOnThisNetwork,
    /// Only these SPIFFE ids, proven by certificate.
    Listed { tls: ServerTls, ids: Vec<SpiffeId> },
}

impl Peers {
    pub(super) fn tls(&self) -> Result<Option<ServerTlsConfig>, String> {
        let Peers::Listed { tls, .. } = self else { return Ok(None) };
        let read = |path: &Path| {
            std::fs::read(path).map_err(|error| format!("cannot read `{}`: {error}", path.display()))
        };
        let identity = Identity::from_pem(read(&tls.certificate)?, read(&tls.key)?);
        let client_ca = Certificate::from_pem(read(&tls.client_ca)?);
        Ok(Some(
            ServerTlsConfig::new()
                .identity(identity)
                .client_ca_root(client_ca)
                .client_auth_optional(false)
                .timeout(HANDSHAKE),
        ))
    }

    /// Lets a call in, or says only that it may not come in.
    pub(super) fn admit(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let Peers::Listed { ids, .. } = self else { return Ok(request) };
        let certificates =
            request.extensions().get::<TlsConnectInfo<Came>>().and_then(TlsConnectInfo::peer_certs);
        let id = certificates
            .as_ref()
            .and_then(|certificates| certificates.first())
            .and_then(|leaf| the_uri(leaf).ok());
        match id {
            Some(id) if ids.iter().any(|known| known.as_str() == id) => Ok(request),
            found => {
                tracing::warn!(
                    peer = found.as_deref().unwrap_or("none"),
                    "a peer that is not listed was turned away"
                );
                Err(Status::permission_denied("this peer is not listed"))
            }
        }
    }
}

/// Over which kind of socket proxies come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Tcp,
    Unix,
}

/// A bound listener.
#[derive(Debug)]
pub(super) struct Bound {
    address: String,
    listener: Listener,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection that no runtime holds yet.
#[derive(Debug)]
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

pub(super) async fn bind(address: &ListenAddress, peers: &Peers) -> Result<Bound, String> {
    match address {
        ListenAddress::Tcp(address) => {
            if matches!(peers, Peers::Local) && !address.ip().is_loopback() {
                return Err(format!(
                    "`{address}` is not loopback and would be open to anyone who can reach it: give `--tls-cert`, `--tls-key`, `--client-ca` and `--peer`, or say `--plaintext-for-anyone-on-this-network`"
                ));
            }
            let listener = TcpListener::bind(address)
                .await
                .map_err(|error| format!("cannot listen on `{address}`: {error}"))?;
            let address = listener.local_addr().map_err(|error| error.to_string())?.to_string();
            Ok(Bound { address, listener: Listener::Tcp(listener) })
        }
        ListenAddress::Unix(path) => {
            remove_stale_socket(path)?;
            let listener = UnixListener::bind(path)
                .map_err(|error| format!("cannot listen on `{}`: {error}", path.display()))?;
            let address = format!("unix:{}", path.display());
            Ok(Bound { address, listener: Listener::Unix(listener) })
        }
    }
}

/// A socket that nobody answers on was left behind by a server that was killed.
fn remove_stale_socket(path: &Path) -> Result<(), String> {
    use std::os::unix::fs::FileTypeExt as _;
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return Ok(()) };
    if !metadata.file_type().is_socket() {
        return Err(format!("`{}` exists and is not a socket", path.display()));
    }
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(format!("another server answers on `{}`", path.display()));
    }
    std::fs::remove_file(path)
        .map_err(|error| format!("cannot remove the stale socket `{}`: {error}", path.display()))
}

impl Bound {
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    pub(super) fn transport(&self) -> Transport {
        match self.listener {
            Listener::Tcp(_) => Transport::Tcp,
            Listener::Unix(_) => Transport::Unix,
        }
    }

    pub(super) async fn accept(&self) -> std::io::Result<Accepted> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, from) = listener.accept().await?;
                // The server's own setting does not reach connections that are handed to it. Without it the tail of a reply
                // waits for the proxy's delayed acknowledgement, 40 ms.
                stream.set_nodelay(true)?;
                stream.into_std().map(|stream| Accepted::Tcp(stream, from))
            }
            Listener::Unix(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.into_std().map(Accepted::Unix)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ListenAddress;

    #[test]
    fn addresses_have_two_forms() {
        assert!(matches!("127.0.0.1:0".parse(), Ok(ListenAddress::Tcp(_))));
        assert!(matches!("unix:/run/x.sock".parse(), Ok(ListenAddress::Unix(_))));
        assert_eq!(
            "unix:x.sock".parse::<ListenAddress>(),
            Err("`x.sock` is not an absolute path".to_owned())
        );
        assert_eq!(
            "9191".parse::<ListenAddress>(),
            Err("`9191` is neither `ADDRESS:PORT` nor `unix:/PATH`".to_owned())
        );
    }
}
