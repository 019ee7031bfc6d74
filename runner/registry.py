"""What this machine remembers: runs, which can be found on their volumes again, and downloads that were begun."""

import contextlib
import functools
import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

import msgspec
from msgspec import Struct

from runner import atomic, process, stored
from runner.client_log import LOG
from runner.errors import NoSuchRun, Unreachable, UsageError
from runner.run import Run, State, named, new_tag, run_of

VERSION = 3
FILE = "registry.db"
PATIENCE_S = 10.0
# A file of which one part after the other turns out to be damaged is mended so often within one call.
MENDS = 4
TABLES = {"runs", "refused", "told", "telling", "downloads"}
_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    id TEXT PRIMARY KEY, tag TEXT NOT NULL UNIQUE, created_at REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS runs_by_age ON runs (created_at);
CREATE TABLE IF NOT EXISTS refused (
    id TEXT PRIMARY KEY, tag TEXT NOT NULL, created_at REAL NOT NULL, record BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS told (key TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS telling (key TEXT PRIMARY KEY, by TEXT NOT NULL) WITHOUT ROWID;
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


class Telling(Enum):
    """Who tells of something."""

    OURS = "ours"
    OTHERS = "others"
    TOLD = "told"


def find(runs: list[Run], name: str) -> Run:
    """A run by id, tag, unique prefix of either, or `last`, of `runs` newest first.

    Raises NoSuchRun, or UsageError if several match.
    """
    if name == "last" and runs:
        return runs[0]
    for run in runs:
        if name and name in (run.id, run.tag, run.folder):
            return run
    matches = [r for r in runs if name and (r.id.startswith(name) or r.tag.startswith(name))]
    if len(matches) > 1:
        named = ", ".join(f"{r.tag} ({r.id})" for r in matches[:5])
        raise UsageError(f"{name[:60]!r} fits several runs: {named}", "give more letters")
    if not matches:
        raise NoSuchRun(f"no run {name[:60]!r}", "nanochat-tui ls shows them all")
    return matches[0]


# What SQLite finds in a damaged file. What we ask it for makes sense: if it does not, the file is not as it was made.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}


class _Damaged(Exception):
    """The file cannot be read as what it is."""


class _Incomplete(_Damaged):
    """Of the file's tables one is missing: it is made when the file is opened again."""


class _BadRows(_Damaged):
    """Rows that are no runs: their ids and tags, and why one of them is none."""

    def __init__(self, rows: list[tuple[str, str]], why: str) -> None:
        super().__init__(why)
        self.rows = rows


class _FromTheFuture(Exception):
    """The file's version is above ours."""


P = ParamSpec("P")
T = TypeVar("T")


def _mending(method: "Callable[Concatenate[Registry, P], T]") -> "Callable[Concatenate[Registry, P], T]":
    """A method that does its work once more where it has met damage, with what could be saved."""

    @functools.wraps(method)
    def mended(self: "Registry", /, *args: P.args, **given: P.kwargs) -> T:
        with self._lock:
            for _ in range(MENDS):
                try:
                    return method(self, *args, **given)
                except _Damaged as damage:
                    self._mend(damage)
            raise Unreachable(f"{self._path} is damaged again and again", "see that its disk is in order")

    return mended


class Registry:
    """Runs by id and tag. Safe for several processes and threads; every change is one transaction.

    A file that is damaged is kept aside, whenever that is found, and a row that is no run is, too. `restored_by` is
    told what happened, so that it can bring back what is not saved. `set_aside` is where a file went, if one did.
    """

    def __init__(self, home: Path) -> None:
        self._path = home / FILE
        self._lock = threading.RLock()
        self._restore: Callable[[str], None] | None = None
        self._lost: list[str] = []
        self._inode = 0
        self.set_aside: Path | None = None
        try:
            self._db = self._open()
        except _Damaged as damage:
            self._begin_anew(f"damaged ({damage})")
        except _FromTheFuture as version:
            self._begin_anew(f"written by a newer nanochat-tui (version {version})")

    def restored_by(self, restore: Callable[[str], None]) -> None:
        """Who brings back what was lost, until now and from now on; it is given what happened, in words."""
        with self._lock:
            self._restore = restore
            self._tell_what_was_lost()

    def close(self) -> None:
        with self._lock:
            self._db.close()

    def _open(self) -> sqlite3.Connection:
        # SQLite's own waiting leaves out the moment in which another process makes the file or ends with it.
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._open_once()
            except UnicodeDecodeError as error:
                raise _Damaged("names that are no text") from error
            except sqlite3.DatabaseError as error:
                if error.sqlite_errorcode & 0xFF in _DAMAGE:
                    raise _Damaged(str(error)) from error
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    raise Unreachable(
                        f"cannot open {self._path} ({error})", "check its permissions and free space"
                    ) from error
            time.sleep(0.02)

    def _open_once(self) -> sqlite3.Connection:
        for suffix in ("-wal", "-shm"):
            atomic.tighten(self._path.with_name(FILE + suffix))
        with contextlib.suppress(OSError):
            # Where no file can be made, SQLite says why.
            atomic.make_private(self._path)
        db = sqlite3.connect(self._path, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False)
        try:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > VERSION:
                raise _FromTheFuture(version)
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=NORMAL")
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if version != VERSION or not tables >= TABLES:
                db.executescript(_SCHEMA)
                db.execute(f"PRAGMA user_version={VERSION}")
            _take_back(db)
            if "runs" not in tables:
                self._lost.append("there was no registry")
            self._inode = self._path.stat().st_ino
        except BaseException:
            db.close()
            raise
        return db

    def _is_ours(self) -> bool:
        """Whether the file that we have open still has its name: another process may have put it aside."""
        try:
            return self._path.stat().st_ino == self._inode
        except FileNotFoundError:
            return False

    def _mend(self, damage: _Damaged) -> None:
        LOG.error("the registry is mended: %s", damage)
        try:
            if isinstance(damage, _BadRows):
                self._put_rows_aside(damage)
            elif isinstance(damage, _Incomplete) or not self._is_ours():
                self._db.close()
                self._db = self._open()
            else:
                self._db.close()
                self._begin_anew(f"damaged ({damage})")
        except _Damaged as worse:
            self._db.close()
            self._begin_anew(f"damaged ({worse})")
        self._tell_what_was_lost()

    def _begin_anew(self, why: str) -> None:
        """Put the file aside and make another one, of what can still be read."""
        self.set_aside = self._move_aside()
        self._db = self._open()
        _save(self.set_aside, self._db)
        saved = self._db.execute("SELECT count(*) FROM runs").fetchone()[0]
        self._lost = [f"the registry was {why}; it is kept as {self.set_aside}, {saved} of its runs could be read"]

    def _tell_what_was_lost(self) -> None:
        while self._restore and self._lost:
            self._restore(self._lost.pop(0))

    def _move_aside(self) -> Path:
        target = name = self._path.with_name(f"{FILE}.kept-{time.strftime('%Y%m%d-%H%M%S')}")
        number = 1
        while target.exists():
            number += 1
            target = name.with_name(f"{name.name}-{number}")
        for suffix in ("", "-wal", "-shm"):
            # Another process may have done it in this moment.
            with contextlib.suppress(FileNotFoundError):
                self._path.with_name(FILE + suffix).rename(target.with_name(target.name + suffix))
        return target

    def _put_rows_aside(self, bad: _BadRows) -> None:
        with self._transaction() as db:
            for run_id, _ in bad.rows:
                db.execute(
                    "INSERT OR REPLACE INTO refused SELECT id, tag, created_at, record FROM runs WHERE id = ?",
                    (run_id,),
                )
                db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
        named = ", ".join(f"{tag} ({run_id})" for run_id, tag in bad.rows[:5])
        self._lost.append(f"what was recorded of {named} cannot be read ({bad}); it is kept aside")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._is_ours():
                raise _Damaged("it is gone")
            try:
                yield self._db
            except UnicodeDecodeError as error:
                # SQLite told of the damage by a name that is part of it.
                raise _Damaged("names that are no text") from error
            except sqlite3.Error as error:
                # What Python itself raises, as after `close`, has no code.
                code = getattr(error, "sqlite_errorcode", 0) & 0xFF
                if code == sqlite3.SQLITE_ERROR and "no such table" in str(error):
                    raise _Incomplete(str(error)) from error
                if code in _DAMAGE:
                    raise _Damaged(str(error)) from error
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

    @_mending
    def all(self) -> list[Run]:
        """Every run, newest first."""
        with self._reading() as db:
            rows = db.execute("SELECT id, tag, record FROM runs ORDER BY created_at DESC, id").fetchall()
        return _runs(rows)

    @_mending
    def get(self, run_id: str) -> Run:
        with self._reading() as db:
            row = db.execute("SELECT id, tag, record FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NoSuchRun(f"no run {run_id[:60]!r}", "nanochat-tui ls shows them all")
        return _runs([row])[0]

    def find(self, name: str) -> Run:
        """A run by id, tag, unique prefix of either, or `last`. Raises NoSuchRun, or UsageError if several match."""
        return find(self.all(), name)

    @_mending
    def add(self, run: Run, renamed: Run | None = None) -> Run:
        """Put down a new run; one without a tag gets one. Raises UsageError when its tag is taken.

        `renamed` is the run that had the tag, under the name that it gets.
        """
        with self._transaction() as db:
            if renamed:
                self._write(db, renamed)
            if not run.tag:
                tags = {tag for (tag,) in db.execute("SELECT tag FROM runs")}
                run = named(run, new_tag(run.spec.model, tags))
            taken = db.execute(
                "SELECT id, tag, record FROM runs WHERE tag = ? AND id != ?", (run.tag, run.id)
            ).fetchone()
            if taken:
                other = _runs([taken])[0]
                verb = "watch shows it" if other.live else "resume goes on with it"
                ways = (
                    "choose another --tag" if other.state is State.DONE else f"{verb}, another --tag starts a new one"
                )
                raise UsageError(
                    f"tag {run.tag!r} is taken by run {other.id} ({other.state})",
                    f"{ways}; --force-restart takes the tag over and keeps the old run's files",
                    field="tag",
                )
            LOG.info("%s (%s) on %s: %s", run.tag, run.id, run.backend, run.state)
            self._write(db, run)
            return run

    @_mending
    def update(self, run_id: str, change: Callable[[Run], Run]) -> Run:
        """Change one run in a transaction and return it as it now is."""
        with self._transaction() as db:
            row = db.execute("SELECT id, tag, record FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise NoSuchRun(f"run {run_id} is gone", "it was deleted meanwhile")
            before = _runs([row])[0]
            after = change(before)
            if after.state != before.state:
                LOG.info("%s (%s), attempt %d: %s -> %s", after.tag, run_id, after.attempt, before.state, after.state)
            if after != before:
                raw, *both = msgspec.json.decode(row[2]), msgspec.to_builtins(before), msgspec.to_builtins(after)
                self._write(db, after, stored.merged(raw, *both))
            return after

    @_mending
    def first_to_tell(self, key: str) -> bool:
        """Whether nobody has told of this yet; from now on somebody has."""
        with self._transaction() as db:
            return db.execute("INSERT OR IGNORE INTO told VALUES (?)", (key,)).rowcount == 1

    @_mending
    def may_tell(self, key: str) -> Telling:
        """Whose it is to tell of this: ours from now on, that of another process while it lives, or it is told."""
        with self._reading() as db:
            if db.execute("SELECT 1 FROM told WHERE key = ?", (key,)).fetchone():
                return Telling.TOLD
        with self._transaction() as db:
            if db.execute("SELECT 1 FROM told WHERE key = ?", (key,)).fetchone():
                return Telling.TOLD
            other = db.execute("SELECT by FROM telling WHERE key = ?", (key,)).fetchone()
            if other and process.pid_if_alive(other[0]) is not None:
                return Telling.OTHERS
            db.execute("INSERT OR REPLACE INTO telling VALUES (?, ?)", (key, process.call_id(os.getpid())))
            return Telling.OURS

    @_mending
    def end_telling(self, key: str, *, told: bool) -> None:
        """Put down that it is told; or leave it to whoever looks next."""
        with self._transaction() as db:
            db.execute("DELETE FROM telling WHERE key = ?", (key,))
            if told:
                db.execute("INSERT OR IGNORE INTO told VALUES (?)", (key,))

    @_mending
    def begin(self, wanted: Wanted) -> None:
        """Remember a download until `end`, and that this process is at it."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO downloads VALUES (?, ?)", (wanted.key(), process.call_id(os.getpid())))

    @_mending
    def end(self, wanted: Wanted) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM downloads WHERE wanted = ?", (wanted.key(),))

    @_mending
    def cut(self) -> list[Wanted]:
        """Downloads that have not ended, though nobody is at them any more."""
        with self._reading() as db:
            rows = db.execute("SELECT wanted, by FROM downloads").fetchall()
        found = []
        for key, by in rows:
            # What is no download of ours cannot be offered again, and holds up none that can.
            with contextlib.suppress(TypeError, ValueError, msgspec.ValidationError):
                wanted = Wanted(*json.loads(key))
                if process.pid_if_alive(by) is None:
                    found.append(msgspec.convert(msgspec.to_builtins(wanted), Wanted))
        return found

    @_mending
    def remove(self, run_id: str) -> None:
        with self._transaction() as db:
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))

    @staticmethod
    def _write(db: sqlite3.Connection, run: Run, record: object = None) -> None:
        db.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET tag = excluded.tag, created_at = excluded.created_at, record = excluded.record",
            (run.id, run.tag, run.created_at, msgspec.json.encode(record or run)),
        )


def _runs(rows: list[tuple[str, str, bytes]]) -> list[Run]:
    """The runs in rows of id, tag and record. Raises _BadRows for those that are none."""
    found, bad, why = [], [], ""
    for run_id, tag, record in rows:
        try:
            run = run_of(record if isinstance(record, bytes | str) else b"")
        except stored.UNREADABLE as error:
            bad.append((run_id, tag))
            why = str(error)
        else:
            found.append(run)
            if run.id != run_id:
                bad.append((run_id, tag))
                why = "it is of another run"
    if bad:
        raise _BadRows(bad, why)
    return found


def _take_back(db: sqlite3.Connection) -> None:
    """Rows that an older release could not read, and this one can."""
    for row in db.execute("SELECT id, tag, created_at, record FROM refused").fetchall():
        with contextlib.suppress(_BadRows):
            _runs([(row[0], row[1], row[3])])
            db.execute("BEGIN IMMEDIATE")
            db.execute("INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?)", row)
            db.execute("DELETE FROM refused WHERE id = ?", (row[0],))
            db.execute("COMMIT")


def _save(damaged: Path, into: sqlite3.Connection) -> None:
    """All rows of a damaged file that can still be read, from both of its ends."""
    for table in sorted(TABLES):
        for order in ("ASC", "DESC"):
            with (
                contextlib.suppress(sqlite3.Error, UnicodeDecodeError),
                contextlib.closing(sqlite3.connect(damaged)) as db,
            ):
                for row in db.execute(f"SELECT * FROM {table} ORDER BY 1 {order}"):
                    into.execute(f"INSERT OR IGNORE INTO {table} VALUES ({', '.join('?' * len(row))})", row)
