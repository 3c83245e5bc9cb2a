//! Certificates of the callers and of the proxy in front of the service, as a mesh would issue them.
//!
//! INVARIANT: keys are made when the laboratory starts, lie in its temporary directory, and go with it.

use crate::failure::Failure;
use palisade::build::MutualTls;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use std::fs;
use std::path::{Path, PathBuf};

/// The laboratory's own trust domain; its bundle knows it.
const TRUST_DOMAIN: &str = "storm.example";

/// What each side shows, as files that Envoy reads.
#[derive(Debug)]
pub(crate) struct Identities {
    pub(crate) service: MutualTls,
    pub(crate) callers: Vec<MutualTls>,
}

/// The name of a caller's workload.
pub(crate) fn workload(name: &str) -> String {
    format!("spiffe://{TRUST_DOMAIN}/ns/storm/sa/{name}")
}

/// The short name of a caller: of its cluster, its certificate and its header.
pub(crate) fn caller_name(caller: usize) -> String {
    format!("caller-{caller:02}")
}

impl Identities {
    pub(crate) fn issue(directory: &Path, callers: usize) -> Result<Identities, Failure> {
        let authority = Authority::new(directory)?;
        let callers = (0..callers).map(|caller| authority.sign(&caller_name(caller)));
        Ok(Identities { callers: callers.collect::<Result<_, _>>()?, service: authority.sign("work")? })
    }
}

struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new(directory: &Path) -> Result<Authority, Failure> {
        let cannot = || Failure::because("the laboratory's authority cannot be made");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "storm authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().map_err(cannot())?;
        let certificate = params.self_signed(&key).map_err(cannot())?;
        let authority = Authority { directory: directory.to_path_buf(), issuer: Issuer::new(params, key) };
        write(&authority.ca(), &certificate.pem())?;
        Ok(authority)
    }

    fn ca(&self) -> PathBuf {
        self.directory.join("ca.pem")
    }

    fn sign(&self, name: &str) -> Result<MutualTls, Failure> {
        let cannot = || Failure::because(format!("the certificate of `{name}` cannot be made"));
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names = vec![SanType::URI(workload(name).as_str().try_into().map_err(cannot())?)];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(cannot())?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(cannot())?;
        let tls = MutualTls {
            certificate: self.directory.join(format!("{name}.pem")),
            key: self.directory.join(format!("{name}.key.pem")),
            peer_ca: self.ca(),
        };
        write(&tls.certificate, &certificate.pem())?;
        write(&tls.key, &key.serialize_pem())?;
        Ok(tls)
    }
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    fs::write(path, text).map_err(Failure::because(format!("`{}` cannot be written", path.display())))
}
