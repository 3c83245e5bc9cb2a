//! A certificate authority for one test run, and SPIFFE identities from it: the genuine and the odd.
//!
//! Invariant: keys are made at run time and live in a temporary directory; none is ever checked in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

/// The name in the server's certificate.
pub const SERVER_NAME: &str = "localhost";

/// An authority and the server certificate that it signed, as files that Envoy reads.
#[derive(Debug)]
pub struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
    ca_pem: String,
}

/// A certificate with its key, as files.
#[derive(Debug, Clone)]
pub struct Identity {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Pki {
    /// Makes an authority whose files go below `dir`.
    pub fn new(dir: &Path) -> Self {
        std::fs::create_dir_all(dir).expect("make the directory of the test authority");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("generate the authority's key");
        let certificate = params.self_signed(&key).expect("sign the authority's certificate");
        let ca_pem = certificate.pem();
        std::fs::write(dir.join("ca.pem"), &ca_pem).expect("write the authority's certificate");
        Self { dir: dir.to_owned(), issuer: Issuer::new(params, key), ca_pem }
    }

    /// What a server must be given to trust the clients of this authority.
    pub fn ca_file(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The certificate that Envoy's listener shows.
    pub fn server(&self) -> Identity {
        let name = SanType::DnsName(SERVER_NAME.try_into().expect("a DNS name"));
        self.issue("server", vec![name], ExtendedKeyUsagePurpose::ServerAuth)
    }

    /// A client with these URIs in its certificate: one is genuine, none or two are odd.
    pub fn client(&self, file: &str, uris: &[&str]) -> Identity {
        let names = uris.iter().map(|uri| SanType::URI((*uri).try_into().expect("an ASCII URI"))).collect();
        self.issue(file, names, ExtendedKeyUsagePurpose::ClientAuth)
    }

    /// A TLS client that trusts this authority and shows `identity`, or no certificate.
    pub fn client_config(&self, identity: Option<&Identity>) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        let ca =
            CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).expect("the authority's own certificate");
        roots.add(ca).expect("trust the authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let certificate =
                    CertificateDer::from_pem_file(&identity.certificate).expect("a client certificate");
                let key = PrivateKeyDer::from_pem_file(&identity.key).expect("a client key");
                builder.with_client_auth_cert(vec![certificate], key).expect("a client identity")
            }
        };
        Arc::new(config)
    }

    fn issue(&self, file: &str, names: Vec<SanType>, usage: ExtendedKeyUsagePurpose) -> Identity {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, file);
        params.subject_alt_names = names;
        params.extended_key_usages = vec![usage];
        let key = KeyPair::generate().expect("generate a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("sign a certificate");
        let identity = Identity {
            certificate: self.dir.join(format!("{file}.pem")),
            key: self.dir.join(format!("{file}.key.pem")),
        };
        std::fs::write(&identity.certificate, certificate.pem()).expect("write a certificate");
        std::fs::write(&identity.key, key.serialize_pem()).expect("write a key");
        identity
    }
}
