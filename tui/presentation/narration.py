"""A run for ears: what it is, what changes, how it stands, how it ended, each as a whole sentence. Pure."""

from collections.abc import Iterator, Mapping

from runner.model.backend_name import BackendName
from runner.model.run import Run
from runner.model.stages import Phase, StageName, needs_gpus
from runner.model.states import State
from runner.model.status import StageState, Training
from runner.monitoring import health
from runner.monitoring.health import Health, HealthStatus
from runner.monitoring.progress import progress_of
from runner.monitoring.projection import is_free, project, spent_usd
from runner.planning import budget
from tui.presentation import spoken
from tui.presentation.spoken import sentence

TASKS = {
    "test": "a test",
    "speedrun": "everything from data to chat",
    "base": "base training",
    "sft": "fine-tuning",
    "eval": "an evaluation",
    "tokenizer": "the training of a tokenizer",
}
STAGES = {
    StageName.PREPARE: "preparation",
    StageName.TOKENIZER: "tokenizer training",
    StageName.BASE: "base training",
    StageName.BASE_EVAL: "evaluation",
    StageName.SFT: "fine-tuning",
    StageName.CHAT_EVAL: "chat evaluation",
    StageName.REPORT: "the report",
}
STATES = {
    State.LAUNCHING: "it is being launched",
    State.QUEUED: "it waits to begin, which costs nothing",
    State.STOPPING: "it is being stopped",
    State.UNKNOWN: "nobody can say whether it still runs",
}
STILL = {
    State.LAUNCHING: "it is still being launched",
    State.QUEUED: "it still waits to begin",
    State.PREEMPTED: "it still waits for another machine, which costs nothing",
    State.STOPPING: "it is still being stopped",
    State.UNKNOWN: "still nobody can say whether it runs",
}
PHASES = {
    Phase.COMPILING: "it compiles now, which takes minutes in silence",
    Phase.WAITING: "something was not to be had; it waits to try again",
}
ENDS = {
    State.DONE: "is done",
    State.FAILED: "has failed",
    State.CANCELLED: "was cancelled",
    State.OUT_OF_BUDGET: "has stopped, as its budget is spent",
    State.INTERRUPTED: "was interrupted",
    State.DELETING: "is being deleted",
}
# A speed is told again when it has changed by so much.
SPEED_CHANGED = 0.1


def opening(run: Run, now: float) -> list[str]:
    """What run it is and what it does."""
    spec = run.spec
    rehearsal = "a rehearsal of " if spec.engine == "rehearsal" else ""
    gpus = f" with {spoken.plural(spec.gpus, f'{spec.gpu} GPU')}" if needs_gpus(spec.task) else ""
    where = f"on Modal{gpus}" if run.backend is BackendName.MODAL else "on this machine"
    what = f"watching the run {spoken.text(run.tag)}: {rehearsal}{TASKS[spec.task]}, model {spec.model}, {where}"
    again = f"; this is attempt {run.attempt}" if run.attempt > 1 else ""
    ago = spoken.duration(max(0.0, now - run.created_at))
    return [sentence(what), sentence(f"it was launched {ago} ago{again}")]


def changes(before: Run, after: Run) -> Iterator[str]:
    """What has happened between two looks."""
    if after.attempt > before.attempt:
        yield sentence(f"attempt {after.attempt} begins")
    yield from _state_change(before, after)
    yield from _stage_changes(before, after)
    old, new = before.status, after.status
    if new is None:
        return
    resumed = new.training.resumed_from
    if resumed is not None and resumed != (old.training.resumed_from if old else None):
        yield sentence(f"it goes on from step {resumed:,}")
    if old and new.containers.leg > old.containers.leg:
        yield sentence("one call has taken as long as it may; the next one goes on")
    if new.work.phase in PHASES and (old is None or old.work.phase is not new.work.phase):
        yield sentence(PHASES[new.work.phase])
    for warning in new.work.warnings:
        if old is None or warning not in old.work.warnings:
            yield sentence(f"warning: {spoken.text(warning)}")
    if (told := _budget_told(after)) and told > _budget_told(before):
        cap = spoken.money(after.spec.budget_usd) if after.spec.budget_usd is not None else ""
        yield sentence(f"budget: {told} per cent of {cap} is spent")


