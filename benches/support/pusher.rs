//! A WebSocket server that sends what it is told to, and says exactly when.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};

use actix_web::{App, Error, HttpRequest, HttpResponse, HttpServer, web};
use actix_ws::Message;
use futures_util::StreamExt;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::bare::in_background;
use super::client::LIMIT;

/// What the server says to a message of its client (an acknowledgement).
pub(crate) type Reply = fn(&str) -> Option<String>;

/// A WebSocket server; it answers on every path.
pub(crate) struct Pusher {
    pub(crate) address: SocketAddr,
    listeners: Listeners,
}

type Listeners = Arc<Mutex<Vec<UnboundedSender<Push>>>>;

#[derive(Clone)]
struct Push {
    frame: String,
    sent_at: Sender<Instant>,
}

impl Pusher {
    pub(crate) fn start(reply: Reply) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let listeners = Listeners::default();
        let shared = web::Data::from(Arc::clone(&listeners));
        in_background("pusher", move || {
            let connect = move |request, body, listeners| connect(request, body, listeners, reply);
            let app = move || App::new().app_data(shared.clone()).default_service(web::to(connect));
            Ok(HttpServer::new(app).workers(1).tcp_nodelay(true).disable_signals().listen(listener)?.run())
        });
        Ok(Self { address, listeners })
    }

    /// Sends a frame to every listener, lets `meanwhile` run, and gives the time at which the frame was handed to the
    /// first socket together with what `meanwhile` gave.
    pub(crate) fn push<T>(
        &self,
        frame: String,
        meanwhile: impl FnOnce() -> T,
    ) -> Result<(Instant, T), RecvTimeoutError> {
        let (sent_at, sent) = channel();
        let push = Push { frame, sent_at };
        let mut listeners = self.listeners.lock().unwrap_or_else(PoisonError::into_inner);
        listeners.retain(|listener| listener.send(push.clone()).is_ok());
        drop((push, listeners));
        let outcome = meanwhile();
        Ok((sent.recv_timeout(LIMIT)?, outcome))
    }
}

async fn connect(
    request: HttpRequest,
    body: web::Payload,
    listeners: web::Data<Mutex<Vec<UnboundedSender<Push>>>>,
    reply: Reply,
) -> Result<HttpResponse, Error> {
    let (response, session, messages) = actix_ws::handle(&request, body)?;
    let (listener, pushes) = unbounded_channel();
    listeners.lock().unwrap_or_else(PoisonError::into_inner).push(listener);
    actix_web::rt::spawn(serve(session, messages, pushes, reply));
    Ok(response)
}

async fn serve(
    mut session: actix_ws::Session,
    mut messages: actix_ws::MessageStream,
    mut pushes: UnboundedReceiver<Push>,
    reply: Reply,
) -> Option<()> {
    loop {
        tokio::select! {
            push = pushes.recv() => {
                let Push { frame, sent_at } = push?;
                sent_at.send(Instant::now()).ok()?;
                session.text(frame).await.ok()?;
            }
            message = messages.next() => match message?.ok()? {
                Message::Text(text) => {
                    if let Some(answer) = reply(&text) {
                        session.text(answer).await.ok()?;
                    }
                }
                Message::Ping(bytes) => session.pong(&bytes).await.ok()?,
                Message::Close(_) => return None,
                _ => {}
            }
        }
    }
}
