"""Events of a stage, and when they came -> the status of a run: what it is doing, its numbers, its pace."""

from collections import deque
from statistics import median

from runner.diagnosis.alarms import KERNEL_UNUSED, NO_KERNEL, SLOW_WINDOWS, alarm, non_finite
from runner.model import events
from runner.model.events import Event
from runner.model.stages import Phase, StageName
from runner.model.status import Pause, Status
from runner.nanochat import flops

MAX_WARNINGS = 20
SETTLING_STEPS = 10
# A pace is the middle of so many steps: one slow step does not move it, a slow machine does.
PACE_STEPS = 21
# What nanochat says when its attention kernel did not load, and what that means to whoever pays; "" says it already.
ATTENTION = {
    "Flash Attention 3 not available": NO_KERNEL,
    "Flash Attention 3 only supports": KERNEL_UNUSED,
    "SDPA has no support": SLOW_WINDOWS,
    "Training will be less efficient": "",
    "Recommend using --window-pattern": "",
}
DOING = {
    StageName.PREPARE: Phase.PREPARING,
    StageName.TOKENIZER: Phase.PREPARING,
    StageName.BASE: Phase.STARTING,
    StageName.BASE_EVAL: Phase.EVALUATING,
    StageName.SFT: Phase.STARTING,
    StageName.CHAT_EVAL: Phase.EVALUATING,
    StageName.REPORT: Phase.FINISHING,
}


class Tracker:
    """Keeps one status up to date. Times are seconds since the epoch."""

    def __init__(self, status: Status, *, compiles: bool = True) -> None:
        self.status, self._compiles = status, compiles
        self._paces: deque[float] = deque(maxlen=PACE_STEPS)
        self._steps = 0
        self._heard_at = self._marked_at = status.started_at
        self._counted = flops.FlopsCorrection()

    def begin_stage(self, now: float) -> None:
        """A stage begins; its name is in the status."""
        work, pace = self.status.work, self.status.pace
        work.phase = DOING.get(work.stage, Phase.NONE)
        work.stage_percent = work.stage_loss = work.stage_step = None
        pace.slowest_dt_s = pace.pace_s = pace.best_pace_s = None
        work.progress_at = now
        self._paces.clear()
        self._steps = 0
        self._heard_at = self._marked_at = now

    def heard(self, now: float) -> None:
        """The child printed something: a silence has ended."""
        work, pace = self.status.work, self.status.pace
        silent = now - max(self._heard_at, work.progress_at or 0.0)
        if work.phase and silent > pace.max_silence_s.get(work.phase, 0.0):
            pace.max_silence_s[work.phase] = round(silent, 1)
        self._heard_at = work.last_line_at = now
        if work.phase not in (Phase.TRAINING, Phase.FINE_TUNING):
            # A download or a compiler says what it likes; in training only steps and scores are progress.
            work.progress_at = now

    def take(self, event: Event, now: float) -> None:
        """An event of the stage that is under way."""
        status, work = self.status, self.status.work
        if not isinstance(event, events.Fact | events.Warned | events.Failed | events.Noted):
            work.progress_at = now
        fold(status, event)
        if isinstance(event, events.Fact):
            self._counted.take(event.name, event.value)
        match event:
            case events.Step():
                self._step(event, now)
            case events.ValBpb() if work.stage is StageName.SFT:
                # ChatCORE may follow, but not before the first step, which waits for the compiler.
                work.phase = Phase.EVALUATING if event.step or not self._compiles else Phase.COMPILING
            case events.ValBpb() if event.step is not None:
                self._pause("val", now)
                self._next(event.step, "val")
            case events.CoreMetric() if event.step is not None:
                self._pause("core", now)
                self._next(event.step, "core")
            case events.TaskScore() if work.stage in (StageName.BASE, StageName.SFT):
                work.phase = Phase.EVALUATING
            case events.Sample():
                self._pause("sample", now)
            case events.Saved():
                self._pause("save", now, count=event.what == "model parameters")
                work.phase = Phase.SAVING
            case events.Fact(name="iterations" | "sft_rows") if work.stage in (StageName.BASE, StageName.SFT):
                work.phase = Phase.COMPILING if self._compiles else Phase.STARTING

    def _step(self, event: events.Step, now: float) -> None:
        dt = seconds_of(event)
        work, base, pace = self.status.work, self.status.training, self.status.pace
        self._marked_at = now
        self._steps += 1
        if self._steps > 1:
            # The first step waited for what was compiled, and says nothing of the next ones.
            pace.slowest_dt_s = max(pace.slowest_dt_s or 0.0, dt)
            self._paces.append(dt)
            pace.pace_s = median(self._paces)
            if len(self._paces) == PACE_STEPS:
                pace.best_pace_s = min(pace.best_pace_s or pace.pace_s, pace.pace_s)
        if work.stage is StageName.BASE:
            base.mfu, base.mfu_printed = self._counted.corrected(event.mfu)
            self._next(event.step + 1, "step")
        elif work.stage is StageName.SFT:
            work.phase = Phase.FINE_TUNING

    def _pause(self, kind: str, now: float, *, count: bool = True) -> None:
        """What a step waited for, which has just ended."""
        work, pace = self.status.work, self.status.pace
        spent, self._marked_at = now - self._marked_at, now
        if work.stage is not StageName.BASE or work.phase in (Phase.STARTING, Phase.COMPILING):
            return
        pause = pace.pause_totals.get(kind, Pause())
        pace.pause_totals[kind] = Pause(pause.count + count, pause.seconds + spent)

    def _next(self, step: int, after: str) -> None:
        """What nanochat does before it trains step number `step`, in its order: val bpb, CORE, save."""
        work, base = self.status.work, self.status.training
        if work.phase in (Phase.STARTING, Phase.COMPILING) and after != "step":
            return
        last = step == base.total_steps
        due = [
            name
            for name, every in (("val", base.val_every), ("core", base.core_every))
            if every and (last or (step % every == 0 and (name == "val" or step > 0)))
        ]
        if after == "val":
            due = [name for name in due if name != "val"]
        elif after == "core":
            due = []
        saves = base.save_every and (last or (step > 0 and step % base.save_every == 0))
        if due:
            work.phase = Phase.EVALUATING
        elif saves:
            work.phase = Phase.SAVING
        elif self._steps == 1 and self._compiles:
            work.phase = Phase.COMPILING
        else:
            work.phase = Phase.FINISHING if last else Phase.TRAINING


