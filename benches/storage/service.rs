//! The service over a database that is only read, for what is asked over HTTP.

use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread;

use actix::System;
use ratebook::app::Service;
use ratebook::config::{Role, Settings};

use crate::support::PATIENCE;
use crate::target::Target;

/// Starts it on a thread of its own, where it runs until the process ends.
pub(crate) fn serve(target: &Target) -> SocketAddr {
    let settings = Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        database_url: target.url.clone(),
        state_file: target.directory.path().join("state.json"),
        roles: vec![Role::Answer],
        ..Settings::default()
    };
    let (address, started) = channel();
    let run = move || {
        System::new().block_on(async move {
            let service = Service::start(settings).await.unwrap();
            address.send(service.address()).unwrap();
            std::future::pending::<()>().await;
        });
    };
    thread::Builder::new().name("service".to_owned()).spawn(run).unwrap();
    started.recv_timeout(PATIENCE).unwrap()
}
