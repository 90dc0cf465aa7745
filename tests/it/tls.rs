//! TLS to PostgreSQL, which is a feature of the build: `cargo test --features postgres-tls --test it tls`.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

use crate::support::postgres::Postgres;
use crate::support::program::ratebook;

/// An authority, as PEM, and what it certifies for a server at 127.0.0.1: certificate and key.
pub(crate) fn certified() -> (String, String, String) {
    let mut params = CertificateParams::new(vec!["an authority".to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    // OpenSSL takes a certificate whose issuer has its own name for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();
    (authority.pem(), certificate.pem(), key.serialize_pem())
}

/// What `ratebook migrate` ends in with this database: its exit code, and what it says.
fn migrate(directory: &Path, database_url: &str) -> (Option<i32>, String) {
    let output =
        ratebook(directory).arg("migrate").env("RATEBOOK_DATABASE_URL", database_url).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

#[test]
fn postgres_over_tls_is_checked_or_says_that_the_build_has_none() {
    let (directory, postgres) = (tempfile::tempdir().unwrap(), Postgres::start());
    let (authority, certificate, key) = certified();
    postgres.turn_on_tls(&certificate, &key);
    let trusted = directory.path().join("authority.pem");
    std::fs::write(&trusted, authority).unwrap();
    let url = format!("{}?sslmode=verify-full&sslrootcert={}", postgres.url(), trusted.display());
    let (code, told) = migrate(directory.path(), &url);
    if !cfg!(feature = "postgres-tls") {
        assert_eq!(code, Some(69), "{told}");
        assert!(told.contains("build it with the feature `postgres-tls`"), "{told}");
        return;
    }
    assert_eq!(code, Some(0), "{told}");
    let (authority_of_another, ..) = certified();
    std::fs::write(&trusted, authority_of_another).unwrap();
    let (code, told) = migrate(directory.path(), &url);
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("SSL error"), "{told}");
}
