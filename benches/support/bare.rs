//! What the service is measured beside: the same work with nothing of ours in it.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use actix_web::dev::Server;
use actix_web::rt::System;
use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use futures_util::StreamExt;

/// Worker threads of every HTTP server that is measured.
pub(crate) fn num_workers() -> usize {
    thread::available_parallelism().map_or(1, usize::from).min(4)
}

/// Runs a server on a thread of its own until the process ends.
pub(crate) fn in_background(name: &str, start: impl FnOnce() -> io::Result<Server> + Send + 'static) {
    let run = move || System::new().block_on(async move { start()?.await });
    let started = thread::Builder::new().name(name.to_owned()).spawn(run);
    started.expect("a measurement without threads is none");
}

/// A body that a handler gives and that somebody else may replace.
pub(crate) type Body = Arc<Mutex<Bytes>>;

/// A handler that gives the body, and nothing else.
pub(crate) fn handler(body: Body) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let body = web::Data::from(body);
    in_background("bare-handler", move || {
        let app = move || App::new().app_data(body.clone()).default_service(web::to(give));
        Ok(HttpServer::new(app)
            .workers(num_workers())
            .tcp_nodelay(true)
            .disable_signals()
            .listen(listener)?
            .run())
    });
    Ok(address)
}

async fn give(body: web::Data<Mutex<Bytes>>) -> HttpResponse {
    let bytes = body.lock().unwrap_or_else(PoisonError::into_inner).clone();
    HttpResponse::Ok().content_type("application/json").body(bytes)
}

/// A handler that gives the last frame of a socket.
pub(crate) fn echo(pusher: SocketAddr) -> io::Result<SocketAddr> {
    let body = Body::default();
    let address = handler(Arc::clone(&body))?;
    let follow = move || {
        System::new().block_on(async move {
            let client = awc::Client::new();
            let dialled = client.ws(format!("ws://{pusher}/")).connect().await;
            let (_, mut socket) = dialled.map_err(|error| io::Error::other(error.to_string()))?;
            while let Some(Ok(frame)) = socket.next().await {
                if let awc::ws::Frame::Text(text) = frame {
                    *body.lock().unwrap_or_else(PoisonError::into_inner) = text;
                }
            }
            Ok::<_, io::Error>(())
        })
    };
    thread::Builder::new().name("bare-echo".to_owned()).spawn(follow)?;
    Ok(address)
}
