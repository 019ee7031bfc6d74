"""The file under the registry: opened, and when it is damaged put aside and filled again with what can be read."""

import contextlib
import functools
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from runner.errors import Unreachable
from runner.fleet.remembered import FILE as FILE
from runner.model import stored
from runner.model.run import Run, decode_run
from runner.system import atomic, locks
from runner.system.client_log import LOG

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

VERSION = 3
PATIENCE_S = 10.0
# A disk of its own that a full one leaves room on.
MEMORY = Path("/dev/shm")
# A file of which one part after the other turns out to be damaged is mended so often within one call.
MENDS = 4
TABLES = {"runs", "refused", "told", "telling", "outbox", "ledger", "downloads"}
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
CREATE TABLE IF NOT EXISTS outbox (
    key TEXT NOT NULL, way TEXT NOT NULL, notice BLOB NOT NULL, tries INTEGER NOT NULL, next_at REAL NOT NULL,
    by TEXT NOT NULL, PRIMARY KEY (key, way)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS downloads (wanted TEXT PRIMARY KEY, by TEXT NOT NULL) WITHOUT ROWID;
"""


# What SQLite finds in a damaged file. What we ask it for makes sense: if it does not, the file is not as it was made.
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_ERROR}
# What a disk says that takes nothing.
_NO_ROOM = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}


class _Damaged(Exception):
    """The file cannot be read as what it is."""


class _Incomplete(_Damaged):
    """Of the file's tables one is missing: it is made when the file is opened again."""


class _TakesNothing(_Damaged):
    """The disk under the file takes nothing, and a copy will do."""


class _BadRows(_Damaged):
    """Rows that are no runs: their ids and tags, and why one of them is none."""

    def __init__(self, rows: list[tuple[str, str]], why: str) -> None:
        super().__init__(why)
        self.rows = rows


class _FromTheFuture(Exception):
    """The file's version is above ours."""


P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R", bound="RegistryFile")


def with_repair(method: Callable[Concatenate[R, P], T]) -> Callable[Concatenate[R, P], T]:
    """A method that does its work once more where it has met damage, with what could be saved."""

    @functools.wraps(method)
    def mended(self: R, /, *args: P.args, **given: P.kwargs) -> T:
        with self._lock:
            for _ in range(MENDS):
                try:
                    return method(self, *args, **given)
                except _Damaged as damage:
                    self._mend(damage)
            raise Unreachable(f"{self._path} is damaged again and again", "see that its disk is in order")

    return mended


class RegistryFile:
    """Tables of runs, of what was told, of downloads. Safe for several processes and threads.

    A file that is damaged is kept aside, whenever that is found, and a row that is no run is, too. `restored_by` is
    told what happened, so that it can bring back what is not saved. `set_aside` is where a file went, if one did.
    With `or_copy` a copy serves where the disk takes nothing: what it is told is forgotten; `borrowed` says why.
    """

    def __init__(self, home: Path, *, or_copy: bool = False) -> None:
        self._path = home / FILE
        self._lock = threading.RLock()
        self._restore: Callable[[str], None] | None = None
        self._lost: list[str] = []
        self._inode = 0
        self.set_aside: Path | None = None
        self.borrowed, self._or_copy = "", or_copy
        self._place: TemporaryDirectory[str] | None = None
        try:
            self._db = self._open()
        except _Damaged as damage:
            self._begin_anew(f"damaged ({damage})")
        except _FromTheFuture as version:
            self._begin_anew(f"written by a newer nanochat-tui (version {version})")
        except Unreachable as error:
            if not or_copy:
                raise
            self._borrow(error)

    def restored_by(self, restore: Callable[[str], None]) -> None:
        """Who brings back what was lost, until now and from now on; it is given what happened, in words."""
        with self._lock:
            self._restore = restore
            self._tell_what_was_lost()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            if self._place:
                self._place.cleanup()

    def _borrow(self, why: Unreachable) -> None:
        """Work with a copy in memory, or where else there is room. Raises `why` where there is none."""
        import shutil
        import tempfile

        try:
            self._place = tempfile.TemporaryDirectory(prefix="nanochat-tui-", dir=MEMORY if MEMORY.is_dir() else None)
            for suffix in ("", "-wal"):
                with contextlib.suppress(FileNotFoundError):
                    shutil.copyfile(self._path.with_name(FILE + suffix), Path(self._place.name) / (FILE + suffix))
        except OSError as error:
            raise why from error
        self._path = Path(self._place.name) / FILE
        self._db = self._open()
        self.borrowed = why.what

    def _open(self) -> sqlite3.Connection:
        # SQLite's own waiting leaves out the moment in which another process makes the file or ends with it.
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self._open_once()
            except UnicodeDecodeError as error:
                raise _Damaged("names that are no text") from error
            except sqlite3.DatabaseError as error:
                if self._is_damage(error):
                    raise _Damaged(str(error)) from error
                # SQLite says that it is locked, or that the disk fails, where there are no locks.
                locks.check(self._path.parent)
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
            # Rows may be missing without a word where a page that leads to them was overwritten.
            found = db.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise _Damaged(" ".join(str(found).split())[:80])
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

    def _is_damage(self, error: sqlite3.Error) -> bool:
        # What Python itself raises, as after `close`, has no code.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        # A file that forbids itself to be written, though the disk does not.
        ours = all(os.access(path, os.W_OK) for path in (self._path, self._path.parent))
        return code in _DAMAGE or (code == sqlite3.SQLITE_READONLY and ours)

    def _mend(self, damage: _Damaged) -> None:
        LOG.error("the registry is mended: %s", damage)
        try:
            if isinstance(damage, _BadRows):
                self._put_rows_aside(damage)
            elif isinstance(damage, _TakesNothing):
                self._db.close()
                self._borrow(Unreachable(str(damage), "free some space"))
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
        with self.transaction() as db:
            for run_id, _ in bad.rows:
                db.execute(
                    "INSERT OR REPLACE INTO refused SELECT id, tag, created_at, record FROM runs WHERE id = ?",
                    (run_id,),
                )
                db.execute("DELETE FROM runs WHERE id = ?", (run_id,))
        named = ", ".join(f"{tag} ({run_id})" for run_id, tag in bad.rows[:5])
        self._lost.append(f"what was recorded of {named} cannot be read ({bad}); it is kept aside")

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            if not self._is_ours():
                raise _Damaged("it is gone")
            try:
                yield self._db
            except UnicodeDecodeError as error:
                # SQLite told of the damage by a name that is part of it.
                raise _Damaged("names that are no text") from error
            except sqlite3.Error as error:
                if "no such table" in str(error):
                    raise _Incomplete(str(error)) from error
                if self._is_damage(error):
                    raise _Damaged(str(error)) from error
                said = f"cannot use {self._path} ({error})"
                if self._or_copy and not self.borrowed and error.sqlite_errorcode & 0xFF in _NO_ROOM:
                    raise _TakesNothing(said) from error
                raise Unreachable(said, "check its permissions and free space") from error

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        with self.reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def decode_runs(rows: list[tuple[str, str, bytes]]) -> list[Run]:
    """The runs in rows of id, tag and record. Raises _BadRows for those that are none."""
    found, bad, why = [], [], ""
    for run_id, tag, record in rows:
        try:
            run = decode_run(record if isinstance(record, bytes | str) else b"")
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
            decode_runs([(row[0], row[1], row[3])])
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
