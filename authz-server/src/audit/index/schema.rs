//! How the index looks on disk.
//!
//! | Table | Holds |
//! |---|---|
//! | `state` | one row: how many entries are in, the leaf hash of the last one, the boot that may have unsynced pages |
//! | `shape` | each combination of caller, operation, verdict, reason, policies, and what shadows and candidate made of it |
//! | `call` | a call's time and shape, by the position of its entry in the ledger |
//! | `call_id` | the call that an id names |
//! | `outcome` | how a call ended: the outcome's position, status and duration, by the call's position |
//! | `further` | what else there is of a call: outcomes behind the first one, reports that stand for nothing |
//! | `place` | where the rule was broken, by the position of the refusal that says it |
//! | `event` | what happened to the server, and what was counted: time and kind, by the position of the entry |
//! | `example` | the drift that a call's id is an example of, by the position of the entry |
//! | `block` | where each run of `BLOCK` entries begins in the file, and between which times its calls are |
//!
//! INVARIANT: whatever is changed here or in the meaning of a column changes `VERSION`; an index of another version is
//! built anew, never converted.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension as _};

/// Stands in the file's header, so that nobody else's database is taken for an index.
const APPLICATION: i32 = 0x5041_4c49;

/// Of this layout and of what it means.
const VERSION: i32 = 5;

/// How many entries share one anchor. Whoever reads an entry reads half as many others, on average.
pub(super) const BLOCK: u64 = 128;

const TABLES: &str = "
CREATE TABLE state (
    only INTEGER PRIMARY KEY CHECK (only = 1), done INTEGER NOT NULL, last_leaf BLOB, boot TEXT
) STRICT;
CREATE TABLE shape (
    id INTEGER PRIMARY KEY, who TEXT NOT NULL, service TEXT NOT NULL, operation TEXT NOT NULL,
    verdict INTEGER NOT NULL, reason TEXT NOT NULL, policies TEXT NOT NULL, shadow INTEGER NOT NULL,
    candidate TEXT NOT NULL, otherwise INTEGER NOT NULL, calls INTEGER NOT NULL DEFAULT 0,
    UNIQUE (who, service, operation, verdict, reason, policies, shadow, candidate, otherwise)
) STRICT;
CREATE TABLE call (position INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, shape INTEGER NOT NULL) STRICT;
CREATE INDEX call_by_shape ON call (shape);
CREATE TABLE call_id (id BLOB PRIMARY KEY, call INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE outcome (
    call INTEGER PRIMARY KEY, position INTEGER NOT NULL, status INTEGER NOT NULL, duration_us INTEGER NOT NULL
) STRICT;
CREATE TABLE further (call INTEGER, position INTEGER, PRIMARY KEY (call, position)) STRICT, WITHOUT ROWID;
CREATE TABLE event (position INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL, kind TEXT NOT NULL) STRICT;
CREATE INDEX event_by_kind ON event (kind);
CREATE TABLE place (call INTEGER PRIMARY KEY, place TEXT NOT NULL) STRICT;
CREATE TABLE example (id BLOB, position INTEGER, PRIMARY KEY (id, position)) STRICT, WITHOUT ROWID;
CREATE TABLE block (
    first INTEGER PRIMARY KEY, byte_offset INTEGER NOT NULL, at_ms_min INTEGER, at_ms_max INTEGER
) STRICT;
INSERT INTO state (only, done) VALUES (1, 0);
";

/// What a connection needs before anything else. The index can be lost at any time, so nothing is ever synced.
const SETTINGS: &str = "
PRAGMA journal_mode = WAL;
PRAGMA synchronous = OFF;
PRAGMA journal_size_limit = 16777216;
PRAGMA temp_store = MEMORY;
PRAGMA cell_size_check = ON;
PRAGMA cache_size = -8192;
CREATE TEMP TABLE IF NOT EXISTS chosen (shape INTEGER PRIMARY KEY);
";

pub(super) fn configure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Else a plan that could be better for other values is made anew for each: two thirds of the time to take an entry in.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    connection.busy_timeout(super::PATIENCE)?;
    connection.execute_batch(SETTINGS)
}

pub(super) fn create(connection: &Connection) -> rusqlite::Result<()> {
    let text = format!(
        "BEGIN IMMEDIATE; {TABLES} PRAGMA application_id = {APPLICATION}; PRAGMA user_version = {VERSION}; COMMIT;"
    );
    connection.execute_batch(&text)
}

/// Whether the file is an index of this version that nothing has happened to since it was last written.
pub(super) fn is_sound(connection: &Connection, boot: &str) -> rusqlite::Result<bool> {
    let number = |name: &str| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    if (number("application_id")?, number("user_version")?) != (APPLICATION, VERSION) {
        return Ok(false);
    }
    let state = connection.query_row("SELECT boot FROM state", [], |row| row.get::<_, Option<String>>(0));
    // A boot that is not over has lost nothing, and an index that was closed was synced.
    Ok(state.optional()?.is_some_and(|written_in| written_in.is_none_or(|written_in| written_in == boot)))
}