def _state_change(before: Run, after: Run) -> Iterator[str]:
    taken = (after.status.containers.preemptions if after.status else 0) > (
        before.status.containers.preemptions if before.status else 0
    )
    newly = after.state is not before.state
    if (newly and after.state is State.PREEMPTED) or (taken and before.state is not State.PREEMPTED):
        goes_on = "it goes on by itself on the next one, and costs nothing until then"
        yield sentence(f"it was preempted: its machine was taken away; {_kept(after)}")
        yield sentence(goes_on if after.state is State.PREEMPTED else "it goes on already")
    elif newly and after.state in STATES:
        yield sentence(STATES[after.state])
    elif newly and before.state is State.PREEMPTED and after.state in (State.RUNNING, State.PREPARING):
        yield sentence("it has a machine again, and goes on")


def _kept(run: Run) -> str:
    step = run.status.training.saved_step if run.status else None
    return f"what it learned up to step {step:,} is kept" if step else "nothing is kept yet"


def _stage_changes(before: Run, after: Run) -> Iterator[str]:
    old = {stage.name: stage.state for stage in before.status.work.stages} if before.status else {}
    ended, begun = [], []
    for stage in after.status.work.stages if after.status else ():
        name, was = STAGES.get(stage.name, str(stage.name)), old.get(stage.name, StageState.WAITING)
        if stage.state is was:
            continue
        if stage.state is StageState.SKIPPED:
            why = f": {spoken.text(stage.note)}" if stage.note else ""
            yield sentence(f"{name} is skipped{why}")
        elif stage.state is StageState.DONE:
            ended.append(name)
        elif stage.state is StageState.RUNNING:
            begun.append(name)
    over = f"{spoken.joined(ended)} {'have' if len(ended) > 1 else 'has'} ended" if ended else ""
    begins = f"{spoken.joined(begun)} begins" if begun else ""
    if over or begins:
        yield sentence("; ".join(filter(None, (over, begins))))


def _budget_told(run: Run) -> int:
    cap = run.spec.budget_usd
    return budget.share(cap, spent_usd(run)) or 0 if cap is not None else 0


def trouble(run: Run, found: Health, now: float, like: Mapping[str, float]) -> str:
    """What is wrong with a live run, in a sentence; empty where nothing is."""
    status = run.status
    if status is None:
        return ""
    match found.status:
        case HealthStatus.STALLED:
            usual = spoken.duration(health.patience(status, like))
            return sentence(f"trouble: no progress for {spoken.duration(found.silent_s)}; up to {usual} is usual")
        case HealthStatus.NO_SIGNAL:
            return sentence(f"trouble: no heartbeat for {spoken.duration(now - status.updated_at)}")
        case HealthStatus.UNSAVED:
            return sentence(f"trouble: {spoken.text(found.why)}")
        case HealthStatus.SLOW:
            pace, best = status.pace.pace_s or 0.0, status.pace.best_pace_s or 0.0
            return sentence(f"it has become slower: {pace:.2f} seconds a step, it was {best:.2f}")
    return ""


def standing(run: Run, now: float, told: Training | None = None) -> str:
    """How a live run stands; of its speed, scores and checkpoints what was not `told` before."""
    status, found = run.status, progress_of(run)
    if status is None or run.state in STILL:
        return sentence(STILL.get(run.state, "nothing is heard of it yet"))
    training, before = status.training, told or Training()
    words = [_progress(run)]
    if found.loss is not None and found.stage in (StageName.BASE, StageName.SFT):
        words.append(f"loss {found.loss:.2f}")
    if found.stage is StageName.BASE:
        if (speed := training.tokens_per_s) and abs(speed - (before.tokens_per_s or 0)) > SPEED_CHANGED * speed:
            words.append(f"{spoken.count(speed)} tokens a second")
        if training.step and training.val_bpb is not None and training.val_bpb != before.val_bpb:
            words.append(f"validation {training.val_bpb:.3f} bits per byte")
        if training.saved_step and training.saved_step != before.saved_step:
            words.append(f"kept up to step {training.saved_step:,}")
    if (left := project(run, now)) and left.left.likely >= 1:
        words.append(f"done in {spoken.duration(left.left.likely)}")
    if not is_free(run):
        words.append(f"{spoken.money(spent_usd(run, now))} so far")
    return sentence(", ".join(words))


