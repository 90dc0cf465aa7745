//! A load of many kept connections on one thread, each with one request in flight.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::client::{self, Answer, LIMIT};
use super::sample::Sample;

/// How much load, and for how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) connections: usize,
    pub(crate) length: Duration,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) per_second: f64,
    /// Times from request to answer, in microseconds.
    pub(crate) latencies: Sample,
}

impl Load {
    /// Asks for `path` as often as it goes. Every answer has to be a 200.
    pub(crate) fn run(&self, address: SocketAddr, path: &str) -> io::Result<Served> {
        let request = client::get(address, path);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let began_at = Instant::now();
            let ends_at = began_at + self.length;
            let mut connections = JoinSet::new();
            for _ in 0..self.connections {
                connections.spawn(keep_asking(address, request.clone(), ends_at));
            }
            let all = async {
                let mut latencies = Vec::new();
                while let Some(one) = connections.join_next().await {
                    latencies.extend(one.map_err(io::Error::other)??);
                }
                Ok::<_, io::Error>(latencies)
            };
            let latencies = timeout(self.length + LIMIT, all).await.map_err(io::Error::other)??;
            let per_second = latencies.len() as f64 / began_at.elapsed().as_secs_f64();
            Ok(Served { per_second, latencies: Sample::new(latencies) })
        })
    }
}

async fn keep_asking(address: SocketAddr, request: Vec<u8>, ends_at: Instant) -> io::Result<Vec<f64>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (mut bytes, mut latencies) = (Vec::with_capacity(16 * 1024), Vec::new());
    let mut asked_at = Instant::now();
    while asked_at < ends_at {
        stream.write_all(&request).await?;
        let status = read_answer(&mut stream, &mut bytes).await?;
        if status != 200 {
            return Err(io::Error::other(format!("answered {status}")));
        }
        let answered_at = Instant::now();
        latencies.push((answered_at - asked_at).as_secs_f64() * 1e6);
        asked_at = answered_at;
    }
    Ok(latencies)
}

async fn read_answer(stream: &mut TcpStream, bytes: &mut Vec<u8>) -> io::Result<u16> {
    bytes.clear();
    loop {
        if stream.read_buf(bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(Answer { status, head, length }) = client::answer(bytes)?
            && bytes.len() >= head + length
        {
            return Ok(status);
        }
    }
}
