"""The end of a stage -> what happened in one line, and what to do about it."""

import contextlib
import math
import shutil
import sys
from collections.abc import Callable, Collection
from pathlib import Path

import msgspec
from msgspec import Struct, field

from runner.diagnosis.advice import ADVICE, CHECK_NETWORK, CanResume, Cause
from runner.diagnosis.alarms import non_finite
from runner.diagnosis.causes import cause_of, disk_cause
from runner.diagnosis.evidence import Evidence
from runner.diagnosis.telling import ProblemLines, lines_of_verdict
from runner.diagnosis.verdict import MOST, ExitStatus, diagnose
from runner.job.supervise import ProcessExit
from runner.model import events
from runner.model.events import Event
from runner.model.overrides import Overrides
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.status import RESUME, Change, Outcome, OutcomeKind, Status, resume_begins
from runner.nanochat.command_lines import MATRIX_LR
from runner.text import units

PUT_RIGHT = "put that right, then resume"
_WITHOUT_FA3 = ("Flash Attention 3 not available", "Flash Attention 3 only supports")


class FailureTracker(Struct):
    """What a stage said that explains its end."""

    evidence: Evidence = field(default_factory=Evidence)
    telling: ProblemLines = field(default_factory=ProblemLines)
    downloaded: events.Downloaded | None = None
    lost: str = ""
    without_fa3: bool = False

    def add_line(self, line: str, event: Event | None, number: int) -> None:
        """One line more, and its number in what this job writes of the log."""
        self.evidence.add_line(line, event, number)
        self.telling.add_line(line, event, number)
        if not self.lost and isinstance(event, events.Step | events.ValBpb) and (gone := non_finite(event)):
            self.lost = f"the {gone}" + (f" since step {event.step:,}" if event.step is not None else "")
        elif isinstance(event, events.Downloaded):
            self.downloaded = event
        elif isinstance(event, events.Warned) and event.text.startswith(_WITHOUT_FA3):
            self.without_fa3 = True


def unwanted_reason(stage: StageName, trail: FailureTracker, asked: Overrides) -> Outcome | None:
    """Why a stage is to be stopped as it is going, by what the person has asked for."""
    if asked.stop_on_nan and trail.lost:
        return Outcome(OutcomeKind.NAN, trail.lost, stage=stage)
    if asked.require_fa3 and trail.without_fa3:
        advice = "nanochat-tui resume RUN tries again; without --require-fa3 it trains all the same, slower"
        change = Change({"require_fa3": False})
        return Outcome(OutcomeKind.ATTENTION, "Flash Attention 3 did not load", advice, stage=stage, change=change)
    return None


def diagnose_stage(
    stage: StageName,
    ended: ProcessExit,
    trail: FailureTracker,
    *,
    stopped_for: Outcome | None = None,
    oom_kills: int = 0,
    good: Callable[[], Collection[str]] = frozenset,
) -> Outcome | None:
    """The outcome of a stage that cannot go on; None when it ended well. Exit code 0 is not trusted for downloads.

    `oom_kills`: how many processes the kernel has killed meanwhile for want of memory. `good` is asked what a run that
    ended well has said.
    """
    short = trail.downloaded if trail.downloaded and trail.downloaded.ok < trail.downloaded.total else None
    if ended.stopped and stopped_for:
        return stopped_for
    if ended.stopped:
        return Outcome(
            OutcomeKind.CANCELLED, f"stopped during {stage}", stage=stage, exit_code=ended.code, signal=ended.signal
        )
    if ended.ok and short is None:
        return None
    if short:
        got = f"{short.ok} of {short.total} dataset shards arrived"
        return Outcome(OutcomeKind.DATA, got, CHECK_NETWORK, stage, ended.code, ended.signal, CanResume.YES)
    found = diagnose(trail.evidence, ExitStatus(ended.code, ended.signal, oom_kills))
    if found is None:
        return None
    problems = tuple(trail.telling.problems(*lines_of_verdict(found, trail.evidence), good=good()))
    return Outcome(
        found.kind, found.message, found.advice, stage, ended.code, ended.signal, found.resume, found.line, problems
    )


