"""The end of a stage -> what happened in one line, and what to do about it."""

import errno
import sys

import msgspec
from msgspec import Struct

from runner.alarms import lost
from runner.job.supervise import Ended
from runner.nanochat import events
from runner.nanochat.events import Event
from runner.spec import Overrides
from runner.status import Outcome, OutcomeKind, Status

WHOLE = "nanochat-tui checkpoints shows which are whole"
RESUME = "resume continues from the last checkpoint"
PUT_RIGHT = "put that right, then resume"
LOG = "see the log: nanochat-tui logs RUN; then resume"
# When one rank dies the others lose their connection to it: what they then say is no cause.
_ECHOES = ("DistBackendError", "DistNetworkError", "DistStoreError", "ConnectionResetError", "BrokenPipeError")
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS)
# As urllib, requests and Hugging Face call it when they are refused, cut off, or kept waiting.
_OF_A_DOWNLOAD = frozenset(
    "URLError gaierror HTTPError ConnectionError ConnectTimeout ReadTimeout SSLError ProxyError ChunkedEncodingError"
    " IncompleteRead RemoteDisconnected HfHubHTTPError LocalEntryNotFoundError".split()
)
_WITHOUT_FA3 = ("Flash Attention 3 not available", "Flash Attention 3 only supports")
_ECHO_WORDS = ("NCCL error", "Connection closed by peer", "Connection reset by peer", "Broken pipe")


def _weight(event: Event) -> int | None:
    """How far an event is from the cause of a failure, 0 the nearest; None for one that is no failure."""
    match event:
        case events.OutOfMemory():
            return 0
        case events.Error(type=kind, message=text):
            name = kind.rpartition(".")[2]
            if name in ("ChildFailedError", "SignalException"):
                return 4
            return 2 if name in _ECHOES or any(word in text for word in _ECHO_WORDS) else 0
        case events.RankFailed():
            return 1 if event.exit_code < 0 else 3
        case events.NcclTimeout():
            return 2
        case events.Signalled():
            return 3
    return None


class Trail(Struct):
    """What a stage said that explains its end: the nearest to the cause wins, of equals the first.

    Progress after a failure proves that it was none.
    """

    failure: Event | None = None
    downloaded: events.Downloaded | None = None
    lost: str = ""
    without_fa3: bool = False
    last_line: str = ""

    def see(self, line: str, event: Event | None) -> None:
        if not self.lost and isinstance(event, events.Step | events.ValBpb) and (gone := lost(event)):
            self.lost = f"the {gone}" + (f" since step {event.step:,}" if event.step is not None else "")
        weight = _weight(event) if event else None
        if weight is not None:
            before = _weight(self.failure) if self.failure else None
            if before is None or weight < before:
                self.failure = event
        elif isinstance(event, events.Step):
            self.failure = None
        elif isinstance(event, events.Downloaded):
            self.downloaded = event
        elif isinstance(event, events.Warned) and event.text.startswith(_WITHOUT_FA3):
            self.without_fa3 = True
        if line.strip():
            self.last_line = line.strip()[:300]


def unwanted(stage: str, trail: Trail, asked: Overrides) -> Outcome | None:
    """Why a stage is to be stopped as it is going, by what the person has asked for."""
    if asked.stop_on_nan and trail.lost:
        return Outcome(OutcomeKind.NAN, trail.lost, stage=stage)
    if asked.require_fa3 and trail.without_fa3:
        advice = "resume RUN tries again; without --require-fa3 it trains all the same, slower"
        return Outcome(OutcomeKind.ATTENTION, "Flash Attention 3 did not load", advice, stage=stage)
    return None


def explain(stage: str, ended: Ended, trail: Trail, *, stopped_for: Outcome | None = None) -> Outcome | None:
    """The outcome of a stage that cannot go on; None when it ended well. Exit code 0 is not trusted for downloads."""
    short = trail.downloaded if trail.downloaded and trail.downloaded.ok < trail.downloaded.total else None
    if ended.stopped and stopped_for:
        return stopped_for
    if ended.stopped:
        return Outcome(
            OutcomeKind.CANCELLED, f"stopped during {stage}", stage=stage, exit_code=ended.code, signal=ended.signal
        )
    if ended.ok and short is None:
        return None
    kind, message, advice = _reason(ended, trail, short)
    return Outcome(kind, message, advice, stage=stage, exit_code=ended.code, signal=ended.signal)


def _smaller(stage: str, device_batch: int, saved: int | None) -> str:
    """What to launch when the GPU's memory was not enough: half the sequences at once, going on where it can."""
    if device_batch <= 1:
        return "use a GPU with more memory or a smaller --model"
    half = f"--device-batch-size {device_batch // 2}"
    if stage == "sft":
        return f"nanochat-tui launch --task sft --from RUN {half}"
    if stage == "base" and saved:
        return f"nanochat-tui launch --task base --from RUN {half} goes on from step {saved:,}"
    return f"launch a new run with {half}"


