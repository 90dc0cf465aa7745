//! Certificates that must not be accepted, and one that is.

use std::fs;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::TlsAcceptor;

use super::{FAMILIES, PATH, all_markets, on_each, peer_of};
use crate::checker::Checker;
use crate::outside::wait_until;
use crate::relay::Relay;
use crate::row::{Figures, Options, ms};
use crate::site::{Plan, Site, quoted};

/// Least time between two looks at a certificate that was refused.
const RETRY_AFTER: Duration = Duration::from_secs(30);

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What is wrong with a certificate.
#[derive(Debug, Clone, Copy)]
enum Flaw {
    Expired,
    WrongHost,
    SelfSigned,
    UnknownAuthority,
}

const FLAWS: [Flaw; 4] = [Flaw::Expired, Flaw::WrongHost, Flaw::SelfSigned, Flaw::UnknownAuthority];

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A relay that shows a certificate for the name under which it is asked, with a flaw or without.
fn relay(flaw: Option<Flaw>, trusted: &Authority) -> Relay {
    let host = if let Some(Flaw::WrongHost) = flaw { "example.org" } else { "localhost" };
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
    if let Some(Flaw::Expired) = flaw {
        params.not_after = date_time_ymd(2020, 1, 1);
    }
    let certificate = match flaw {
        Some(Flaw::SelfSigned) => params.self_signed(&key).unwrap(),
        Some(Flaw::UnknownAuthority) => params.signed_by(&key, &authority("Other")).unwrap(),
        _ => params.signed_by(&key, trusted).unwrap(),
    };
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    Relay::secured(TlsAcceptor::from(Arc::new(config)))
}

/// Exchanges show flawed certificates, each another one, and the one beside them a good one.
pub(super) fn bad(options: &Options) -> Figures {
    // Each exchange shows each flaw once in the night; in the short form each flaw is shown by one exchange.
    let exchanges = if options.full { all_markets() } else { vec![FAMILIES[0]] };
    on_each(exchanges, options, shown)
}

fn shown(exchange: &'static str, options: &Options) -> Figures {
    let all = all_markets();
    let first = all.iter().position(|market| *market == exchange).unwrap_or_default();
    let mut others = all.iter().cycle().skip(first).filter(|market| **market != peer_of(exchange));
    let flawed: Vec<(&'static str, Flaw)> =
        FLAWS.iter().map(|flaw| (*others.next().unwrap(), *flaw)).collect();
    let good = peer_of(exchange);

    let trusted = authority("Trusted");
    let folder = tempfile::tempdir().unwrap();
    let ca_file = folder.path().join("authority.pem");
    fs::write(&ca_file, trusted.pem()).unwrap();
    let relays: Vec<Relay> = flawed.iter().map(|(_, flaw)| relay(Some(*flaw), &trusted)).collect();
    let good_relay = relay(None, &trusted);

    let names: Vec<&'static str> = flawed.iter().map(|(name, _)| *name).collect();
    let plan = Plan::of(&[names.as_slice(), &[good, "coingecko", "cbr"]].concat(), options.seed)
        .with("tls_ca_file", &quoted(&ca_file.display().to_string()))
        .through_secured(good, &good_relay);
    let plan = names.iter().zip(&relays).fold(plan, |plan, (name, relay)| plan.through_secured(name, relay));
    let site = Site::start_after(plan, |control| {
        relays.iter().chain([&good_relay]).for_each(|relay| relay.lead_to(control.address));
    });
    site.until(PATH, |answer| answer.status == 200);
    let checker = Checker::start(&site);
    let is_refused = |exchange: &&str| {
        let row = site.health_of(exchange);
        row["status"] == "down"
            && row["last_error"].as_str().is_some_and(|it| it.contains("certificate or TLS refused"))
    };
    wait_until("each of them is refused", || names.iter().all(&is_refused));
    wait_until("the good one is heard on its socket", || site.health_of(good)["transport"] == "websocket");
    // Long enough for what would try again too soon to have done so.
    thread::sleep(options.scaled(Duration::from_secs(5), RETRY_AFTER * 2));
    let verdict = checker.finish();
    let quotes: u64 = names.iter().filter_map(|name| site.health_of(name)["quotes_total"].as_u64()).sum();
    let num_requests: usize = relays.iter().map(|relay| relay.requests().len()).sum();
    let tries: Vec<usize> = relays.iter().map(|relay| relay.accepted().len()).collect();
    let soonest = relays.iter().filter_map(again).min();
    Figures {
        pass: verdict.holds()
            && verdict.not_200 + verdict.broken == 0
            && quotes == 0
            && num_requests == 0
            && soonest.is_none_or(|soonest| soonest >= RETRY_AFTER - Duration::from_millis(100)),
        n: tries.iter().sum::<usize>() as u64,
        violations: verdict.num_violations,
        measured: format!(
            "{flawed:?}: {quotes} quotes accepted and {num_requests} requests made in {tries:?} tries, soonest again \
             after {}; {good} is heard; {}",
            soonest.map_or("-".to_owned(), ms),
            verdict.told()
        ),
        target: format!("no quote and no request, next try not within {}", ms(RETRY_AFTER)),
    }
}

/// How soon after the first look at a certificate it was looked at again. What an exchange is asked for at the start
/// is asked for at the same time: what a poll, a list and a socket do together is one look.
fn again(relay: &Relay) -> Option<Duration> {
    let accepted = relay.accepted();
    let first = *accepted.first()?;
    accepted.iter().map(|at| *at - first).find(|after| *after > Duration::from_millis(500))
}
