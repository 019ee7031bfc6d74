"""What this machine remembers: runs, which can be found on their volumes again, and downloads that were begun."""

import contextlib
import os
import sqlite3
from collections.abc import Callable, Iterable

import msgspec
from msgspec import Struct

from runner import processes
from runner.errors import NoSuchRun, UsageError
from runner.fleet.registry_file import RegistryFile, decode_runs, with_repair
from runner.model import identifiers, stored
from runner.model.identifiers import new_tag
from runner.model.paid import Account, account_of
from runner.model.run import Run, named, renewed
from runner.model.states import State
from runner.monitoring.ledger import account
from runner.monitoring.letters import LONGEST_PAUSE_S, NotificationClaim, PendingDelivery
from runner.system import read_only
from runner.system.client_log import LOG

# Looks at all runs on record, and raises where something must not be written down beside them.
Check = Callable[[list[Run]], None]


class DownloadRequest(Struct, frozen=True):
    """A download that somebody asked for: a path of a volume, the folder of this disk, what it is called there."""

    backend: str
    location: str
    path: str
    folder: str
    local_name: str = ""
    overwrite: bool = False

    def key(self) -> str:
        """As a line of JSON, which also takes names that are no valid Unicode."""
        import json

        return json.dumps(msgspec.structs.astuple(self))


