//! What clients see over HTTP: every route and version on one screen, and the server that serves them.
//!
//! The one place with JSON shapes for clients. Handlers read a request, ask [`RateBook`](crate::rate_book) or storage
//! by message, and write the answer; they decide nothing about courses. Current courses never wait for storage.

mod accept;
mod answers;
mod chart;
mod cors;
mod error;
mod guard;
mod health;
mod metrics;
mod query;
pub(crate) mod rows;
mod v1;

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::{Message, Recipient};
use actix_web::dev::Server;
use actix_web::http::Method;
use actix_web::http::header::{self, HeaderValue};
use actix_web::{App, Handler, HttpResponse, HttpServer, Responder, middleware, web};
use chrono::{DateTime, Utc};
use socket2::{Domain, Protocol, Socket, Type};

use self::answers::Answers;
use self::cors::Cors;
use self::error::ApiError;
use self::query::{ChartQuestion, EventsQuestion, HistoryQuestion, Offer, Question};
use crate::history::{HistoryError, HistoryPorts};
use crate::market::{Direction, ExchangeName, Moment};
use crate::metrics::Metrics;
use crate::rate_book::{BookVersion, BusStatus, GetCourses, GetHealth};

/// Every route.
fn routes(config: &mut web::ServiceConfig) {
    config
        .service(read_only("/v1/courses", v1::courses::all))
        .service(read_only("/v1/courses/{direction}", v1::courses::one))
        .service(read_only("/v1/history", v1::history::rows))
        .service(read_only("/v1/history/{direction}.svg", v1::history::chart))
        .service(read_only("/v1/events", v1::events::rows))
        .configure(probes);
}

/// Every route of a process that gives no answers.
fn probes(config: &mut web::ServiceConfig) {
    config
        .service(read_only("/health", health::report))
        .service(read_only("/health/live", health::live))
        .service(read_only("/health/ready", health::ready))
        .service(read_only("/metrics", metrics::page))
        .default_service(web::to(|| async { Err::<HttpResponse, _>(ApiError::UnknownPath) }));
}

/// What every route accepts, as `Allow` says it.
const READ_ONLY_METHODS: &str = "GET, HEAD, OPTIONS";

/// Keeps browsers from reading an answer as anything but what its `Content-Type` says.
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");

/// Time in which [`RateBook`](crate::rate_book) has to answer. It answers within a millisecond unless it is stuck,
/// and a client that waits longer than this for a course would get one that has aged while it waited.
const BOOK_TIMEOUT: Duration = Duration::from_secs(1);

/// Time in which storage has to answer. It gives its database 5 s for a statement: what waits for this long waits
/// behind others, or for a storage that is gone.
const HISTORY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the first head of a connection, and for the body of a request.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Silence after which a connection is closed. nginx closes its own idle ones after 60 s: ours lives longer, so that
/// it is never closed at the moment when a request is put on it.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// Time for requests in flight when the server stops; the process has 15 s for everything.
const SHUTDOWN_TIMEOUT_S: u64 = 10;

/// Connections that wait to be accepted; a crowd that arrives at once is not turned away.
const BACKLOG: i32 = 1024;

/// Most threads that serve. A request costs some microseconds, and beyond this they would all wait for the book.
const MAX_WORKERS: usize = 4;

/// What the server needs to know and whom to ask.
#[derive(Debug, Clone)]
pub struct HttpSetup {
    /// Who has the courses.
    pub courses: Recipient<GetCourses>,
    /// The version of the book behind `courses`.
    pub version: BookVersion,
    /// Whether this process answers; if not, it only tells how it is.
    pub answers: bool,
    /// Who knows the state of the exchanges; `None` where this process hears nothing of them.
    pub health: Option<Recipient<GetHealth>>,
    /// What is known of the broker; `None` where there is none.
    pub bus: Option<BusStatus>,
    /// The configured directions, in their order.
    pub directions: Arc<[Direction]>,
    /// The enabled exchanges, those too that only give reference legs.
    pub exchanges: Arc<[ExchangeName]>,
    /// Connections held at once, over all threads.
    pub max_connections: usize,
    /// Origins that browsers may ask from, `*` for any; empty for none.
    pub cors_origins: Vec<String>,
    /// Whom to ask about stored data; `None` where this process reads none.
    pub history: Option<HistoryPorts>,
    /// Where requests are counted; `None` for nowhere, and then there is no page for Prometheus.
    pub metrics: Option<Metrics>,
    /// When the process started.
    pub started_at: Moment,
}

/// What handlers share.
struct Shared {
    courses: Recipient<GetCourses>,
    health: Option<Recipient<GetHealth>>,
    bus: Option<BusStatus>,
    history: Option<HistoryPorts>,
    metrics: Option<Metrics>,
    offer: Offer,
    cors: Cors,
    started_at: Moment,
}

impl From<HttpSetup> for Shared {
    fn from(setup: HttpSetup) -> Self {
        Self {
            courses: setup.courses,
            health: setup.health,
            bus: setup.bus,
            history: setup.history,
            metrics: setup.metrics,
            offer: Offer { directions: setup.directions, exchanges: setup.exchanges },
            cors: Cors::new(setup.cors_origins),
            started_at: setup.started_at,
        }
    }
}

impl Shared {
    /// Whom to ask about stored data.
    fn history(&self) -> Result<&HistoryPorts, ApiError> {
        self.history.as_ref().ok_or(ApiError::HistoryDisabled)
    }
}

/// Asks storage, for as long as an answer is worth waiting for.
async fn ask_storage<M, T>(port: &Recipient<M>, question: M) -> Result<T, HistoryError>
where
    M: Message<Result = Result<T, HistoryError>> + Send + 'static,
    T: Send + 'static,
{
    let reply = port.send(question).timeout(HISTORY_TIMEOUT).await;
    reply.unwrap_or_else(|error| Err(HistoryError::Unavailable(error.to_string())))
}

