"""What is asked of a person before runs are stopped, resumed or deleted, and what is done then."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from runner.errors import NanochatError
from runner.fleet.fleet import Fleet
from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.monitoring import health
from runner.monitoring.projection import is_free, spent_usd
from runner.system import read_only
from runner.text import units
from runner.text.sanitize import sanitize_line
from runner.volumes.deletion import weigh
from runner.volumes.trash import Trashed
from tui.app.base_app import TerminalApp
from tui.background import background, start
from tui.presentation import run_summary
from tui.screens.file_actions import VolumeFiles
from tui.widgets.consent import Confirm, word_for

if TYPE_CHECKING:
    from tui.screens.advised import Other

MOST_LISTED = 8


class RunQuestions(TerminalApp):
    """An app that has a fleet and asks before it acts on runs of it; what is wrong is told as one line."""

    fleet: Fleet
    files: VolumeFiles

    def look(self) -> None:
        """Look at the runs once more, now."""
        raise NotImplementedError

    def ask_cancel(self, runs: list[Run]) -> None:
        """Ask, then stop the live ones among `runs`."""
        read_only.refuse("cancel a run")
        live = [r for r in runs if r.live]
        if not live:
            self.notify("nothing to cancel: not running", severity="warning", markup=False)
            return
        lines = [
            f"{r.tag}: {health.phase(r)}, launched {units.age(r.created_at, self.fleet.clock())} ago, "
            f"{'free' if is_free(r) else units.money(spent_usd(r, self.fleet.time_for(r))) + ' spent'}, "
            f"{run_summary.kept(r)}"
            for r in live
        ]
        saved = [r for r in live if r.status and r.status.training.saved_step]
        lines.append("A resume goes on from the last checkpoint." if saved else "A resume would begin anew.")
        command = f"nanochat-tui cancel {' '.join(r.tag for r in live)}"
        self.push_screen(
            Confirm(f"Stop {_named(live)}?", lines, command, "Stop", "Keep running"),
            lambda yes: self._act(live, self.fleet.cancel, "stopping") if yes else None,
        )

    def ask_resume(self, runs: list[Run], step: int | None = None) -> None:
        """Ask, then start the next attempt of those of `runs` that can have one, if need be from an earlier step."""
        read_only.refuse("resume a run")
        able = [r for r in runs if r.resumable]
        if not able:
            said = f"{_named(runs)} is {runs[0].state}" if len(runs) == 1 else "none of them has stopped"
            self.notify(f"nothing to resume: {said}", severity="warning")
            return
        back = f" --step {step}" if step is not None else ""
        other = self._other_way(able[0]) if len(able) == 1 and step is None else None
        asked = Confirm(
            f"Go on with {able[0].tag} from step {step:,}?" if step is not None else f"Resume {_named(able)}?",
            ["adding up what it costs …"],
            " && ".join(f"nanochat-tui resume {r.tag}{back} --yes" for r in able),
            "Resume",
            "Not now",
            waits=True,
            instead=other.says if other else "",
            other_command=other.command if other else "",
            other_yes=other.yes if other else "",
        )

        def answered(yes: bool | None) -> None:
            if yes and other and asked.instead and other.form is not None:
                self.launch_with(other.form)
            elif yes:
                resume = functools.partial(self.fleet.resume, step=step)
                if other and asked.instead:
                    resume = functools.partial(resume, budget=other.budget)
                self._act(able, resume, "resuming")

        self.push_screen(asked, answered)
        price = functools.partial(self._price, able, step, asked, other)
        start(self, price, group="act", doing="adding up what a resume costs", failed=lambda e: asked.fail(str(e)))

    def _other_way(self, run: Run) -> "Other | None":
        from tui.screens.advised import other_way
        from tui.screens.launch_form import DEFAULTS
        from tui.screens.launch_usual import first_values

        spent = spent_usd(run, self.fleet.time_for(run))
        first = first_values(DEFAULTS, self.fleet.settings)
        return other_way(run, spent, self.fleet.remaining_usd(run), first, self.fleet.effective)

    def launch_with(self, form: Mapping[str, str]) -> None:
        """Open the form of a new run with these fields filled in."""
        raise NotImplementedError

    def _price(self, runs: list[Run], step: int | None, asked: Confirm, other: "Other | None") -> None:
        from tui.screens.advised import told

        lines: list[str] = []
        for number, run in enumerate(runs):
            costs = "free" if is_free(run) else f"likely {units.money(self.fleet.remaining_usd(run))} more"
            saved = run.status.training.saved_step if run.status else None
            newest = "from its newest checkpoint" if saved else "from the beginning: no checkpoint was kept"
            where = f"from step {step:,}" if step is not None else newest
            lines.append(f"{run.tag}: attempt {run.attempt + 1}, {where}, {costs}")
            if question := self.fleet.confirmation_reason_for_resume(run, beside=runs[:number]):
                lines.append(f"! {question}")
            # Whoever goes back to a step has chosen what is otherwise.
            lines += told(run, other=other) if step is None else []
        if step is not None:
            lines.append("What it saved later is put aside, in its folder.")
        form = ["The form of a new run is filled in with that, to be looked at before it is launched."]
        ticked = form if other and other.form is not None else lines
        self.call_from_thread(functools.partial(asked.put, lines, otherwise=ticked))

    def ask_delete(self, runs: list[Run]) -> None:
        """Ask, then delete `runs`; live ones are refused."""
        read_only.refuse("delete a run")
        if not runs:
            return
        live = [r for r in runs if r.live]
        if live:
            self.notify(sanitize_line(f"{_named(live)} is live: cancel it first"), severity="warning", markup=False)
            return
        asked = Confirm(
            f"Delete {_named(runs)}?",
            ["adding up what goes …"],
            f"nanochat-tui rm {' '.join(r.tag for r in runs)}",
            "Delete",
            "Keep",
            word=word_for(_named(runs)),
            waits=True,
            instead=self.files.instead(BackendName.LOCAL) if any(map(_is_local, runs)) else "",
        )
        self.push_screen(asked, lambda yes: self._delete(runs, asked.instead) if yes else None)
        self._weigh(runs, asked)

    @background(group="act", doing="adding up what goes")
    def _weigh(self, runs: list[Run], asked: Confirm) -> None:
        try:
            weights = [weigh(self.fleet.volume_of(run), run.path) for run in runs]
        except (NanochatError, OSError) as error:
            what, listed = f"How much goes is not known: {error}. It is", _listed(runs)
        else:
            checkpoints, size = sum(w.checkpoints for w in weights), units.size(sum(w.bytes for w in weights))
            what = f"{units.pluralize(checkpoints, 'checkpoint')}, log, events and report: {size},"
            sizes = [f": {units.pluralize(w.checkpoints, 'checkpoint')}, {units.size(w.bytes)}" for w in weights]
            listed = _listed(runs, sizes if len(runs) > 1 else ())
        kept, gone = ([f"{what} {self._fates(runs, for_good=now)}", *listed] for now in (False, True))
        self.call_from_thread(functools.partial(asked.put, kept, otherwise=gone))

    def _fates(self, runs: list[Run], *, for_good: bool) -> str:
        """What becomes of them, on each backend."""
        return " Those on Modal: ".join(dict.fromkeys(self.files.fate(run.backend, for_good=for_good) for run in runs))

    def _delete(self, runs: list[Run], for_good: bool) -> None:
        """Delete runs one after the other; what is kept of them can be taken back together."""
        gone: list[Run] = []
        kept: list[Trashed | None] = []

        def delete(run: Run) -> None:
            kept.append(self.fleet.delete(run, now=for_good))
            gone.append(run)

        def told() -> None:
            if gone:
                self.files.deleted(_named(gone), kept)

        each = [functools.partial(delete, run) for run in runs]
        start(self, *each, told, self.look, group="act", doing=f"deleting {_named(runs)}", finish=True)

    def _act(self, runs: list[Run], act: Callable[[Run], object], doing: str) -> None:
        each = [functools.partial(act, run) for run in runs]
        start(self, *each, self.look, group="act", doing=f"{doing} {_named(runs)}", finish=True)


def _is_local(run: Run) -> bool:
    return run.backend is BackendName.LOCAL


def _named(runs: list[Run]) -> str:
    return runs[0].tag if len(runs) == 1 else f"{len(runs)} runs"


def _listed(runs: list[Run], notes: Sequence[str] = ()) -> list[str]:
    """Some of the runs by name and id, each with what there is to say of it."""
    lines = [f"{run.tag} ({run.id}){note}" for run, note in zip(runs, notes or [""] * len(runs), strict=True)]
    return [*lines[:MOST_LISTED], *([f"and {len(runs) - MOST_LISTED} more"] if len(runs) > MOST_LISTED else [])]