def _progress(run: Run) -> str:
    """How far the stage under way is."""
    status, found = run.status, progress_of(run)
    stage = STAGES.get(found.stage, "it")
    if status is None:
        return f"{stage} is under way"
    if status.work.phase in (Phase.STARTING, Phase.COMPILING):
        return f"{stage} is {status.work.phase}"
    if found.stage is StageName.BASE and status.training.total_steps:
        return f"step {status.training.step or 0:,} of {status.training.total_steps:,}"
    if found.stage is StageName.SFT and found.share is not None:
        return f"fine-tuning is {found.share:.0%} done".replace("%", " per cent")
    if found.share is not None and status.work.stage_step is not None:
        return f"{stage} has done {spoken.plural(status.work.stage_step, 'task')}"
    return f"{stage} is under way"


def ending(run: Run) -> list[str]:
    """How it ended: its scores or its failure, what to do, how long it took and what it cost."""
    status, outcome = run.status, run.outcome
    said = f"the run {spoken.text(run.tag)} {ENDS.get(run.state, str(run.state))}"
    if run.state is State.DONE and status:
        steps = f", after {status.training.step:,} steps" if status.training.step else ""
        what = spoken.joined(_scores(status.training)) + steps
    else:
        what = spoken.text(outcome.message) if outcome else ""
    found = [sentence(f"{said}: {what}" if what else said)]
    if outcome and outcome.advice and run.state is not State.DONE:
        found.append(sentence(f"what to do: {spoken.text(outcome.advice)}"))
    if status:
        cost = "cost nothing" if is_free(run) else f"cost {spoken.money(spent_usd(run))}"
        found.append(sentence(f"it took {spoken.duration(status.spent_s)} and {cost}"))
    return found


def _scores(training: Training) -> list[str]:
    named = (("CORE", training.core), ("ChatCORE", training.chatcore), ("loss", training.loss))
    found = [f"{name} {value:.2f}" for name, value in named if value is not None]
    return found + ([f"validation {training.val_bpb:.3f} bits per byte"] if training.val_bpb is not None else [])


class Narrator:
    """Looks at a run again and again -> the sentences that are due: changes at once, how it stands every so often."""

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._last: Run | None = None
        self._due = 0.0
        self._trouble: HealthStatus | None = None
        self._told: Training | None = None

    def hear(self, run: Run, now: float, like: Mapping[str, float] | None = None) -> list[str]:
        """What there is to say after a look."""
        before, self._last = self._last, run
        said = opening(run, now) if before is None else [*changes(before, run)]
        if before is None and run.live:
            said += [sentence(STATES[run.state])] if run.state in STATES else []
        if not run.live:
            return [*said, *ending(run)]
        said += self._trouble_said(run, now, like or {})
        waits = before is None and (run.status is None or run.state in STATES)
        if waits:
            self._due = now + self._every_s
        elif now >= self._due or self._due - now > self._every_s:
            said.append(standing(run, now, self._told))
            self._due, self._told = now + self._every_s, run.status.training if run.status else None
        return said

    def _trouble_said(self, run: Run, now: float, like: Mapping[str, float]) -> list[str]:
        """Trouble when it begins, not how it grows; and its end."""
        found = health.health(run, now, like)
        said = trouble(run, found, now, like) if run.state is not State.STOPPING else ""
        before, self._trouble = self._trouble, found.status if said else None
        if said:
            return [said] if found.status is not before else []
        return ["All is well again."] if before else []
