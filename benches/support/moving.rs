//! Requests for courses while prices move: the service with and without its metrics, beside a handler that gives the
//! same bytes with the same headers, and beside nginx that serves them as a file. All of them are in this process, but
//! nginx, and all of them have the same stream of quotes beside them.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use actix_web::{App, HttpResponse, HttpServer, web};
use bytes::Bytes;
use tokio::time::Instant;

use super::bare::{in_background, num_workers};
use super::book::{self, Hub};
use super::client::{self, Connection, LIMIT};
use super::load::Load;
use super::rounds::print_rates;
use super::sample::Sample;

/// Quotes a second that move the prices meanwhile.
const QUOTES_PER_SECOND: u32 = 10_000;

/// How often some of them are told.
const PACE: Duration = Duration::from_millis(1);

const PATH: &str = "/v1/courses";

/// Whoever answers, and how.
struct Contender {
    name: &'static str,
    address: SocketAddr,
    path: &'static str,
    rates: Vec<f64>,
    /// Processor time of the threads that serve, for each request, in nanoseconds.
    costs: Vec<f64>,
}

/// Who asks: the load of these benchmarks, or the program `wrk`, which has nothing of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asker {
    Ours,
    Wrk,
}

impl Asker {
    /// Requests a second, and how many there were.
    fn run(self, load: Load, address: SocketAddr, path: &str) -> io::Result<(f64, f64)> {
        match self {
            Self::Ours => {
                let served = load.run(address, path)?;
                Ok((served.per_second, served.latencies.len() as f64))
            }
            Self::Wrk => wrk(load, address, path),
        }
    }
}

/// `wrk` on one thread: it rounds to whole seconds.
fn wrk(load: Load, address: SocketAddr, path: &str) -> io::Result<(f64, f64)> {
    let seconds = load.length.as_secs().max(1);
    let done = Command::new("wrk")
        .args(["-t1", &format!("-c{}", load.connections), &format!("-d{seconds}s")])
        .arg(format!("http://{address}{path}"))
        .output()?;
    let text = String::from_utf8_lossy(&done.stdout);
    let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<f64>().ok());
    let rate = text.lines().find(|line| line.starts_with("Requests/sec:")).and_then(number);
    let total = text.lines().find(|line| line.contains(" requests in ")).and_then(number);
    match (rate, total) {
        (Some(rate), Some(total)) if !text.contains("Non-2xx") && !text.contains("Socket errors") => {
            Ok((rate, total))
        }
        _ => Err(io::Error::other(format!("wrk: {text}{}", String::from_utf8_lossy(&done.stderr)))),
    }
}

/// Measures all of them, interleaved.
pub(crate) fn measure(load: Load, num_rounds: usize, asker: Asker) -> io::Result<()> {
    let hub = book::start();
    let served = book::serve(&hub)?;
    let mut connection = Connection::open(served)?;
    let body = Bytes::copy_from_slice(connection.ask(&client::get(served, PATH))?.1);
    let nginx = Nginx::start(&body)?;
    let contender =
        |name, address, path| Contender { name, address, path, rates: Vec::new(), costs: Vec::new() };
    let mut contenders = vec![
        contender("a handler with the same bytes and headers", same_bytes(body)?, PATH),
        contender("ratebook", served, PATH),
        contender("ratebook without metrics", book::serve_uncounted(&hub)?, PATH),
    ];
    if let Some(nginx) = &nginx {
        contenders.push(contender("nginx, the same bytes as a file", nginx.address, "/body"));
    }
    let ingest = Ingest::start(&hub);
    for round in 0..=num_rounds {
        for contender in &mut contenders {
            let before = served_for();
            let (per_second, num_answers) = asker.run(load, contender.address, contender.path)?;
            let cost = (served_for() - before).as_secs_f64() * 1e9 / num_answers;
            if round > 0 {
                contender.rates.push(per_second);
                contender.costs.push(cost);
            }
        }
    }
    let num_told = ingest.stop();
    println!("\n{num_told:.0} quotes a second moved the prices");
    let all = |pick: fn(&mut Contender) -> &mut Vec<f64>,
               contenders: &mut [Contender]|
     -> Vec<(String, Sample)> {
        contenders.iter_mut().map(|it| (it.name.to_owned(), Sample::new(std::mem::take(pick(it))))).collect()
    };
    let by = if asker == Asker::Wrk { " (asked by wrk)" } else { "" };
    let title = format!("Requests over {} connections while prices move{by}", load.connections);
    print_rates(&title, "requests/s", &all(|it| &mut it.rates, &mut contenders));
    // nginx is another process, and its time is not seen here.
    let ours = contenders.len().min(3);
    let costs = all(|it| &mut it.costs, &mut contenders[..ours]);
    print_rates("Processor time of the threads that serve and of the book", "ns/request", &costs);
    Ok(())
}