def _smaller(stage: StageName, device_batch: int, saved: int | None) -> tuple[str, Change | None]:
    """What to launch when the GPU's memory was not enough: half the sequences at once, going on where it can."""
    if device_batch <= 1:
        return "use a GPU with more memory or a smaller --model", None
    half = f"--device-batch-size {device_batch // 2}"
    had = f"(it had {device_batch})"
    change = Change({"device_batch_size": device_batch // 2})
    if stage is StageName.SFT:
        goes_on = msgspec.structs.replace(change, task="sft", goes_on=True)
        return f"nanochat-tui launch --task sft --from RUN {half} {had}", goes_on
    if stage is StageName.BASE and saved:
        goes_on = msgspec.structs.replace(change, task="base", goes_on=True)
        return f"nanochat-tui launch --task base --from RUN {half} goes on from step {saved:,} {had}", goes_on
    return f"launch a new run with {half} {had}", change


def outcome_of_error(error: Exception, stage: StageName = StageName.NONE) -> Outcome:
    """The outcome of a job that could not read or write what it must."""
    disk = disk_cause(error.errno) if isinstance(error, OSError) else None
    what = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
    if disk:
        return Outcome(OutcomeKind.DISK, what[:300], ADVICE[disk].text, stage=stage)
    return Outcome(OutcomeKind.VOLUME, what[:300], PUT_RIGHT, stage=stage)


def outcome_of_fault(error: BaseException, stage: StageName) -> Outcome:
    """The outcome of a job that raised what it knows no answer to: the class of the error decides what to do."""
    name = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    cause = cause_of(name, str(error), []) if isinstance(error, Exception) else Cause.CRASH
    advice = ADVICE[cause]
    return Outcome(
        advice.kind, f"the job itself failed: {error!r}"[:MOST], advice.text, stage=stage, resume=advice.resume
    )


def print_outcome(outcome: Outcome) -> None:
    """Say where a job's output goes what could not be written down; whoever finds the job dead reads it there."""
    print(msgspec.json.encode(outcome).decode(), file=sys.stderr)  # noqa: T201


def with_resume_advice(outcome: Outcome, status: Status, device_batch: int, spec: RunSpec | None = None) -> Outcome:
    """The outcome once it is known what was kept: where it can go on, and how, for a run of this `spec`."""
    kept = status.training.saved_step
    match outcome.kind:
        case OutcomeKind.CANCELLED:
            return cancelled_outcome(status)
        case OutcomeKind.BUDGET | OutcomeKind.STALLED | OutcomeKind.TIME_LIMIT | OutcomeKind.UNSAVED:
            after = f"kept up to step {kept:,}" if kept else "no checkpoint was kept"
            return msgspec.structs.replace(outcome, message=f"{outcome.message}; {after}")
        case OutcomeKind.OOM if outcome.advice == ADVICE[Cause.GPU_MEMORY].text:
            advice, change = _smaller(outcome.stage, device_batch, kept)
            return msgspec.structs.replace(outcome, advice=advice, change=change)
        case OutcomeKind.NAN:
            before = f"step {kept:,} was kept before" if kept else "no checkpoint was kept before"
            fp8 = bool(spec and spec.overrides.fp8)
            rate = _matrix_lr(spec)
            lower = f"base.matrix-lr={rate / 2:g}"
            flag = "--no-fp8" if fp8 else f"--set {lower}"
            change = Change({"fp8": False}) if fp8 else Change({}, flags=(lower,))
            advice = f"launch it anew with {flag}"
            if kept and outcome.stage is StageName.BASE:
                advice = f"launch --task base --from RUN {flag} goes on from step {kept:,}"
                change = msgspec.structs.replace(change, task="base", goes_on=True)
            advice += ": FP8 is less steady than bf16" if fp8 else f": a lower rate than {rate:g} is steadier"
            message = f"{outcome.message}; {before}"
            return msgspec.structs.replace(outcome, message=message, advice=advice, change=change)
    return msgspec.structs.replace(outcome, advice=outcome.advice.replace(RESUME, resume_begins(status)))


def _matrix_lr(spec: RunSpec | None) -> float:
    """The learning rate of the matrices that a run of this spec has trained with."""
    typed = [f.value for f in spec.flags if (f.stage, f.name) == ("base", "matrix-lr")] if spec else []
    try:
        rate = float(typed[-1]) if typed else MATRIX_LR
    except ValueError:
        return MATRIX_LR
    return rate if math.isfinite(rate) else MATRIX_LR


def with_disk_space(outcome: Outcome, folder: Path, checkpoint_bytes: int) -> Outcome:
    """The outcome with how much room there is on the disk that training writes to, and how much a checkpoint needs."""
    with contextlib.suppress(OSError):
        free = units.size(shutil.disk_usage(folder).free)
        room = f"; {free} free at {folder}, a checkpoint takes {units.size(checkpoint_bytes)}"
        return msgspec.structs.replace(outcome, message=f"{outcome.message[: MOST - len(room)]}{room}")
    return outcome


def cancelled_outcome(status: Status) -> Outcome:
    """The outcome of a job that was told to stop: where it was, and what is kept."""
    base, stage = status.training, status.work.stage
    known = stage is StageName.BASE and base.step and base.total_steps
    at = f" at step {base.step:,} of {base.total_steps:,}" if known else ""
    kept = f"; kept up to step {base.saved_step:,}" if base.saved_step else ""
    where = f"during {stage}" if stage else "before the first stage"
    return Outcome(OutcomeKind.CANCELLED, f"stopped {where}{at}{kept}", stage=stage)


def result_line(status: Status) -> str:
    """The numbers of a finished run in one line, first those that it was run for."""
    s = status.training
    scores = (("CORE", s.core), ("ChatCORE", s.chatcore), ("val bpb", s.val_bpb), ("SFT val bpb", s.sft_bpb))
    parts = [f"{name} {value:.4f}" for name, value in scores if value is not None]
    parts += [f"loss {s.loss:.3f}"] if s.loss is not None else []
    parts += [f"{s.step:,} steps"] if s.step else []
    return ", ".join(parts)
