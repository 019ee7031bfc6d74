"""What this machine remembers: runs, which can be found on their volumes again, and downloads that were begun."""

import contextlib
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
from msgspec import Struct

from runner import process
from runner.errors import NoSuchRun, Unreachable, UsageError
from runner.run import Run, State, new_tag

VERSION = 3
FILE = "registry.db"
PATIENCE_S = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, tag TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (created_at);
CREATE TABLE IF NOT EXISTS told (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS downloads (wanted TEXT PRIMARY KEY, by TEXT NOT NULL) WITHOUT ROWID;
"""


class Wanted(Struct, frozen=True):
    """A download that somebody asked for: a path of a volume, the folder of this disk, what it is called there."""

    backend: str
    location: str
    path: str
    folder: str
    called: str = ""
    overwrite: bool = False

    def key(self) -> str:
        """As a line of JSON, which also takes names that are no valid Unicode."""
        return json.dumps(msgspec.structs.astuple(self))


def find(runs: list[Run], name: str) -> Run:
    """A run by id, tag, unique prefix of either, or `last`, of `runs` newest first.

    Raises NoSuchRun, or UsageError if several match.
    """
    if name == "last" and runs:
        return runs[0]
    for run in runs:
        if name in (run.id, run.tag):
            return run
    matches = [r for r in runs if name and (r.id.startswith(name) or r.tag.startswith(name))]
    if len(matches) > 1:
        named = ", ".join(f"{r.tag} ({r.id})" for r in matches[:5])
        raise UsageError(f"{name[:60]!r} fits several runs: {named}", "give more letters")
    if not matches:
        raise NoSuchRun(f"no run {name[:60]!r}", "nanochat-tui ls shows them all")
    return matches[0]


class Registry:
    """Runs by id and tag. Safe for several processes and threads; every change is one transaction.

    `set_aside` is where a file that could not be read was moved to, None in ordinary life; `is_new` says that
    there was none.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._lock = threading.RLock()
        self.set_aside: Path | None = None
        self.why = ""
        self.is_new = not self._path.exists() or (self._path.is_file() and not self._path.stat().st_size)
        try:
            self._db = self._open()
        except sqlite3.OperationalError as error:
            raise Unreachable(f"cannot open {self._path} ({error})", "check its permissions and free space") from error
        except sqlite3.DatabaseError as error:
            self.why = f"damaged ({error})"
        except _FromTheFuture as error:
            self.why = f"written by a newer nanochat-tui (version {error})"
        if self.why:
            self.set_aside = self._move_aside()
            self._db = self._open()

    def _open(self) -> sqlite3.Connection:
        # SQLite's own waiting leaves out the moment in which another process makes the file or ends with it.
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._open_once()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise
            time.sleep(0.02)

    def _open_once(self) -> sqlite3.Connection:
        db = sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise _FromTheFuture(version)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            if version < VERSION:
                db.executescript(_SCHEMA)
                db.execute(f"PRAGMA user_version={VERSION}")
            for (record,) in db.execute("SELECT record FROM runs"):
                msgspec.json.decode(record, type=Run)
        except msgspec.DecodeError as error:
            db.close()
            raise sqlite3.DatabaseError(str(error)) from error
        except (sqlite3.DatabaseError, _FromTheFuture):
            db.close()
            raise
        return db

    def _move_aside(self) -> Path:
        target = self._path.with_name(f"{FILE}.kept-{time.strftime('%Y%m%d-%H%M%S')}")
        self._path.rename(target)
        for suffix in ("-wal", "-shm"):
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(FILE + suffix).rename(target.with_name(target.name + suffix))
        return target

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise Unreachable(
                    f"cannot use {self._path} ({error})", "check its permissions and free space"
                ) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def all(self) -> list[Run]:
        """Every run, newest first."""
        with self._reading() as db:
            rows = db.execute("SELECT record FROM runs ORDER BY created_at DESC, id").fetchall()
        return [msgspec.json.decode(record, type=Run) for (record,) in rows]

    def get(self, run_id: str) -> Run:
        with self._reading() as db:
            row = db.execute("SELECT record FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NoSuchRun(f"no run {run_id[:60]!r}", "nanochat-tui ls shows them all")
        return msgspec.json.decode(row[0], type=Run)

    def find(self, name: str) -> Run:
        """A run by id, tag, unique prefix of either, or `last`. Raises NoSuchRun, or UsageError if several match."""
        return find(self.all(), name)

    def add(self, run: Run) -> Run:
        """Put down a new run; one without a tag gets one. Raises UsageError when its tag is taken."""
        with self._transaction() as db:
            if not run.tag:
                tags = {tag for (tag,) in db.execute("SELECT tag FROM runs")}
                run = msgspec.structs.replace(run, tag=new_tag(run.spec.model, tags))
            taken = db.execute("SELECT record FROM runs WHERE tag = ? AND id != ?", (run.tag, run.id)).fetchone()
            if taken:
                other = msgspec.json.decode(taken[0], type=Run)
                verb = "watch shows it" if other.live else "resume goes on with it"
                ways = (
                    "choose another --tag" if other.state is State.DONE else f"{verb}, another --tag starts a new one"
                )
                raise UsageError(
                    f"tag {run.tag!r} is taken by run {other.id} ({other.state})",
                    f"{ways}; --force-restart takes the tag over and keeps the old run's files",
                    field="tag",
                )
            self._write(db, run)
            return run

    def update(self, run_id: str, change: Callable[[Run], Run]) -> Run:
        """Change one run in a transaction and return it as it now is."""
        with self._transaction() as db:
            row = db.execute("SELECT record FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise NoSuchRun(f"run {run_id} is gone", "it was deleted meanwhile")
            before = msgspec.json.decode(row[0], type=Run)
            after = change(before)
            if after != before:
                self._write(db, after)
            return after

    def first_to_tell(self, key: str) -> bool:
        """Whether nobody has told of this yet; from now on somebody has."""
        with self._transaction() as db:
            return db.execute("INSERT OR IGNORE INTO told VALUES (?)", (key,)).rowcount == 1

    def begin(self, wanted: Wanted) -> None:
        """Remember a download until `end`, and that this process is at it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO downloads VALUES (?, ?)", (wanted.key(), process.call_id(os.getpid())))

    def end(self, wanted: Wanted) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM downloads WHERE wanted = ?", (wanted.key(),))

    def cut(self) -> list[Wanted]:
        """Downloads that have not ended, though nobody is at them any more."""
        with self._reading() as db:
            rows = db.execute("SELECT wanted, by FROM downloads").fetchall()
        return [Wanted(*json.loads(key)) for key, by in rows if process.pid_if_alive(by) is None]

    def remove(self, run_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))

    @staticmethod
    def _write(db: sqlite3.Connection, run: Run) -> None:
        db.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET tag = excluded.tag, created_at = excluded.created_at, record = excluded.record",
            (run.id, run.tag, run.created_at, msgspec.json.encode(run)),
        )


class _FromTheFuture(Exception):
    """The file's version is above ours."""
