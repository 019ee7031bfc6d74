"""Every run a person has, and what can be done with them: the one core under the app and the command line."""

import contextlib
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Self

import msgspec

from runner import settings
from runner.errors import CredentialsError, NanochatError, Unreachable, UsageError
from runner.fleet.core import Core
from runner.fleet.own_code import CodeStore
from runner.fleet.places import OUT_OF_DEMO, Places
from runner.fleet.polling import Poller
from runner.fleet.registry import Check, Registry
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.monitoring import ledger
from runner.monitoring.heartbeat_age import BEATS_S
from runner.monitoring.projection import spent_usd
from runner.nanochat import layout
from runner.paths import data_dir, is_demo
from runner.settings import LoadedSettings, Settings
from runner.system import read_only
from runner.text import units

if TYPE_CHECKING:
    from runner.backends.base import Backend
    from runner.fleet.discovery import Discovery
    from runner.fleet.launching import Launcher
    from runner.fleet.planner import Planner
    from runner.nanochat.code_facts import CodeFacts
    from runner.planning.plan import Plan
    from runner.source.difference import Change
    from runner.source.origin import Obtained
    from runner.volumes.base import Volume
    from runner.volumes.checkpoint_verdicts import Checkpoint
    from runner.volumes.trash import Trashed

# How often a log that is followed is looked at.
FOLLOW_S = 0.25