/// Binds the address, so that a process that cannot have it ends before it starts anything else.
///
/// # Errors
/// What the system says: [`io::ErrorKind::AddrInUse`] if another process listens there.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart may take the address while connections of the last process still linger; not beside a listener.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Starts the server. It handles no signals: whoever started it stops it by its handle.
///
/// # Errors
/// What the system says about the listener.
pub fn serve(listener: TcpListener, setup: HttpSetup) -> io::Result<Server> {
    let workers = std::thread::available_parallelism().map_or(1, usize::from).min(MAX_WORKERS);
    let connections_per_worker = (setup.max_connections / workers).max(1);
    let version = setup.version.clone();
    let routes = if setup.answers { routes } else { probes };
    let shared = web::Data::new(Shared::from(setup));
    let server = HttpServer::new(move || {
        let app = App::new().app_data(shared.clone()).app_data(Answers::new(version.clone()));
        let worker = shared.metrics.as_ref().map(|metrics| Rc::new(metrics.http.worker()));
        let app = match worker {
            Some(worker) => app.app_data(worker),
            None => app,
        };
        app.wrap(middleware::from_fn(guard::every_request)).configure(routes)
    });
    let server = server
        .workers(workers)
        .max_connections(connections_per_worker)
        .client_request_timeout(REQUEST_TIMEOUT)
        .keep_alive(KEEP_ALIVE)
        .tcp_nodelay(true)
        .h1_allow_half_closed(false)
        .shutdown_timeout(SHUTDOWN_TIMEOUT_S)
        .disable_signals();
    Ok(server.listen(listener)?.run())
}

/// A path that is read and never written.
fn read_only<F, Args>(path: &str, handler: F) -> actix_web::Resource
where
    F: Handler<Args> + Clone,
    Args: actix_web::FromRequest + 'static,
    F::Output: Responder + 'static,
{
    web::resource(path)
        .route(web::get().to(handler.clone()))
        .route(web::head().to(handler))
        .route(web::method(Method::OPTIONS).to(options))
        .default_service(web::to(|| async { Err::<HttpResponse, _>(ApiError::WrongMethod) }))
}

async fn options() -> HttpResponse {
    HttpResponse::NoContent().insert_header((header::ALLOW, READ_ONLY_METHODS)).finish()
}

/// What each route that takes a query makes of this one, without asking anybody: nothing where it is understood, else
/// what its refusal says. `{direction}` of a path is the first of the configured ones.
pub fn read_query(
    query: &str,
    directions: &Arc<[Direction]>,
    exchanges: &Arc<[ExchangeName]>,
    now: DateTime<Utc>,
) -> [Result<(), String>; 5] {
    let offer = Offer { directions: directions.clone(), exchanges: exchanges.clone() };
    let direction = directions.first().map(Direction::to_string).unwrap_or_default();
    let outcomes: [Result<(), ApiError>; 5] = [
        Question::of_all(query, &offer, now).map(drop),
        Question::of_one(&direction, query, &offer, now).map(drop),
        HistoryQuestion::read(query, &offer, now).map(drop),
        ChartQuestion::read(&direction, query, &offer, now).map(drop),
        EventsQuestion::read(query, &offer, now).map(drop),
    ];
    outcomes.map(|outcome| outcome.map_err(|error| error.to_string()))
}

/// A length in whole milliseconds, as answers write it.
fn age_ms(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(all(test, feature = "failpoints"))]
mod tests {
    use std::thread;

    use actix::prelude::*;
    use actix_web::test;

    use super::*;
    use crate::clock;
    use crate::rate_book::{Answer, BookHealth, CoursesError};

    struct EmptyBook;

    impl Actor for EmptyBook {
        type Context = Context<Self>;
    }

    impl actix::Handler<GetCourses> for EmptyBook {
        type Result = Result<Answer, CoursesError>;

        fn handle(&mut self, _: GetCourses, _: &mut Self::Context) -> Self::Result {
            Err(CoursesError::Starting(Vec::new()))
        }
    }

    impl actix::Handler<GetHealth> for EmptyBook {
        type Result = MessageResult<GetHealth>;

        fn handle(&mut self, _: GetHealth, _: &mut Self::Context) -> Self::Result {
            MessageResult(BookHealth::failed())
        }
    }

    #[actix_web::test]
    async fn a_panic_in_the_handler_of_courses_is_a_500_and_the_next_request_is_served() {
        let book = EmptyBook.start();
        let shared = web::Data::new(Shared::from(HttpSetup {
            courses: book.clone().recipient(),
            version: BookVersion::default(),
            answers: true,
            health: Some(book.recipient()),
            bus: None,
            directions: Arc::new([]),
            exchanges: Arc::new([]),
            max_connections: 1,
            cors_origins: Vec::new(),
            history: None,
            metrics: Some(Metrics::new()),
            started_at: clock::now(),
        }));
        let app =
            App::new().app_data(shared).wrap(middleware::from_fn(guard::every_request)).configure(routes);
        let app = test::init_service(app).await;
        let ask = || test::TestRequest::get().uri("/v1/courses").to_request();

        // Fail points are shared by the whole process: only the handler on this thread is meant.
        let here = thread::current().id();
        fail::cfg_callback("http::courses", move || {
            assert!(thread::current().id() != here, "the fail point of this test");
        })
        .unwrap();
        let Err(error) = test::try_call_service(&app, ask()).await else { panic!("it was answered") };
        assert_eq!(error.error_response().status(), 500);
        fail::remove("http::courses");
        assert_eq!(test::call_service(&app, ask()).await.status(), 503);
    }
}