def seconds_of(event: events.Step) -> float:
    """How long a step took; 0 for a time that is none."""
    return event.dt_ms / 1000 if event.dt_ms is not None and 0 <= event.dt_ms < 1e9 else 0.0


def fold(status: Status, event: Event) -> None:
    """Bring the numbers of a status up to date with one event of the stage it is in."""
    work, base, pace = status.work, status.training, status.pace
    if isinstance(event, events.Step | events.ValBpb) and (gone := non_finite(event)):
        in_base = work.stage is StageName.BASE and event.step is not None
        warn(status, f"{gone} at step {event.step:,}" if in_base else f"{gone} while {work.stage}")
    match event:
        case events.Step() if work.stage is StageName.BASE:
            base.step, base.total_steps = event.step + 1, event.total or base.total_steps
            base.loss, base.tokens_per_s = event.loss, event.tokens_per_s
            pace.dt_s = seconds_of(event)
            if event.step >= (base.resumed_from or 0) + SETTLING_STEPS:
                pace.train_s, pace.train_steps = pace.train_s + pace.dt_s, pace.train_steps + 1
            if event.epoch is not None and event.epoch > 1:
                warn(status, f"the data is used up: epoch {event.epoch} begins to repeat it; fetch more --shards")
        case events.Step():
            work.stage_percent, work.stage_loss = min(100.0, max(0.0, event.percent)), event.loss
            work.stage_step = event.step
        case events.TaskScore() if work.stage in (StageName.BASE_EVAL, StageName.CHAT_EVAL):
            work.stage_step = (work.stage_step or 0) + 1
        case events.ValBpb() if work.stage in (StageName.BASE, StageName.BASE_EVAL):
            base.val_bpb = event.bpb
        case events.ValBpb() if work.stage is StageName.SFT:
            base.sft_bpb = event.bpb
        case events.CoreMetric():
            base.core = event.core
        case events.ChatCore():
            base.chatcore = event.chatcore
        case events.Fact(name="iterations", value=value) if work.stage is StageName.BASE:
            digits = value.replace(",", "")
            base.total_steps = int(digits) if digits.isdecimal() else base.total_steps
        case events.Resumed():
            base.resumed_from = base.step = event.step
        case events.Fact(name="gpu", value=value) if not status.containers.device:
            status.containers.device = value.partition(" | ")[0]
        case events.Warned(text=text):
            told = next((ours for theirs, ours in ATTENTION.items() if text.startswith(theirs)), text)
            # On a CPU the kernel cannot be had, and is not missed.
            if told and (told == text or status.containers.device):
                warn(status, told)


def warn(status: Status, text: str) -> None:
    """Keep a warning, once; every nan after the first says nothing new."""
    if alarm(text) == "nan" and any(alarm(known) == "nan" for known in status.work.warnings):
        return
    if text not in status.work.warnings and len(status.work.warnings) < MAX_WARNINGS:
        status.work.warnings.append(text)