# The longest that a letter waits between two tries.
def find_run(runs: list[Run], name: str, *, whole: bool = False) -> Run:
    """A run by id, tag, unique prefix of either, or `last`, of `runs` newest first; an id is never another's tag.

    With `whole`, for what destroys, a prefix is answered with the name that it stands for. Raises NoSuchRun, or
    UsageError if several match.
    """
    if name == "last" and runs:
        return runs[0]
    for called in ("id", "tag", "folder"):
        for run in runs:
            if name and name == getattr(run, called):
                return run
    matches = [r for r in runs if name and (r.id.startswith(name) or r.tag.startswith(name))]
    if len(matches) > 1:
        named = ", ".join(f"{r.tag} ({r.id})" for r in matches[:5])
        raise UsageError(f"{name[:60]!r} fits several runs: {named}", "give more letters")
    if not matches:
        import difflib

        near = difflib.get_close_matches(name[:60], [r.tag for r in runs], n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise NoSuchRun(f"no run {name[:60]!r}", f"{meant}nanochat-tui ls shows them all")
    if whole:
        found = matches[0]
        raise UsageError(f"{name[:60]!r} is only the beginning of {found.tag} ({found.id})", "type the whole name")
    return matches[0]


class Registry(RegistryFile):
    """Runs by id and tag, what was told of them, and downloads; every change is one transaction."""

    # What was read last: the rows, and the runs in them.
    _known: tuple[list[tuple[str, str, bytes]], list[Run]] = ([], [])

    @with_repair
    def all(self) -> list[Run]:
        """Every run, newest first; one whose record is as it was is the same as before."""
        with self.reading() as db:
            rows = db.execute("SELECT id, tag, record FROM runs ORDER BY created_at DESC, id").fetchall()
        known = {row[0]: (row, run) for row, run in zip(*self._known, strict=True)}
        changed = [row for row in rows if row[0] not in known or known[row[0]][0] != row]
        read = {run.id: run for run in decode_runs(changed)}
        found = [read.get(row[0]) or known[row[0]][1] for row in rows]
        self._known = rows, found
        return list(found)

    @with_repair
    def version(self) -> tuple[int, int]:
        """Another one whenever anybody, here or in another process, has changed something."""
        with self.reading() as db:
            ((by_others,),) = db.execute("PRAGMA data_version").fetchall()
            return by_others, db.total_changes

    @with_repair
    def get(self, run_id: str) -> Run:
        with self.reading() as db:
            row = db.execute("SELECT id, tag, record FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise NoSuchRun(f"no run {run_id[:60]!r}", "nanochat-tui ls shows them all")
        return decode_runs([row])[0]

    def find(self, name: str, *, whole: bool = False) -> Run:
        """A run by id, tag, unique prefix of either, or `last`. Raises NoSuchRun, or UsageError if several match.

        `whole` is for what destroys: then a prefix is refused.
        """
        return find_run(self.all(), name, whole=whole)

    @with_repair
    def add(self, run: Run, renamed: Run | None = None, check: Check | None = None) -> Run:
        """Insert a run; generate a tag if it has none. Raises UsageError when its tag is taken.

        `renamed` is the run that had the tag, under the name that it gets. `check` is given all runs on record in the
        same transaction, and may raise.
        """
        with self.transaction() as db:
            self._check(db, check)
            if renamed:
                self._write(db, renamed)
            if not run.tag:
                tags = {tag for (tag,) in db.execute("SELECT tag FROM runs")}
                run = named(run, new_tag(run.spec.model, tags))
            taken = db.execute(
                "SELECT id, tag, record FROM runs WHERE tag = ? AND id != ?", (run.tag, run.id)
            ).fetchone()
            # A name means one run: a tag is no other run's id or folder.
            meant = (run.tag, identifiers.id_of(run.tag), run.id)
            rows = db.execute("SELECT id, tag, record FROM runs WHERE id IN (?, ?) AND id != ?", meant).fetchall()
            for other in () if taken else decode_runs(rows):
                if run.tag in (other.id, other.folder):
                    raise UsageError(f"{run.tag!r} is the run {other.tag}", "choose another --tag", field="tag")
            if taken:
                other = decode_runs([taken])[0]
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

    @with_repair
    def update(self, run_id: str, change: Callable[[Run], Run], check: Check | None = None) -> Run:
        """Change one run in a transaction and return it as it now is; `check` as for `add`."""
        with self.transaction() as db:
            self._check(db, check)
            row = db.execute("SELECT id, tag, record FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row is None:
                raise NoSuchRun(f"run {run_id} is gone", "it was deleted meanwhile")
            before = decode_runs([row])[0]
            after = change(before)
            if after.state != before.state:
                LOG.info("%s (%s), attempt %d: %s -> %s", after.tag, run_id, after.attempt, before.state, after.state)
            if after != before:
                raw = renewed(msgspec.json.decode(row[2]))
                merged = stored.merged(raw, msgspec.to_builtins(before), msgspec.to_builtins(after))
                self._write(db, after, merged)
            return after

    def _check(self, db: sqlite3.Connection, check: Check | None) -> None:
        if check:
            check(decode_runs(db.execute("SELECT id, tag, record FROM runs").fetchall()))

    @with_repair
    def mark_sent(self, key: str) -> bool:
        """Whether nobody has told of this yet; from now on somebody has."""
        with self.transaction() as db:
            return db.execute("INSERT OR IGNORE INTO told VALUES (?)", (key,)).rowcount == 1

    @with_repair
    def claim_notification(self, key: str) -> NotificationClaim:
        """Whose it is to tell of this: ours from now on, that of another process while it lives, or it is told."""
        with self.reading() as db:
            if db.execute("SELECT 1 FROM told WHERE key = ?", (key,)).fetchone():
                return NotificationClaim.TOLD
        with self.transaction() as db:
            if db.execute("SELECT 1 FROM told WHERE key = ?", (key,)).fetchone():
                return NotificationClaim.TOLD
            other = db.execute("SELECT by FROM telling WHERE key = ?", (key,)).fetchone()
            if other and processes.pid_if_alive(other[0]) is not None:
                return NotificationClaim.OTHERS
            db.execute("INSERT OR REPLACE INTO telling VALUES (?, ?)", (key, processes.call_id(os.getpid())))
            return NotificationClaim.OURS

    @with_repair
    def queue_deliveries(self, key: str, notice: bytes = b"", ways: Iterable[str] = ()) -> None:
        """Put down that it is told here; what there is to deliver beyond, by each way, stays until it is delivered."""
        with self.transaction() as db:
            db.execute("DELETE FROM telling WHERE key = ?", (key,))
            db.execute("INSERT OR IGNORE INTO told VALUES (?)", (key,))
            for way in ways:
                db.execute("INSERT OR IGNORE INTO outbox VALUES (?, ?, ?, 0, 0, '')", (key, way, notice))

    @with_repair
    def claim_delivery(self, way: str, now: float) -> PendingDelivery | None:
        """What is due to be delivered in one way, ours from now on; nothing that another process is at."""
        with self.reading() as db:
            rows = db.execute(
                "SELECT key, way, notice, tries, next_at, by FROM outbox WHERE way = ? ORDER BY next_at, key", (way,)
            ).fetchall()
        for *fields, next_at, by in rows:
            # A clock that was set back makes nothing wait longer than the longest pause.
            if next_at > now and next_at - now <= LONGEST_PAUSE_S:
                continue
            if by and processes.pid_if_alive(by) is not None:
                continue
            with self.transaction() as db:
                ours = processes.call_id(os.getpid())
                taken = "UPDATE outbox SET by = ? WHERE key = ? AND way = ? AND by = ?"
                if db.execute(taken, (ours, fields[0], way, by)).rowcount:
                    return PendingDelivery(*fields)
        return None

    @with_repair
    def mark_delivered(self, letter: PendingDelivery) -> None:
        """It has arrived, or is given up."""
        with self.transaction() as db:
            db.execute("DELETE FROM outbox WHERE key = ? AND way = ?", (letter.key, letter.way))

    @with_repair
    def deliver_later(self, letter: PendingDelivery, until: float, tries: int) -> None:
        """Leave it to whoever looks then."""
        with self.transaction() as db:
            put_off = "UPDATE outbox SET by = '', next_at = ?, tries = ? WHERE key = ? AND way = ?"
            db.execute(put_off, (until, tries, letter.key, letter.way))

    @with_repair
    def begin_download(self, wanted: DownloadRequest) -> None:
        """Remember a download until `end_download`, and that this process is at it."""
        read_only.refuse("bring files to this machine")
        with self.transaction() as db:
            db.execute("INSERT OR REPLACE INTO downloads VALUES (?, ?)", (wanted.key(), processes.call_id(os.getpid())))

    @with_repair
    def end_download(self, wanted: DownloadRequest) -> None:
        read_only.refuse("forget a download")
        with self.transaction() as db:
            db.execute("DELETE FROM downloads WHERE wanted = ?", (wanted.key(),))

    @with_repair
    def interrupted_downloads(self) -> list[DownloadRequest]:
        """Downloads that have not ended, though nobody is at them any more."""
        with self.reading() as db:
            rows = db.execute("SELECT wanted, by FROM downloads").fetchall()
        import json

        found = []
        for key, by in rows:
            # What is no download of ours cannot be offered again, and holds up none that can.
            with contextlib.suppress(TypeError, ValueError, msgspec.ValidationError):
                wanted = DownloadRequest(*json.loads(key))
                if processes.pid_if_alive(by) is None:
                    found.append(msgspec.convert(msgspec.to_builtins(wanted), DownloadRequest))
        return found

    @with_repair
    def remove(self, run_id: str) -> None:
        """Take out a run; what it has paid stays."""
        with self.transaction() as db:
            row = db.execute("SELECT id, tag, record FROM runs WHERE id = ?", (run_id,)).fetchone()
            if row and (paid := account(decode_runs([row])[0])).usd:
                db.execute("INSERT OR REPLACE INTO ledger VALUES (?, ?)", (run_id, msgspec.json.encode(paid)))
            db.execute("DELETE FROM runs WHERE id = ?", (run_id,))

    @with_repair
    def save_accounts(self, found: Iterable[Account]) -> None:
        """Remember what runs have paid that were deleted elsewhere."""
        with self.transaction() as db:
            for one in found:
                db.execute("INSERT OR IGNORE INTO ledger VALUES (?, ?)", (one.id, msgspec.json.encode(one)))

    @with_repair
    def saved_accounts(self) -> list[Account]:
        """What runs have paid that were deleted."""
        with self.reading() as db:
            rows = db.execute("SELECT record FROM ledger").fetchall()
        found = []
        for (record,) in rows:
            # What is no account of ours cannot be counted, and holds up none that can.
            with contextlib.suppress(*stored.UNREADABLE):
                found.append(account_of(record))
        return found

    @staticmethod
    def _write(db: sqlite3.Connection, run: Run, record: object = None) -> None:
        db.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE"
            " SET tag = excluded.tag, created_at = excluded.created_at, record = excluded.record",
            (run.id, run.tag, run.created_at, msgspec.json.encode(record or run)),
        )
