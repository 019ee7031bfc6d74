"""One log line of nanochat -> one typed Event, or None for plain text.

Feed it a line as split on `\\n` and `\\r`; `clean` takes out colours and control characters first.
"""

import re

from msgspec import Struct

_NUMBER = r"(-?(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|nan|inf))"
MAX_LINE = 4096


class Event(Struct, frozen=True, tag_field="kind", tag="event"):
    """Something a line of the log says."""


class Step(Event, frozen=True, tag="step"):
    """A training step that has ended. `dt_ms` milliseconds, `tokens_per_s` over all GPUs, `mfu` per cent."""

    step: int
    total: int | None
    percent: float
    loss: float
    lrm: float
    dt_ms: float
    tokens_per_s: int
    mfu: float
    epoch: int | None = None
    eta_s: float | None = None


class ValBpb(Event, frozen=True, tag="val_bpb"):
    """Validation bits per byte before `step`; step None at the end of base_eval."""

    step: int | None
    bpb: float


class Core(Event, frozen=True, tag="core"):
    step: int | None
    core: float


class ChatCore(Event, frozen=True, tag="chatcore"):
    step: int | None
    chatcore: float


class TaskScore(Event, frozen=True, tag="task"):
    """Accuracy of one evaluation task, 0 to 1."""

    task: str
    accuracy: float


class Saved(Event, frozen=True, tag="saved"):
    """A file of a checkpoint was written by nanochat: `what` is model parameters, metadata or optimizer state."""

    what: str
    folder: str
    step: int


class Fact(Event, frozen=True, tag="fact"):
    """A header line worth keeping: `name` is gpu, iterations, parameters, world_size, peak_memory_mib, …"""

    name: str
    value: str


class Resumed(Event, frozen=True, tag="resumed"):
    step: int


class Downloaded(Event, frozen=True, tag="downloaded"):
    """The closing line of nanochat.dataset, whose exit code is 0 even when shards are missing."""

    ok: int
    total: int


class OutOfMemory(Event, frozen=True, tag="oom"):
    gpu: int
    tried: str
    capacity: str


class Signalled(Event, frozen=True, tag="signal"):
    """torchrun says that it was stopped by a signal; it then exits 1."""

    signal: int


class Warned(Event, frozen=True, tag="warning"):
    text: str


class Error(Event, frozen=True, tag="error"):
    """The last line of a traceback."""

    type: str
    message: str


# The one line that comes by the ten thousand: a loose class of characters is twice as fast as a strict number.
_LOOSE = r"([-+0-9.einfa]{1,24})"
_STEP = re.compile(
    rf"step ([0-9]{{1,9}})(?:/([0-9]{{1,9}}))? \({_LOOSE}%\) \| loss: {_LOOSE} \| lrm: {_LOOSE} \| dt: {_LOOSE}ms"
    rf" \| tok/sec: ([0-9][0-9,]{{0,20}}) \| (?:bf16_)?mfu: {_LOOSE}"
    rf"(?: \| epoch: ([0-9]{{1,9}})(?: pq: [0-9]+ rg: [0-9]+)?)?(?: \| total time: {_LOOSE}m)?(?: \| eta: {_LOOSE}m)?"
)
_VAL = re.compile(rf"Step (\d+) \| Validation bpb: {_NUMBER}")
_CORE = re.compile(rf"(?:Step (\d+) \| )?CORE metric: {_NUMBER}")
_CHATCORE = re.compile(rf"(?:Step (\d+) \| ChatCORE|ChatCORE metric): {_NUMBER}(?: \|.*)?")
_SPLIT_BPB = re.compile(rf"val bpb: {_NUMBER}")
_CORE_TASK = re.compile(rf"Evaluating: (\S+) \(\d+-shot, type: \w+\)\.\.\. accuracy: {_NUMBER} \|.*")
_CHAT_TASK = re.compile(rf"(?:  )?(ARC-Easy|ARC-Challenge|MMLU|GSM8K|HumanEval)(?: accuracy)?: {_NUMBER}%")
_LOGGER = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [\w.]+ - [A-Z]+ - (.*)")
_SAVED = re.compile(r"Saved (model parameters|metadata|optimizer state) to: (.*)/(?:model|meta|optim)_(\d{6})\D.*")
_DONE = re.compile(r"Done! Downloaded: (\d+)/(\d+) shards to .*")
_OOM = re.compile(
    r"torch\.(?:cuda\.)?OutOfMemoryError: CUDA out of memory\. Tried to allocate ([\d.]+ \w+)\. "
    r"GPU (\d+) has a total capacity of ([\d.]+ \w+) .*"
)
_SIGNAL = re.compile(r"torch\.distributed\.elastic\.\S+SignalException: Process \d+ got signal: (\d+)")
_ERROR = re.compile(r"((?:[A-Za-z_]\w{0,80}\.){0,8}[A-Z]\w{0,80}(?:Error|Exception|Interrupt|Unsupported))(?:: ?(.*))?")
_RANK = re.compile(r"\[rank\d+\]: ?")
_FACTS = {
    "GPU: ": "gpu",
    "COMPUTE_DTYPE: ": "dtype",
    "Vocab size: ": "vocab_size",
    "total                   : ": "parameters",
    "Estimated FLOPs per token: ": "flops_per_token",
    "Using user-provided number of iterations: ": "iterations",
    "Calculated number of iterations from target data:param ratio: ": "iterations",
    "Total number of training tokens: ": "tokens",
    "Peak memory usage: ": "peak_memory",
    "Total training time: ": "training_time",
    "Minimum validation bpb: ": "min_val_bpb",
    "✓ Using Flash Attention 3": "flash_attention_3",
    "✓ FP8 training enabled": "fp8",
    "Training mixture: ": "sft_rows",
}
_SCORE_HEADS = frozenset("SvCE AMGH")
_FACT_HEADS = (*_FACTS, "Resuming optimization from step ", "Done! Downloaded: ", "WARNING: ")
_FAILURE_WORDS = ("Error", "Exception", "Interrupt", "Unsupported")


