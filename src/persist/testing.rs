//! What tests of storage share: a PostgreSQL that this process starts, databases of both kinds, and quotes.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use chrono::{DateTime, Utc};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;

use super::postgres::{Address, PostgresStore};
use super::readers::Readers;
use super::sqlite::{Database, SqliteStore};
use super::store::Store;
use crate::market::{ExchangeName, Quote, Validity};
use crate::rate_book::{Accepted, Record, Span};

pub(super) const BINANCE: ExchangeName = ExchangeName::new("binance");
pub(super) const CBR: ExchangeName = ExchangeName::new("cbr");

/// Ends the server, and removes its files, when its input closes: when this process is gone, however it ended.
const KEEPER: &str = r#""$1/postgres" -D "$2/data" -k "$2" -c listen_addresses= -c fsync=off -c max_connections=60 \
    -c lc_messages=C >"$2/log" 2>&1 & pid=$!; cat >/dev/null; kill -QUIT $pid; wait $pid; rm -rf "$2""#;

struct Server {
    folder: PathBuf,
    /// Holds its input open.
    _keeper: Child,
}

/// A fresh database in the PostgreSQL of these tests: its URL. `None`, with a message, where none is installed.
pub(super) fn postgres_url() -> Option<String> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    static NUM_DATABASES: AtomicU32 = AtomicU32::new(0);
    let Some(server) = SERVER.get_or_init(start) else {
        println!("skipped: no PostgreSQL below /usr/lib/postgresql");
        return None;
    };
    let url = |name: &str| format!("postgres:///{name}?host={}&user=postgres", server.folder.display());
    let name = format!("test_{}", NUM_DATABASES.fetch_add(1, Ordering::Relaxed));
    let mut connection = PgConnection::establish(&url("postgres")).unwrap();
    connection.batch_execute(&format!("CREATE DATABASE {name}")).unwrap();
    Some(url(&name))
}

fn start() -> Option<Server> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?;
    let bin = versions.map(|version| version.unwrap().path().join("bin")).max()?;
    let folder = tempfile::Builder::new().prefix("ratebook-pg-").tempdir().unwrap().keep();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o711)).unwrap();
    // PostgreSQL refuses to run as root.
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let owner = if is_root { Some(ids_of("postgres")) } else { None };
    if let Some((uid, gid)) = owner {
        chown(&folder, Some(uid), Some(gid)).unwrap();
    }
    let command = |program: &Path| {
        let mut command = Command::new(program);
        command.current_dir("/");
        if let Some((uid, gid)) = owner {
            command.uid(uid).gid(gid);
        }
        command
    };
    let mut initdb = command(&bin.join("initdb"));
    initdb.args(["-U", "postgres", "-A", "trust", "-N", "-E", "UTF8", "--locale=C", "-D"]);
    let initialised = initdb.arg(folder.join("data")).output().unwrap();
    assert!(initialised.status.success(), "{}", String::from_utf8_lossy(&initialised.stderr));
    let mut keeper = command(Path::new("/bin/sh"));
    keeper.args(["-c", KEEPER, "sh"]).arg(&bin).arg(&folder).stdin(Stdio::piped());
    // A group of its own: Ctrl-C is for us, and our end ends it.
    let keeper = keeper.process_group(0).spawn().unwrap();
    wait_for(&folder, &bin);
    Some(Server { folder, _keeper: keeper })
}

fn wait_for(folder: &Path, bin: &Path) {
    let mut is_ready = Command::new(bin.join("pg_isready"));
    is_ready.arg("-q").arg("-h").arg(folder).args(["-d", "postgres", "-t", "1"]);
    for _ in 0..300 {
        if is_ready.status().unwrap().success() {
            return;
        }
        std::thread::park_timeout(std::time::Duration::from_millis(50));
    }
    panic!("{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
}

fn ids_of(user: &str) -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users.lines().find(|line| line.starts_with(&format!("{user}:"))).unwrap();
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

/// Makes another connection that writes.
type Another = Box<dyn Fn() -> Box<dyn Store>>;

/// Runs SQL on a connection of its own.
type Run = Box<dyn Fn(&str) -> QueryResult<()> + Sync>;

/// A fresh database, with all its tables, of one kind or the other.
pub(super) struct Place {
    pub(super) store: Box<dyn Store>,
    pub(super) readers: Readers,
    pub(super) another: Another,
    pub(super) run: Run,
    pub(super) is_postgres: bool,
    _folder: tempfile::TempDir,
}

/// Tries a claim in both databases.
pub(super) fn in_both(check: impl Fn(&mut Place)) {
    println!("in SQLite");
    check(&mut sqlite_place());
    if let Some(mut place) = postgres_place() {
        println!("in PostgreSQL");
        check(&mut place);
    }
}

pub(super) fn sqlite_place() -> Place {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rate book?.db").display().to_string();
    let database = Database::at(&path);
    let mut store = SqliteStore::open(database.clone()).unwrap();
    store.migrate().unwrap();
    let opened = database.clone();
    Place {
        store: Box::new(store),
        readers: Readers::of_sqlite(&database),
        another: Box::new(move || Box::new(SqliteStore::open(opened.clone()).unwrap())),
        run: Box::new(move |sql| {
            let mut connection = SqliteConnection::establish(&database.reader_uri()).unwrap();
            connection.batch_execute(sql)
        }),
        is_postgres: false,
        _folder: folder,
    }
}

pub(super) fn postgres_place() -> Option<Place> {
    let url = postgres_url()?;
    let address = Address::new(&url);
    let mut store = PostgresStore::connect(&address).unwrap();
    store.migrate().unwrap();
    let readers = Readers::of_postgres(&address);
    let another = Box::new(move || Box::new(PostgresStore::connect(&address).unwrap()) as Box<dyn Store>);
    Some(Place {
        store: Box::new(store),
        readers,
        another,
        run: Box::new(move |sql| PgConnection::establish(&url).unwrap().batch_execute(sql)),
        is_postgres: true,
        _folder: tempfile::tempdir().unwrap(),
    })
}

/// The time that is written so.
pub(super) fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A quote of one price for BTC-USDT from Binance.
pub(super) fn accepted(price: &str, received_at: &str) -> Accepted {
    let value = price.parse().unwrap();
    Accepted {
        exchange: BINANCE,
        quote: Quote::last("BTC-USDT".parse().unwrap(), value),
        value,
        received_at: at(received_at),
        span: Span::of(value),
    }
}

/// The same as a record.
pub(super) fn quote(price: &str, received_at: &str) -> Record {
    Record::Quote(accepted(price, received_at))
}

/// A fixing of USD-RUB.
pub(super) fn fixing(price: &str, received_at: &str, starts_at: &str, ends_at: &str) -> Record {
    let mut accepted = accepted(price, received_at);
    accepted.exchange = CBR;
    accepted.quote.direction = "USD-RUB".parse().unwrap();
    accepted.quote.validity = Validity::Fixing { starts_at: at(starts_at), ends_at: at(ends_at) };
    Record::Quote(accepted)
}
