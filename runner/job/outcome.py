"""The end of a stage -> what happened in one line, and what to do about it."""

from msgspec import Struct

from runner.job.supervise import Ended
from runner.nanochat import grammar
from runner.nanochat.grammar import Event
from runner.run import Outcome, Status


class Trail(Struct):
    """What a stage said that explains its end: the first failure wins, later ones follow from it."""

    failure: Event | None = None
    downloaded: grammar.Downloaded | None = None
    last_line: str = ""

    def see(self, line: str, event: Event | None) -> None:
        if isinstance(event, grammar.OutOfMemory | grammar.Error | grammar.Signalled) and self.failure is None:
            self.failure = event
        if isinstance(event, grammar.Downloaded):
            self.downloaded = event
        if line.strip():
            self.last_line = line.strip()[:300]


def explain(stage: str, ended: Ended, trail: Trail, *, device_batch: int) -> Outcome | None:
    """The outcome of a stage that cannot go on; None when it ended well. Exit code 0 is not trusted for downloads."""
    short = trail.downloaded if trail.downloaded and trail.downloaded.ok < trail.downloaded.total else None
    if ended.stopped:
        return Outcome("cancelled", f"stopped during {stage}", stage=stage, exit_code=ended.code, signal=ended.signal)
    if ended.ok and short is None:
        return None
    kind, message, advice = _reason(ended, trail, short, device_batch)
    return Outcome(kind, message, advice, stage=stage, exit_code=ended.code, signal=ended.signal)


def _reason(ended: Ended, trail: Trail, short: grammar.Downloaded | None, device_batch: int) -> tuple[str, str, str]:
    resume = "resume continues from the last checkpoint"
    if short:
        got = f"{short.ok} of {short.total} dataset shards arrived"
        return "data", got, "check the network, then resume: what arrived is kept"
    match trail.failure:
        case grammar.OutOfMemory(tried=tried, capacity=capacity):
            smaller = f"launch a new run with --device-batch-size {device_batch // 2}" if device_batch > 1 else ""
            advice = smaller or "use a GPU with more memory or a smaller --model"
            return "oom", f"out of GPU memory ({tried} more did not fit in {capacity})", advice
        case grammar.Signalled(signal=number):
            return "killed", f"torchrun was stopped by signal {number}", resume
        case grammar.Error(type=kind, message=text):
            return _exception(kind, text)
    if ended.signal is not None:
        hint = "the machine may have run out of memory; " if ended.signal == 9 else ""
        return "killed", f"killed by signal {ended.signal}", hint + resume
    return "crash", f"exit code {ended.code}: {trail.last_line}", "see the log: nanochat-tui logs RUN; then resume"


def _exception(kind: str, text: str) -> tuple[str, str, str]:
    message = f"{kind}: {text}"[:300]
    if "No dataset parquet files found" in text:
        return "data", "the dataset is not on the volume", "resume: the prepare stage fetches it"
    if kind == "FileNotFoundError" and "/tokenizer/" in text:
        return "tokenizer", "the tokenizer is not on the volume", "resume: the tokenizer stage trains it"
    if "PytorchStreamReader" in text or "zip archive" in text:
        return "checkpoint", f"a checkpoint cannot be read: {message}", "nanochat-tui checkpoints shows which are whole"
    if kind in ("ModuleNotFoundError", "ImportError"):
        return "environment", message, "nanochat-tui doctor shows which Python is used and what it lacks"
    return "crash", message, "see the log: nanochat-tui logs RUN; then resume"


def cancelled(status: Status) -> Outcome:
    """The outcome of a job that was told to stop: where it was, and what is kept."""
    s = status
    at = f" at step {s.step:,} of {s.total_steps:,}" if s.stage == "base" and s.step and s.total_steps else ""
    kept = f"; kept up to step {s.saved_step:,}" if s.saved_step else ""
    where = f"during {s.stage}" if s.stage else "before the first stage"
    return Outcome("cancelled", f"stopped {where}{at}{kept}", stage=s.stage)


def result_line(status: Status) -> str:
    """The numbers of a finished run in one line."""
    s = status
    parts = [f"{s.step:,} steps" if s.step else "", f"loss {s.loss:.3f}" if s.loss is not None else ""]
    parts += [f"val bpb {s.val_bpb:.4f}" if s.val_bpb is not None else ""]
    parts += [f"CORE {s.core:.4f}" if s.core is not None else ""]
    parts += [f"ChatCORE {s.chatcore:.4f}" if s.chatcore is not None else ""]
    return ", ".join(p for p in parts if p)