def parse(line: str) -> Event | None:
    """The event that a cleaned line says. Never raises; lines over MAX_LINE are plain text."""
    if not line or len(line) > MAX_LINE:
        return None
    head = line[0]
    if head == "s" and (m := _STEP.fullmatch(line)):
        return _step(m.groups())
    if head == "[":
        line = _RANK.sub("", line, count=1)
    if head.isdigit() and (m := _LOGGER.fullmatch(line)):
        return _logger_line(m[1])
    if head in _SCORE_HEADS and (score := _score(line)):
        return score
    if line.startswith(_FACT_HEADS):
        return _fact(line)
    return _failure(line) if any(word in line for word in _FAILURE_WORDS) else None


def _step(groups: tuple[str, ...]) -> Step | None:
    step, total, percent, loss, lrm, dt, speed, mfu, epoch, _, eta = groups
    try:
        return Step(
            int(step),
            int(total) if total else None,
            float(percent),
            float(loss),
            float(lrm),
            float(dt),
            int(speed.replace(",", "")),
            float(mfu),
            int(epoch) if epoch else None,
            float(eta) * 60 if eta else None,
        )
    except ValueError:
        return None


def _logger_line(message: str) -> Event | None:
    if m := _SAVED.fullmatch(message):
        return Saved(what=m[1], folder=m[2], step=int(m[3]))
    if message.startswith("Distributed world size: "):
        return Fact(name="world_size", value=message[24:])
    return None


def _score(line: str) -> Event | None:
    if m := _VAL.fullmatch(line):
        return ValBpb(step=int(m[1]), bpb=float(m[2]))
    if m := _SPLIT_BPB.fullmatch(line):
        return ValBpb(step=None, bpb=float(m[1]))
    if m := _CORE.fullmatch(line):
        return Core(step=int(m[1]) if m[1] else None, core=float(m[2]))
    if m := _CHATCORE.fullmatch(line):
        return ChatCore(step=int(m[1]) if m[1] else None, chatcore=float(m[2]))
    if m := _CORE_TASK.fullmatch(line):
        return TaskScore(task=m[1], accuracy=float(m[2]))
    if m := _CHAT_TASK.fullmatch(line):
        return TaskScore(task=m[1], accuracy=float(m[2]) / 100)
    return None


def _fact(line: str) -> Event | None:
    for prefix, name in _FACTS.items():
        if line.startswith(prefix):
            return Fact(name=name, value=line[len(prefix) :].strip())
    if line.startswith("Resuming optimization from step ") and line[32:].isdecimal():
        return Resumed(step=int(line[32:]))
    if m := _DONE.fullmatch(line):
        return Downloaded(ok=int(m[1]), total=int(m[2]))
    if line.startswith("WARNING: "):
        return Warned(text=line[9:])
    return None


def _failure(line: str) -> Event | None:
    if m := _OOM.fullmatch(line):
        return OutOfMemory(gpu=int(m[2]), tried=m[1], capacity=m[3])
    if m := _SIGNAL.fullmatch(line):
        return Signalled(signal=int(m[1]))
    if m := _ERROR.fullmatch(line):
        return Error(type=m[1], message=m[2] or "")
    return None