/// Processor time of all threads of servers and books in this process since they began.
fn served_for() -> Duration {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of = |task: fs::DirEntry| -> Option<Duration> {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        let is_ours = ["actix-", "rate-book"].iter().any(|ours| name.starts_with(ours));
        let told = fs::read_to_string(task.path().join("schedstat")).ok().filter(|_| is_ours)?;
        told.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    };
    tasks.filter_map(of).sum()
}

/// A handler that gives these bytes, with every header that the service gives.
fn same_bytes(body: Bytes) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    in_background("bare-handler", move || {
        let app = move || App::new().app_data(web::Data::new(body.clone())).default_service(web::to(give));
        Ok(HttpServer::new(app)
            .workers(num_workers())
            .tcp_nodelay(true)
            .disable_signals()
            .listen(listener)?
            .run())
    });
    Ok(address)
}

async fn give(body: web::Data<Bytes>) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(("cache-control", "no-cache"))
        .insert_header(("age", "0"))
        .insert_header(("ratebook-age-ms", "12"))
        .insert_header(("ratebook-sequence", "459568809973248"))
        .insert_header(("etag", "\"7333304153f040ee398bde956c3bcc7d\""))
        .insert_header((
            "ratebook-legs",
            "USDT-USD=kraken;age_ms=12;held=0,USD-RUB=cbr;age_ms=68664025;held=0",
        ))
        .insert_header(("x-content-type-options", "nosniff"))
        .content_type("application/json")
        .body(body.as_ref().clone())
}

/// Quotes at a steady rate.
struct Ingest {
    is_over: Arc<AtomicBool>,
    telling: thread::JoinHandle<f64>,
}

impl Ingest {
    fn start(hub: &Hub) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (over, hub) = (Arc::clone(&is_over), hub.clone());
        let telling = thread::Builder::new().name("quotes".to_owned()).spawn(move || {
            let (began, mut told) = (Instant::now(), 0_u32);
            while !over.load(Ordering::Relaxed) {
                let due = (began.elapsed().as_secs_f64() * f64::from(QUOTES_PER_SECOND)) as u32;
                for number in told..due {
                    book::tell(&hub, number as usize);
                }
                told = due;
                thread::sleep(PACE);
            }
            f64::from(told) / began.elapsed().as_secs_f64()
        });
        Self { is_over, telling: telling.expect("a thread") }
    }

    /// How many there were a second.
    fn stop(self) -> f64 {
        self.is_over.store(true, Ordering::Relaxed);
        self.telling.join().expect("it ends by itself")
    }
}

/// An nginx of ours, with one file.
struct Nginx {
    process: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Nginx {
    /// `None` where none is installed.
    fn start(body: &Bytes) -> io::Result<Option<Self>> {
        let places = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
        let Some(program) = places.iter().find(|place| Path::new(place).exists()) else {
            println!("no nginx is installed here, so there is none beside");
            return Ok(None);
        };
        let directory = tempfile::tempdir()?;
        let address = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?;
        fs::write(directory.path().join("body"), body)?;
        let here = directory.path().display();
        let settings = format!(
            "daemon off; master_process on; user root; worker_processes {}; pid {here}/pid; error_log {here}/error.log;\n\
             events {{ worker_connections 1024; }}\n\
             http {{ access_log off; sendfile on; tcp_nodelay on; keepalive_requests 100000000;\n\
             open_file_cache max=10; default_type application/json;\n\
             server {{ listen {address}; root {here}; }} }}",
            num_workers()
        );
        fs::write(directory.path().join("nginx.conf"), settings)?;
        let process = Command::new(program)
            .args(["-p", &here.to_string(), "-c", "nginx.conf"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let nginx = Self { process, address, _directory: directory };
        let deadline = Instant::now() + LIMIT;
        while TcpStream::connect(address).is_err() {
            if Instant::now() > deadline {
                return Err(io::Error::other("nginx does not listen"));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(Some(nginx))
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its workers end with it: they notice the closed channel.
        let pid = self.process.id().to_string();
        drop(Command::new("kill").arg(pid).status());
        drop(self.process.wait());
    }
}
