//! How a connection to an exchange is secured: certificates are always checked.
//!
//! Separate because every actor shares one configuration, made once at the start, where a bad file can still stop
//! the process.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject};
use rustls::{ClientConfig, RootCertStore};

/// The settings name a file of certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// It cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It holds no certificate, or one that is damaged.
    #[error("`{}` is no file of certificates in PEM form: {detail}", path.display())]
    NoCertificate {
        /// Which file.
        path: PathBuf,
        /// For people.
        detail: String,
    },
    /// The cipher suites of this build do not fit together.
    #[error("no usable version of TLS: {0}")]
    Versions(#[from] rustls::Error),
}

/// Trusts the authorities that browsers trust, and those of `ca_file` beside them.
///
/// No protocol is negotiated by ALPN, so that every connection speaks HTTP/1.1, which a WebSocket needs.
///
/// # Errors
/// When `ca_file` cannot be read or holds no certificate.
pub fn tls_config(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    if let Some(path) = ca_file {
        add_authorities(&mut roots, path)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

fn add_authorities(roots: &mut RootCertStore, path: &Path) -> Result<(), TlsError> {
    let bytes =
        std::fs::read(path).map_err(|source| TlsError::Unreadable { path: path.to_owned(), source })?;
    let no_certificate = |detail: String| TlsError::NoCertificate { path: path.to_owned(), detail };
    let mut num_added = 0;
    for certificate in CertificateDer::pem_slice_iter(&bytes) {
        let certificate = certificate.map_err(|error: pem::Error| no_certificate(format!("{error:?}")))?;
        roots.add(certificate).map_err(|error| no_certificate(error.to_string()))?;
        num_added += 1;
    }
    if num_added == 0 {
        return Err(no_certificate("it holds none".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_usable_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (name, content) in [("empty", ""), ("text", "no certificate\n"), ("damaged", damaged)] {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            assert!(matches!(tls_config(Some(&path)), Err(TlsError::NoCertificate { .. })), "{name}");
        }
        let absent = folder.path().join("absent");
        assert!(matches!(tls_config(Some(&absent)), Err(TlsError::Unreadable { .. })));
    }
}
