//! SQLite with a write-ahead log that is synced on every commit, through cached prepared statements.
//!
//! There is one connection that writes, shared by the threads behind a lock, as SQLite would otherwise have them poll
//! for each other; and beside it one that reads for each thread that does.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, ensure};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior};

use crate::engine::{Adapter, Neighbour};
use crate::name::{CACHE_BYTES, Name};
use crate::reading::Reads;
use crate::workload::{Key, Row};

/// How much of the file may be read through a memory map.
const MAP_BYTES: usize = 1 << 30;

const CREATE: &str = "CREATE TABLE IF NOT EXISTS kv(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID";
/// In a table like this, replacing overwrites in place and reads nothing back.
const PUT: &str = "REPLACE INTO kv VALUES (?1, ?2)";
const GET: &str = "SELECT v FROM kv WHERE k = ?1";
const SCAN: &str = "SELECT k, v FROM kv WHERE k >= ?1 ORDER BY k LIMIT ?2";

const CREATE_NEIGHBOUR: &str =
    "CREATE TABLE IF NOT EXISTS neighbour(k BLOB PRIMARY KEY, v BLOB NOT NULL) WITHOUT ROWID";
const PUT_NEIGHBOUR: &str = "REPLACE INTO neighbour VALUES (?1, ?2)";
const DROP_NEIGHBOUR: &str = "DROP TABLE neighbour";

/// An open SQLite database.
pub struct Sqlite {
    writer: Mutex<Connection>,
    reader: SqliteReader,
}

/// Connections for reading, as many as threads have read at a time.
pub struct SqliteReader {
    dir: PathBuf,
    cache_bytes: usize,
    /// Those that nobody uses.
    idle: Mutex<Vec<Connection>>,
}

impl Sqlite {
    /// Opens or creates it.
    pub fn open(dir: &Path) -> Result<Self> {
        let writer = connect(dir, CACHE_BYTES)?;
        writer.execute(CREATE, ())?;
        Ok(Self { writer: Mutex::new(writer), reader: SqliteReader::open(dir, CACHE_BYTES)? })
    }

    fn commit(
        &self,
        create: Option<&str>,
        put_one: &str,
        rows: &[Row],
        before_commit: &dyn Fn(),
    ) -> Result<()> {
        let mut connection = locked(&self.writer);
        let tx = Transaction::new(&mut connection, TransactionBehavior::Immediate)?;
        if let Some(create) = create {
            tx.prepare_cached(create)?.execute(())?;
        }
        let mut statement = tx.prepare_cached(put_one)?;
        for row in rows {
            put(&mut statement, row)?;
        }
        drop(statement);
        before_commit();
        Ok(tx.commit()?)
    }
}

impl SqliteReader {
    /// Opens a database that is there, beside whoever writes it.
    pub fn open(dir: &Path, cache_bytes: usize) -> Result<Self> {
        let idle = Mutex::new(vec![connect(dir, cache_bytes)?]);
        Ok(Self { dir: dir.to_owned(), cache_bytes, idle })
    }

    /// Reads through a connection that no other thread uses meanwhile.
    fn read(&self, read: impl FnOnce(&mut Connection) -> Result<()>) -> Result<()> {
        let idle = locked(&self.idle).pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect(&self.dir, self.cache_bytes)?,
        };
        read(&mut connection)?;
        locked(&self.idle).push(connection);
        Ok(())
    }
}

fn connect(dir: &Path, cache_bytes: usize) -> Result<Connection> {
    let connection = Connection::open(dir.join("data.sqlite"))?;
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    ensure!(mode == "wal", "SQLite keeps a journal of mode {mode}, not wal");
    connection.pragma_update(None, "synchronous", "full")?;
    // A negative size is one in KiB.
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10)?)?;
    connection.pragma_update(None, "mmap_size", i64::try_from(MAP_BYTES)?)?;
    Ok(connection)
}

/// A connection that somebody panicked with is no worse than another.
fn locked<T>(connections: &Mutex<T>) -> MutexGuard<'_, T> {
    connections.lock().unwrap_or_else(PoisonError::into_inner)
}

fn put(statement: &mut CachedStatement<'_>, row: &Row) -> Result<()> {
    statement.execute((row.key.as_slice(), row.value.as_slice()))?;
    Ok(())
}

fn get(connection: &Connection, keys: &[Key], mut see: impl FnMut(Option<&[u8]>)) -> Result<()> {
    let mut statement = connection.prepare_cached(GET)?;
    for key in keys {
        let mut rows = statement.query([key.as_slice()])?;
        match rows.next()? {
            Some(row) => see(Some(row.get_ref(0)?.as_bytes()?)),
            None => see(None),
        }
    }
    Ok(())
}

impl Reads for SqliteReader {
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        self.read(|connection| {
            let tx = connection.transaction()?;
            get(&tx, keys, see)
        })
    }

    fn get_fresh(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        self.read(|connection| get(connection, keys, see))
    }

    fn scan(&self, starts: &[Key], limit: usize, mut see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        self.read(|connection| {
            let tx = connection.transaction()?;
            let mut statement = tx.prepare_cached(SCAN)?;
            // A negative limit is none.
            let limit = i64::try_from(limit).unwrap_or(-1);
            for start in starts {
                let mut rows = statement.query((start.as_slice(), limit))?;
                while let Some(row) = rows.next()? {
                    see(row.get_ref(0)?.as_bytes()?, row.get_ref(1)?.as_bytes()?);
                }
            }
            Ok(())
        })
    }
}

impl Reads for Sqlite {
    fn get_held(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        Reads::get_held(&self.reader, keys, see)
    }

    fn get_fresh(&self, keys: &[Key], see: impl FnMut(Option<&[u8]>)) -> Result<()> {
        Reads::get_fresh(&self.reader, keys, see)
    }

    fn scan(&self, starts: &[Key], limit: usize, see: impl FnMut(&[u8], &[u8])) -> Result<()> {
        Reads::scan(&self.reader, starts, limit, see)
    }
}

impl Adapter for Sqlite {
    fn write(&self, rows: &[Row], before_commit: &dyn Fn()) -> Result<()> {
        self.commit(None, PUT, rows, before_commit)
    }

    fn put(&self, row: &Row) -> Result<()> {
        // A statement outside of a transaction is one of its own.
        put(&mut locked(&self.writer).prepare_cached(PUT)?, row)
    }

    fn copy(&self, _name: Name, _from: &Path, to: &Path) -> Result<bool> {
        // In a rollback journal of its own the copy is synced at the end of the one step.
        let mut copy = Connection::open(to.join("data.sqlite"))?;
        copy.pragma_update(None, "synchronous", "full")?;
        let step = Backup::new(&locked(&self.writer), &mut copy)?.step(-1)?;
        ensure!(step == StepResult::Done, "the copy ended with {step:?}");
        Ok(true)
    }

    fn neighbour(&self) -> Option<&dyn Neighbour> {
        Some(self)
    }
}

impl Neighbour for Sqlite {
    fn commit(&self, rows: &[Row]) -> Result<()> {
        self.commit(Some(CREATE_NEIGHBOUR), PUT_NEIGHBOUR, rows, &|| ())
    }

    fn remove(&self) -> Result<()> {
        locked(&self.writer).execute(DROP_NEIGHBOUR, ())?;
        Ok(())
    }
}