def _reason(ended: Ended, trail: Trail, short: events.Downloaded | None) -> tuple[OutcomeKind, str, str]:
    if short:
        got = f"{short.ok} of {short.total} dataset shards arrived"
        return OutcomeKind.DATA, got, "check the network, then resume: what arrived is kept"
    match trail.failure:
        case events.OutOfMemory(tried=tried, capacity=capacity):
            return OutcomeKind.OOM, f"out of GPU memory ({tried} more did not fit in {capacity})", ""
        case events.Signalled(signal=number):
            return OutcomeKind.KILLED, f"torchrun was stopped by signal {number}", RESUME
        case events.NcclTimeout(rank=rank, op=op, waited_s=waited):
            waits = f" for {waited:,.0f} s" if waited else ""
            who = f"rank {rank}" if rank is not None else "a rank"
            return (
                OutcomeKind.NCCL,
                f"{who} waited{waits} in {op or 'a collective'} for GPUs that did not answer",
                RESUME,
            )
        case events.RankFailed(rank=rank, exit_code=code) if code < 0:
            hint = "the container may have run out of memory; " if code == -9 else ""
            return OutcomeKind.KILLED, f"rank {rank} was killed by signal {-code}", hint + RESUME
        case events.RankFailed(rank=rank, exit_code=code):
            return OutcomeKind.CRASH, f"rank {rank} ended with exit code {code}: {trail.last_line}"[:300], LOG
        case events.Error(type=kind, message=text, rank=rank):
            return _exception(kind, text, f"rank {rank}: " if rank is not None else "")
    if ended.signal is not None:
        hint = "the machine may have run out of memory; " if ended.signal == 9 else ""
        return OutcomeKind.KILLED, f"killed by signal {ended.signal}", hint + RESUME
    return OutcomeKind.CRASH, f"exit code {ended.code}: {trail.last_line}", LOG


def _exception(kind: str, text: str, who: str) -> tuple[OutcomeKind, str, str]:
    message = f"{who}{kind}: {text}"[:300]
    if "No dataset parquet files found" in text:
        return OutcomeKind.DATA, "the dataset is not on the volume", "resume: the prepare stage fetches it"
    if kind == "FileNotFoundError" and "/tokenizer/" in text:
        return OutcomeKind.TOKENIZER, "the tokenizer is not on the volume", "resume: the tokenizer stage trains it"
    if kind == "FileNotFoundError" and "/optim_" in text:
        return (
            OutcomeKind.CHECKPOINT,
            f"{who}its part of the optimizer is missing",
            WHOLE,
        )
    if "Tokenizer vocab size" in text:
        return (
            OutcomeKind.TOKENIZER,
            message,
            "the model was trained with another tokenizer: put that one on the volume",
        )
    if "PytorchStreamReader" in text or "zip archive" in text:
        return OutcomeKind.CHECKPOINT, f"a checkpoint cannot be read: {message}", WHOLE
    if kind in ("ModuleNotFoundError", "ImportError"):
        return OutcomeKind.ENVIRONMENT, message, "nanochat-tui doctor shows which Python is used and what it lacks"
    if kind.rpartition(".")[2] in _OF_A_DOWNLOAD:
        return (
            OutcomeKind.NETWORK,
            f"a download failed: {message}",
            "check the network, then resume: what arrived is kept",
        )
    return OutcomeKind.CRASH, message, LOG


def trouble(error: Exception, stage: str = "") -> Outcome:
    """The outcome of a job that could not read or write what it must."""
    disk = isinstance(error, OSError) and error.errno in _DISK
    what = f"{error.strerror}: {error.filename}" if isinstance(error, OSError) and error.filename else str(error)
    advice = "make room on the disk, or use another, then resume" if disk else PUT_RIGHT
    return Outcome(OutcomeKind.DISK if disk else OutcomeKind.VOLUME, what[:300], advice, stage=stage)


def last_word(outcome: Outcome) -> None:
    """Say where a job's output goes what could not be written down; whoever finds the job dead reads it there."""
    print(msgspec.json.encode(outcome).decode(), file=sys.stderr)  # noqa: T201


def settled(outcome: Outcome, status: Status, device_batch: int) -> Outcome:
    """The outcome once it is known what was kept: where it can go on, and how."""
    kept = status.training.saved_step
    match outcome.kind:
        case OutcomeKind.CANCELLED:
            return cancelled(status)
        case OutcomeKind.BUDGET | OutcomeKind.STALLED | OutcomeKind.TIME_LIMIT:
            after = f"kept up to step {kept:,}" if kept else "no checkpoint was kept"
            return msgspec.structs.replace(outcome, message=f"{outcome.message}; {after}")
        case OutcomeKind.OOM:
            return msgspec.structs.replace(outcome, advice=_smaller(outcome.stage, device_batch, kept))
        case OutcomeKind.NAN:
            before = f"step {kept:,} was kept before" if kept else "no checkpoint was kept before"
            steadier = "--no-fp8 is the steadier arithmetic"
            advice = f"launch it anew; {steadier}"
            if kept and outcome.stage == "base":
                advice = f"resume goes on from step {kept:,}, or launch --task base --from RUN anew; {steadier}"
            return msgspec.structs.replace(outcome, message=f"{outcome.message}; {before}", advice=advice)
    return outcome


def cancelled(status: Status) -> Outcome:
    """The outcome of a job that was told to stop: where it was, and what is kept."""
    base, stage = status.training, status.work.stage
    at = f" at step {base.step:,} of {base.total_steps:,}" if stage == "base" and base.step and base.total_steps else ""
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
