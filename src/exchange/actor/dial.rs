//! Opens a WebSocket.
//!
//! Separate because this, with [`super::fetch`], is where awc is known.

use std::sync::Arc;
use std::time::Duration;

use awc::{BoxedSocket, Client, Connector};
use bytes::BytesMut;
use tokio::time::timeout;

use super::trouble::Trouble;

/// How we present ourselves.
pub(super) const USER_AGENT: &str = concat!("ratebook/", env!("CARGO_PKG_VERSION"));

/// From the question for a name to the open connection, of a dial as of a request: a name that nobody answers for is
/// told sooner than an exchange that does not answer.
pub(super) const CONNECT_WITHIN: Duration = Duration::from_secs(3);

/// Longer than any limit that is set.
const NEVER: Duration = Duration::from_secs(3600);

/// A client that checks certificates by `tls`, follows no redirect and speaks HTTP/1.1.
///
/// Every request and every dial has a limit of its own for the whole; the one of awc for the hand-shake of TLS is only put
/// out of the way.
pub(super) fn client(tls: Arc<rustls::ClientConfig>) -> Client {
    // awc's own setting of an HTTP version would throw the TLS configuration away; that has no ALPN, which says the
    // same.
    let connector = Connector::new().timeout(CONNECT_WITHIN).handshake_timeout(NEVER).rustls_0_23(tls);
    Client::builder().connector(connector).disable_timeout().disable_redirects().finish()
}

/// A socket whose upgrade was answered, and what was read beyond the answer.
pub(super) struct Dialled {
    pub(super) socket: BoxedSocket,
    pub(super) already_read: BytesMut,
}

/// Connects, within [`CONNECT_WITHIN`], secures and upgrades, all within `time_limit`.
pub(super) async fn dial(client: Client, url: String, time_limit: Duration) -> Result<Dialled, Trouble> {
    let request = client.ws(url).set_header("user-agent", USER_AGENT);
    match timeout(time_limit, request.connect()).await {
        Ok(Ok((_, framed))) => {
            let parts = framed.into_parts();
            Ok(Dialled { socket: parts.io, already_read: parts.read_buf })
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Trouble::Timeout(time_limit)),
    }
}
