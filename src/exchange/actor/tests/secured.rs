//! Certificates: what is accepted, and what never is.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::hub::{Log, setup, start_setup, throughout};
use super::speech::feed;
use super::venue::Venue;
use crate::exchange::tls::tls_config;
use crate::market::Transport;
use crate::rate_book::Link;

/// A venue behind TLS, which answers requests and upgrades.
struct Secured {
    venue: Venue,
    port: u16,
    folder: tempfile::TempDir,
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `host`, signed by `authority` or, without one, by itself.
fn certificate(
    host: &str,
    authority: Option<&Authority>,
    change: impl FnOnce(&mut CertificateParams),
) -> (CertificateDer<'static>, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    change(&mut params);
    let certificate = match authority {
        Some(authority) => params.signed_by(&key, authority).unwrap(),
        None => params.self_signed(&key).unwrap(),
    };
    (certificate.der().clone(), key)
}

impl Secured {
    /// Passes what comes over TLS on to a plain venue.
    async fn open((certificate, key): (CertificateDer<'static>, KeyPair)) -> Self {
        let venue = Venue::open("BTC-USDT 100").await;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let plain = venue.rest_url().replace("http://", "");
        actix::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, plain) = (acceptor.clone(), plain.clone());
                actix::spawn(async move {
                    let Ok(mut secured) = acceptor.accept(stream).await else { return };
                    let mut plain = TcpStream::connect(plain).await.unwrap();
                    tokio::io::copy_bidirectional(&mut secured, &mut plain).await.ok();
                });
            }
        });
        Self { venue, port, folder: tempfile::tempdir().unwrap() }
    }

    fn ca_file(&self, authority: &Authority) -> PathBuf {
        let path = self.folder.path().join("authority.pem");
        std::fs::write(&path, authority.pem()).unwrap();
        path
    }

    /// Starts an actor that trusts `authority` beside the usual ones.
    fn listen(&self, authority: &Authority) -> Log {
        let log = Log::default();
        let wanted = Arc::new(Mutex::new(feed(&["BTC-USDT"])));
        let mut setup = setup(&self.venue, &wanted, &log);
        setup.rest_url = format!("https://localhost:{}", self.port);
        setup.ws_url = format!("wss://localhost:{}", self.port);
        setup.tls = tls_config(Some(&self.ca_file(authority))).unwrap();
        start_setup(setup);
        log
    }
}

#[actix::test]
async fn a_good_certificate_of_an_added_authority_is_accepted() {
    let trusted = authority("Trusted");
    let secured = Secured::open(certificate("localhost", Some(&trusted), |_| {})).await;
    let log = secured.listen(&trusted);
    secured.venue.peer(0).await.say("BTC-USDT 101");
    log.until_price("BTC-USDT", 101, Transport::WebSocket).await;
    log.until_price("BTC-USDT", 100, Transport::Rest).await;
}

#[actix::test]
async fn a_bad_certificate_is_refused_on_both_ways_and_not_tried_again_soon() {
    let (trusted, other) = (authority("Trusted"), authority("Other"));
    let expired = |params: &mut CertificateParams| params.not_after = date_time_ymd(2020, 1, 1);
    for (what, certificate) in [
        ("expired", certificate("localhost", Some(&trusted), expired)),
        ("wrong host", certificate("example.org", Some(&trusted), |_| {})),
        ("self-signed", certificate("localhost", None, |_| {})),
        ("unknown authority", certificate("localhost", Some(&other), |_| {})),
    ] {
        let secured = Secured::open(certificate).await;
        let log = secured.listen(&trusted);
        let failure = log.until_down().await;
        assert!(failure.detail.starts_with("certificate or TLS refused"), "{what}: {}", failure.detail);
        throughout(Duration::from_millis(300), what, || secured.venue.heads().is_empty()).await;
        assert!(log.prices(Transport::Rest).is_empty() && log.prices(Transport::WebSocket).is_empty());
        assert!(log.links().iter().all(|link| matches!(link, Link::Down(_))));
    }
}

#[actix::test]
async fn a_server_that_speaks_no_tls_is_a_failure_and_no_data() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    actix::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.read_u8().await.ok();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.ok();
        }
    });
    let trusted = authority("Trusted");
    let mut secured = Secured::open(certificate("localhost", Some(&trusted), |_| {})).await;
    secured.port = port;
    secured.listen(&trusted).until_down().await;
}