class Fleet:
    """Launch, watch, resume, cancel and delete runs. Its methods do I/O: call them from a thread, not from a UI loop.

    `home` is the data folder, `volume` the volume to use instead of the usual one. `say` is told at once what takes
    long or should be known; without it, `notices` collects that. With `or_copy` it works, without a memory, where the
    data folder takes nothing: what is running can still be seen and ended. Safe for several threads and processes.

    Raises UsageError or Unreachable where there can be no data folder. Every method may raise Unreachable and
    CredentialsError where a backend is asked.
    """

    def __init__(
        self,
        home: Path | None = None,
        *,
        volume: str = "",
        clock: Callable[[], float] = time.time,
        say: Callable[[str], None] | None = None,
        or_copy: bool = False,
    ) -> None:
        self.home = home = home or data_dir()
        self.notices: list[str] = []
        self.say = say or self.notices.append
        self.clock = clock
        # What is urgent goes on over a variable that makes no sense.
        wrong: list[UsageError] | None = [] if or_copy else None
        self.is_demo = is_demo(home)
        self.effective = settings.effective(home, self._variables(), wrong)
        self._places = Places(
            home, "" if self.is_demo else volume, self.effective.settings, lambda text: self.say(text)
        )
        self.registry = Registry(home, or_copy=or_copy)
        self._polls = Poller(self.registry, self.backend, lambda: self.clock(), lambda text: self.say(text))
        self._core = Core(
            self.registry,
            self._polls,
            self._places,
            lambda: self.clock(),
            lambda text: self.say(text),
            CodeStore(home),
        )
        # What deleted runs have paid, as of the last look.
        self.deleted_accounts = self.registry.saved_accounts()
        self.registry.restored_by(self._rebuild)
        if self.registry.borrowed:
            self.say(f"{self.registry.borrowed}; what is done now is not written down here")
        for problem in wrong or ():
            self.say(f"{problem}; it is passed over")
        self._say_what_is_not_obeyed(self.effective.loaded)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _variables(self) -> Mapping[str, str]:
        """The variables that settings are taken from: in a demo none, as they name what is the person's own."""
        return settings.without_variables(os.environ) if self.is_demo else os.environ

    @property
    def reaches_modal(self) -> bool:
        """Whether Modal can be asked at all, as far as that is known without asking it."""
        return self._places.reaches_modal

    @property
    def settings(self) -> Settings:
        """What is set for all runs on this machine, in its file or by variables."""
        return self._places.settings

    def backend(self, name: str) -> "Backend":
        """The backend of that name. Raises CredentialsError where Modal's client cannot be loaded."""
        return self._places.backend(name)

    def volume_location(self, backend: str, engine: str) -> str:
        """Where a new run would keep its files: the volume given with --volume, else the engine's own."""
        return self._places.volume_location(backend, engine)

    def volume_of(self, run: Run) -> "Volume":
        """A run's volume. Raises Unreachable for a run of another workspace: a volume of that name is not its own."""
        return self._places.volume_of(run)

    @property
    def unreachable(self) -> dict[str, str]:
        """By run id, what kept the last look at it from being an answer."""
        return self._polls.unreachable

    def _say_what_is_not_obeyed(self, found: LoadedSettings) -> None:
        """Of the settings. Names of a newer release are told once and kept; what is wrong, until it is mended."""
        if found.damage:
            self.say(f"{found.damage}; until then all settings are as if never set")
        if found.odd:
            self.say(f"{found.file}: the values of {', '.join(found.odd)} make no sense; their defaults are used")
        unknown = ", ".join(name[:40] for name in found.unknown[:8])
        if unknown and not read_only.is_set() and self.registry.mark_sent(f"settings/{unknown}"):
            self.say(f"{found.file}: {unknown} mean nothing to this release; they are kept")

    def _rebuild(self, lost: str) -> None:
        """Bring back, from the records on all known volumes, what the registry has lost."""
        known = self.registry.all()
        found = self._discovery.in_folders(self._known_folders())
        if found or known or self.registry.set_aside:
            self.say(f"{lost}; {units.pluralize(len({run.id for run in found}), 'run')} came back from the volumes")

    def _known_folders(self) -> list[str]:
        """Folders that serve as volumes, or have served, or are to: without those that only runs name."""
        from runner.volumes import known_volumes

        given = ""
        with contextlib.suppress(UsageError):
            # It is told where it is asked for.
            given = self._places.folder_given()
        own = {str(p) for p in (self.home / "volumes").glob("*")}
        return sorted({*own, *known_volumes.known(self.home), given} - {""})

    def workspace(self) -> str:
        """Whose Modal a launch would go to, and its environment, as `name/environment`."""
        where = self.backend(BackendName.MODAL).current_workspace()
        return "/".join(filter(None, (where.name, where.environment)))

    def discover(self) -> list[Run]:
        """Runs on the known Modal volumes that this machine has never seen, such as those of another laptop."""
        return self._discovery.on_modal(self._places.named_on_modal())

    @functools.cached_property
    def _planner(self) -> "Planner":
        # Who only looks at runs plans nothing: it takes a third of the time to start.
        from runner.fleet.planner import Planner

        return Planner(self._core)

    @functools.cached_property
    def _discovery(self) -> "Discovery":
        from runner.fleet.discovery import Discovery

        return Discovery(self.registry, self._polls, self.backend)

    @functools.cached_property
    def _launcher(self) -> "Launcher":
        from runner.fleet.launching import Launcher

        return Launcher(self._core, self._planner, self.home)

    def code(self, text: str, *, include_secrets: bool = False) -> Code:
        """Pack a person's own nanochat: a folder, `owner/name@REF`, an address of git with `@REF`, `upstream@COMMIT`.

        What is packed does not change any more, whatever becomes of the folder. It is read, never run. Blocks while git
        fetches. Raises UsageError for what is no nanochat, does not compile, is too large or holds secrets.
        """
        found = self.obtain_code(text, include_secrets=include_secrets)
        if found.note:
            self.say(f"--code: {found.note}")
        return found.code

    def same_code(self, code: Code, backend: str, source: Run | None = None) -> Code:
        """The very state of code that a record names, from this machine or the volume that a launch would use.

        It is brought here, where it was not. Raises UsageError where it is nowhere.
        """
        location = source.volume if source else self._places.volume_location(backend, "nanochat")
        return self._core.code.again(code, lambda: self.backend(backend).volume(location))

    def obtain_code(self, text: str, *, include_secrets: bool = False) -> "Obtained":
        """The same, with what is known of that code, and a note for people."""
        read_only.refuse("pack code of this machine")
        if self.is_demo:
            raise UsageError("this is a demo: it trains nobody's code", OUT_OF_DEMO, field="code")
        return self._core.code.obtain(text, include_secrets=include_secrets)

    def code_facts(self, code: Code | None) -> "CodeFacts":
        """The scripts of somebody's code and the flags that each takes; of None those of the pinned upstream.

        Code of which nothing is known on this machine takes any flag.
        """
        from runner.nanochat import code_facts

        if code is None:
            return code_facts.pinned()
        return self._core.code.facts(code.sha) or code_facts.unknown()

    def code_difference(self, old: Run, new: Run) -> "tuple[list[tuple[str, Change]], str]":
        """Which files of two runs' code differ, and a unified diff of them; nothing where one has the pinned upstream.

        Both are text of strangers. Blocks while archives are read. Raises NanochatError where one is gone or damaged.
        """
        if old.spec.code is None or new.spec.code is None:
            return [], ""
        return self._core.code.difference((self.volume_of(old), old.spec.code), (self.volume_of(new), new.spec.code))

    def code_diff(self, run: Run) -> bytes:
        """How a run's code differs from the commit that it is built on, as it was written down at its launch.

        Empty where it does not; it is text of strangers. Raises UsageError where nothing is known of it.
        """
        if run.spec.code is None:
            raise UsageError(
                f"{run.tag} trains the pinned upstream", "launch with --code to train your own", field="code"
            )
        try:
            return self.volume_of(run).read(f"{run.path}/{layout.DIFF_FILE}")
        except FileNotFoundError as error:
            if run.spec.code.base:
                return b""
            raise UsageError(
                f"nothing is known of what the code of {run.tag} is built on",
                "a folder with nanochat's history, or with changes since its last commit, has a difference",
            ) from error

    def plan(self, spec: RunSpec, backend: str) -> "Plan":
        """What a launch would do now. An unreachable or new volume counts as empty."""
        return self._planner.plan(spec, backend)

    def confirmation_reason(self, spec: RunSpec, likely: Decimal, *, others: Decimal = Decimal(0)) -> str:
        """Why a launch of that likely cost should ask first; empty when it need not. A budget is the most it can be.

        `others` are dollars that are asked for at the same time.
        """
        runs: list[Run] = []
        if self.settings.monthly_limit_usd and likely:
            self._look_for_others()
            runs = self.poll_all()
        return self._reason(spec, likely, runs, others)

    def _reason(self, spec: RunSpec, likely: Decimal, runs: list[Run], others: Decimal = Decimal(0)) -> str:
        now = self.clock()
        month, live = ledger.month_so_far(runs, self.deleted_accounts, now), ledger.committed_usd(runs, now) + others
        return ledger.confirmation_reason(self.settings, likely, spec.budget_usd, month, live)

    def _look_for_others(self) -> None:
        """Runs of another laptop spend the same money."""
        if self.reaches_modal:
            # What cannot be reached is not known now, and a launch there will say so.
            with contextlib.suppress(Unreachable, CredentialsError):
                self.discover()

    def confirmation_reason_for_resume(
        self, run: Run, budget: Decimal | None = None, *, beside: Sequence[Run] = ()
    ) -> str:
        """Why a resume should ask first: what the rest is likely to cost; empty when it need not.

        `beside` are runs that go on with it: what theirs may cost is spent of the same month.
        """
        rests = [self._rest(other, None) for other in beside]
        others = sum((ledger.at_most_usd(likely, spec.budget_usd) for spec, likely in rests), Decimal(0))
        return self.confirmation_reason(*self._rest(run, budget), others=others)

    def _rest(self, run: Run, budget: Decimal | None) -> tuple[RunSpec, Decimal]:
        """The spec of a run with what is left of its budget, and what its rest is likely to cost."""
        cap = budget if budget is not None else run.spec.budget_usd
        left = None if cap is None else max(cap - spent_usd(run), Decimal(0))
        return msgspec.structs.replace(run.spec, budget_usd=left), self.remaining_usd(run)

    def remaining_usd(self, run: Run) -> Decimal:
        """What the rest of a run that goes on is likely to cost."""
        whole = run.estimate.usd.likely if run.estimate else Decimal(0)
        return max(whole - spent_usd(run), whole / 10)

    def find(self, name: str) -> Run:
        """A run by id, tag, unique prefix of either, or `last`. Raises NoSuchRun, or UsageError if several match."""
        return self.registry.find(name)

    def launch(
        self,
        spec: RunSpec,
        *,
        backend: str = BackendName.LOCAL,
        tag: str = "",
        force_restart: bool = False,
        unasked: bool = False,
    ) -> Run:
        """Start a new run. The intent is on record before anything is spawned, so no run can get lost.

        `unasked`: there was no reason to ask for a confirmation. Raises UsageError where there is one by now, as
        somebody else has launched a run meanwhile.
        """
        read_only.refuse("launch a run")
        limited = unasked and self.settings.monthly_limit_usd
        check = self._within_the_month(spec, self.plan(spec, backend).usd.likely) if limited else None
        return self._launcher.launch(spec, backend=backend, tag=tag, force_restart=force_restart, check=check)

    def resume(
        self,
        run: Run,
        *,
        gpus: int | None = None,
        budget: Decimal | None = None,
        step: int | None = None,
        code: Code | None = None,
        unasked: bool = False,
    ) -> Run:
        """Start the next attempt of a run that has ended without being done, if need be on other GPUs, with more money.

        It trains the same code as before, unless other `code` is given.

        With `step` it goes back to that checkpoint; what was saved later is put aside. `unasked` as for `launch`.
        Raises UsageError when its checkpoint is of another number of GPUs or not whole, or when its budget is spent.
        """
        read_only.refuse("resume a run")
        limited = unasked and self.settings.monthly_limit_usd
        check = self._within_the_month(*self._rest(run, budget)) if limited else None
        return self._launcher.resume(run, gpus=gpus, budget=budget, step=step, code=code, check=check)

    def _within_the_month(self, spec: RunSpec, likely: Decimal) -> Check:
        """Hold two launches of the same moment to the month's limit, each of which was found to be within it."""

        def check(runs: list[Run]) -> None:
            if reason := self._reason(spec, likely, runs):
                raise UsageError(f"not started: {reason}", "another run was launched meanwhile; try again to be asked")

        return check

    def cancel(self, run: Run) -> Run:
        """Ask a live run to stop and keep what is saved; one that does not answer is ended by force later.

        Whatever else cannot be reached, what is known to run is ended. Raises Unreachable when something may go on.
        """
        read_only.refuse("cancel a run")
        from runner.fleet import ending

        return ending.cancel(self._core, run)

    def delete(self, run: Run, *, forget: bool = False, now: bool = False) -> "Trashed | None":
        """Remove a run that is not live: its folder on the volume, its work space, its record.

        On a volume of this machine it can be brought back for `trash_days` by what is returned; `now` deletes for good.
        `forget` removes the record although the volume cannot be reached, of a run whose calls have verifiably ended.
        """
        read_only.refuse("delete a run")
        from runner.fleet import ending

        return ending.delete(self._core, run, self._log_folder(run), self.discover, forget=forget, now=now)

    def kept_days(self, backend: str) -> int:
        """For how many days what is deleted there can be brought back; 0 where it is gone at once."""
        return self._places.kept_days(backend)

    def remove_files(self, backend: str, location: str, paths: Sequence[str], *, now: bool = False) -> "Trashed | None":
        """Delete files and folders of a volume; what to bring them back by, where they are kept, as for `delete`."""
        read_only.refuse("delete files")
        from runner.fleet import trashing

        volume = self.backend(backend).volume(location)
        return trashing.remove(self._core, volume, backend, paths, now=now)

    def trash(self) -> "list[Trashed]":
        """What was deleted from volumes of this machine and can be brought back, the newest first."""
        from runner.fleet import trashing

        return trashing.in_folders(self._core, self.local_folders())

    def restore(self, entry: "Trashed") -> Run | None:
        """Bring back what was deleted, and its run where it is one. Raises UsageError where something is in its place.

        A run that is live is not given files.
        """
        read_only.refuse("bring back what was deleted")
        from runner.fleet import trashing

        return trashing.restore(self._core, entry, self.runs_on_volume(BackendName.LOCAL, entry.location))

    def local_folders(self) -> list[str]:
        """The volumes of this machine that are known, and there."""
        used = {r.volume for r in self.registry.all() if r.backend is BackendName.LOCAL}
        return [folder for folder in sorted(used | set(self._known_folders())) if Path(folder).is_dir()]

    def runs_on_volume(self, backend: str, location: str) -> list[Run]:
        """The runs of a volume as they are now: what is to be deleted from it is judged by them."""
        from runner.fleet import ending

        return ending.runs_on_volume(self._core, backend, location)

    def poll_all(self, backend: str = "") -> list[Run]:
        """Every run, newest first, after a fresh look at those that may have changed, on one backend or all."""
        runs = self.registry.all()
        self.deleted_accounts = self.registry.saved_accounts()
        looked = {r.id: r for r in self._polls.poll_all([r for r in runs if backend in ("", r.backend)])}
        return [looked.get(r.id, r) for r in runs]

    def poll_run(self, run: Run) -> Run:
        """One run after a fresh look."""
        return self._polls.poll_run(run)

    def time_for(self, run: Run) -> float:
        """What time it is for a run: its heartbeat is of another clock than ours."""
        return self._polls.signs.now(run, self.clock())

    def poll_until_certain(self, runs: Sequence[Run]) -> list[Run]:
        """The same runs, after so many looks as it takes to know whether those live whose clock is another than ours.

        For who looks once; whoever looks again and again sees it.
        """
        found, until = {run.id: run for run in runs}, time.monotonic() + 2 * BEATS_S
        while doubtful := [r for r in found.values() if self._polls.signs.doubtful(r, self.clock())]:
            if time.monotonic() > until:
                break
            time.sleep(BEATS_S / 4)
            found |= {run.id: run for run in self._polls.poll_all(doubtful)}
        return list(found.values())

    def close(self) -> None:
        """Let go of connections; runs are not touched."""
        self._places.close()
        if BackendName.MODAL in self._places.used():
            self.trim_logs()
        self.registry.close()

    def checkpoints(self, run: Run) -> "list[Checkpoint]":
        """A run's checkpoints as they are on its volume now, with what was measured where."""
        from runner.volumes import run_records
        from runner.volumes.best import with_measures

        volume = self.volume_of(run)
        found = run_records.own_checkpoints(volume, run)
        return with_measures(found, run_records.measured(volume, run)) if found else found

    def watch(self, run: Run, *, every_s: float = 1.0) -> Iterator[Run]:
        """The run as it is, then again whenever it has changed, until it has ended; blocks between looks.

        While its backend cannot be reached, nothing comes; `unreachable` then says why.
        """
        from runner.fleet import following

        return following.changes(following.looks(run, self.poll_run, every_s))

    def logs(self, run: Run, *, follow: bool = False) -> Iterator[str]:
        """The lines of a run's log, the oldest first, made harmless; with `follow` also those that come, to its end."""
        from runner.fleet import following
        from runner.logs.log_file import LogFile

        def ends() -> Iterator[bool]:
            """Bring the log at each look; whether it was the last."""
            for current in following.looks(run, self.poll_run, FOLLOW_S):
                self.pull_log(current)
                yield not (follow and current.live)
                if not follow:
                    return

        return following.lines(LogFile(self.log_file(run)), ends())

    def download(self, run: Run, path: str, folder: Path, *, overwrite: bool = False) -> list[Path]:
        """Bring a file or a folder of a run's folder into one of this disk; "" is all of it. Returns the files.

        What was brought before is not read again, and a download that was cut goes on. Raises UsageError for a file
        that is not there, or where one of the person's own is in the way, and NanochatError when not all came.
        """
        from runner.transfer.download import Download, list_files

        volume = self.volume_of(run)
        try:
            items = list_files(volume, f"{run.path}/{path}".rstrip("/"), "" if path else run.tag)
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(f"{run.tag} has no {path or 'files'}", "its folder may hold others") from error
        bringing = Download(volume, items, folder, overwrite=overwrite)
        bringing.run()
        if bringing.warnings:
            raise NanochatError("; ".join(bringing.warnings[:3]), "download it again")
        return [folder / item.target for item in items]

    def log_file(self, run: Run) -> Path:
        """The file on this disk that holds the run's log, its events beside it; `pull_log` brings it up to date."""
        return self._log_folder(run) / layout.LOG_FILE

    def _log_folder(self, run: Run) -> Path:
        return Path(run.volume) / run.path if run.backend is BackendName.LOCAL else self.home / "logs" / run.id

    def pull_log(self, run: Run) -> None:
        self.backend(run.backend).pull_log(run, self._log_folder(run))

    def trim_logs(self) -> int:
        """Keep no more logs of Modal runs on this disk than is set; bytes that went."""
        from runner.logs import cache

        live = {run.id for run in self.registry.all() if run.live}
        return cache.trim(self.home / "logs", int(self.settings.keep_logs_gb * 10**9), live)

    def put_setting(self, name: str, value: str) -> None:
        """Set one of the settings for good. Raises UsageError, also where the file is damaged."""
        if self.is_demo and name in settings.SECRET:
            raise UsageError("this is a demo: it tells nobody", OUT_OF_DEMO, field=name)
        settings.put(self.home, name, value, lambda text: self.say(text))
        self.effective = settings.effective(self.home, self._variables(), [])
        self._places.settings = self.effective.settings

    def billed(self, run: Run) -> dict[str, Decimal] | None:
        """What was billed for the run's app in the hours of the run; None where nobody tells."""
        return self.backend(run.backend).billed(run)
