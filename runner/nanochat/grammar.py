"""One log line of nanochat -> one typed Event, or None for plain text.

Feed it a line as split on `\\n` and `\\r`; `strip_ansi` takes out colours and control characters first.
Every pattern is anchored and has no repetition inside a repetition, so a hostile line costs what its length costs.
"""

import itertools
import re
from collections.abc import Callable

from runner.diagnosis.lines import LONGEST_TEXT, exception_cause
from runner.diagnosis.signs import sign_of
from runner.model.events import (
    SAMPLE_CHARS,
    ChatCore,
    CoreMetric,
    Downloaded,
    Event,
    Fact,
    Failed,
    Noted,
    Resumed,
    Sample,
    Saved,
    Step,
    TaskScore,
    TrainBpb,
    ValBpb,
    Warned,
)
from runner.nanochat.fields import fields_event

MAX_LINE = 4096

_NUMBER = r"(-?(?:\d{1,24}(?:\.\d{1,24})?(?:e[+-]?\d{1,4})?|nan|inf))"
_COUNT = r"(\d{1,9})"
# The one line that comes by the ten thousand: a loose word is a third faster than a strict number.
_STEP = re.compile(
    rf"step {_COUNT}(?:/{_COUNT})? \(([^%]+)%\) \| loss: (\S+) \| lrm: (\S+) \| dt: ([^m]+)ms"
    r" \| tok/sec: ([0-9,]{1,20}) \| (?:bf16_)?mfu: (\S+)"
    rf"(?: \| epoch: {_COUNT}(?: pq: [0-9]+ rg: [0-9]+)?)?(?: \| total time: \S+)?(?: \| eta: ([^m]+)m)?",
    re.ASCII,
)
_RANK = re.compile(r"\[rank(\d{1,6})\]: ?")
_LOGGER = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [\w.]{1,80} - ([A-Z]{1,12}) - (.*)", re.ASCII)
_SAVED = re.compile(
    r"Saved (model parameters|metadata|optimizer state|model file|metadata file|optimizer file) to: "
    r"(.*)/(?:model|meta|optim)_(\d{6})\D.*"
)
# What was saved, as releases before 2026 called it.
_SAVED_BEFORE = {"model file": "model parameters", "metadata file": "metadata", "optimizer file": "optimizer state"}
# Where another line begins in the middle of one: `print` writes text and newline apart, and others write between.
_GLUED = re.compile(
    r"(?<=.)(?:\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - [\w.]{1,80} - [A-Z]{1,12} - "
    r"|\[rank\d{1,6}\]:|step \d{5,9}[/ ]|Step \d{5,9} \||(?<!\]: )(?<!\]:)Traceback \(most recent call last\):)",
    re.ASCII,
)
_SHORTEST_GLUED = 40
# What is of one line for sure.
_WHOLE = frozenset((Sample, TaskScore))
_WORLD = "Distributed world size: "


# Lines that carry numbers, each with what it becomes; tried in order, by the first character of the line.
_Make = Callable[[re.Match[str]], Event]
_NUMBERED: tuple[tuple[str, str, _Make], ...] = (
    ("v", rf"val bpb: {_NUMBER}", lambda m: ValBpb(None, float(m[1]))),
    ("t", rf"train bpb: {_NUMBER}", lambda m: TrainBpb(float(m[1]))),
    ("C", rf"CORE metric: {_NUMBER}", lambda m: CoreMetric(None, float(m[1]))),
    ("C", rf"ChatCORE metric: {_NUMBER}(?: \|.*)?", lambda m: ChatCore(None, float(m[1]))),
    (
        "E",
        rf"Evaluating: (\S{{1,80}}) \(\d{{1,4}}-shot, type: \w{{1,40}}\)\.\.\. accuracy: {_NUMBER}"
        rf" \| centered: {_NUMBER} \|.*",
        lambda m: TaskScore(m[1], float(m[2]), float(m[3])),
    ),
    (
        " AMGH",
        rf"(?:  )?(ARC-Easy|ARC-Challenge|MMLU|GSM8K|HumanEval)(?: accuracy)?: {_NUMBER}%",
        lambda m: TaskScore(m[1], float(m[2]) / 100),
    ),
    ("R", r"Resuming optimization from step (\d{1,9})", lambda m: Resumed(int(m[1]))),
    ("D", r"Done! Downloaded: (\d{1,9})/(\d{1,9}) shards to .*", lambda m: Downloaded(int(m[1]), int(m[2]))),
    (
        " ",
        r'  "(sequence_len|n_layer|n_embd|window_pattern)": "?(\w{1,64})"?,?',
        lambda m: Fact(m[1], m[2]),
    ),
    ("wvlst", r"(wte|value_embeds|lm_head|transformer_matrices|scalars|total) +: ([\d,]{1,24})", lambda m: _group(m)),
)
_BY_HEAD: dict[str, list[tuple[re.Pattern[str], _Make]]] = {}
for _heads, _pattern, _make in _NUMBERED:
    for _head in _heads:
        _BY_HEAD.setdefault(_head, []).append((re.compile(_pattern, re.ASCII), _make))

_FACTS = {
    "Autodetected device type: ": "device_type",
    "GPU: ": "gpu",
    "COMPUTE_DTYPE: ": "dtype",
    "Vocab size: ": "vocab_size",
    "Estimated FLOPs per token: ": "flops_per_token",
    "Auto-computed optimal batch size: ": "batch",
    "Using user-provided number of iterations: ": "iterations",
    "Calculated number of iterations from target data:param ratio: ": "iterations",
    "Calculated number of iterations from target FLOPs: ": "iterations",
    "Total number of training tokens: ": "tokens",
    "Tokens / micro-batch / rank: ": "micro_batch",
    "Total batch size ": "total_batch",
    "Tokens : Scaling params ratio: ": "data_ratio",
    "Number of parameters: ": "parameters",
    "Tokens : Params ratio: ": "data_ratio",
    "Total training FLOPs estimate: ": "flops",
    "Peak memory usage: ": "peak_memory",
    "Total training time: ": "training_time",
    "Minimum validation bpb: ": "min_val_bpb",
    "✓ Using Flash Attention 3": "flash_attention_3",
    "✓ FP8 training enabled": "fp8",
    "Training mixture: ": "sft_rows",
    "Results written to: ": "core_csv",
}
_FACTS_BY_HEAD: dict[str, list[tuple[str, str]]] = {}
for _prefix, _name in _FACTS.items():
    _FACTS_BY_HEAD.setdefault(_prefix[0], []).append((_prefix, _name))
_SAMPLE = "<|bos|>"
_WARNINGS = ("WARNING: ", "Warning: ", "  WARNING: ", "FOOTGUN WARNING: ", "Failed to download ")
_WARNING = re.compile(r"(?:  )?(?:FOOTGUN )?(?:WARNING|Warning): ")

_TORCHRUN = re.compile(r"[EWI]\d{4} \S{1,20} \d{1,9} (?:site-packages/)?torch/\S{1,200}\] .*", re.ASCII)
_PYTHON_WARNING = re.compile(r"\S{1,300}:\d{1,7}: \w{0,60}Warning: .*", re.ASCII)
_TRACE, _TRACEBACK = "traceback", "Traceback (most recent call last):"
_NOTES = {
    "Parameter counts:": "header",
    "Padding vocab_size ": "header",
    "Scaling LRs by ": "header",
    "Scaling weight decay ": "header",
    "Scaling the LR ": "header",
    "Tokens / micro-batch": "header",
    "GradScaler enabled": "header",
    "Inherited ": "header",
    "Using ": "header",
    "NOTE: --": "header",
    "Loaded optimizer state": "header",
    "Adjusted split_tokens ": "header",
    "Total sequences per step: ": "header",
    "Calculated number of steps: ": "header",
    "Overriding": "header",
    "num_layers: ": "header",
    "model_dim: ": "header",
    "num_heads: ": "header",
    "num_kv_heads: ": "header",
    "Target examples per step: ": "header",
    "Device batch size: ": "header",
    "Examples per step is ": "header",
    "=> Setting grad accum steps: ": "header",
    "Number of iterations is too high: ": "header",
    "Device: ": "header",
    "Loading model from: ": "evaluation",
    "Loading huggingface model from: ": "evaluation",
    "Model: ": "evaluation",
    "Calculated examples per rank: ": "header",
    "Model config:": "config",
    '  "': "config",
    "Evaluating model: ": "evaluation",
    "Eval modes: ": "evaluation",
    "Evaluating: ": "evaluation",
    "Conditioned samples:": "evaluation",
    "Unconditioned samples:": "evaluation",
    "Model Samples": "evaluation",
    "BPB Evaluation": "evaluation",
    "CORE Evaluation": "evaluation",
    "Rank ": "progress",
    "Final: ": "progress",
    _TRACEBACK: _TRACE,
    "During handling of the above exception": _TRACE,
    "The above exception was the direct cause": _TRACE,
    '  File "': _TRACE,
    "    ": _TRACE,
    "max_chars: ": "tokenizer",
    "doc_cap: ": "tokenizer",
    "vocab_size: ": "tokenizer",
    "Training time: ": "tokenizer",
    "Saved tokenizer encoding to ": "tokenizer",
    "Saved token_bytes to ": "tokenizer",
    "Downloading ": "download",
    "Downloaded to ": "download",
    "Target directory: ": "download",
    "Successfully downloaded ": "download",
    "Skipping ": "download",
    "Attempt ": "download",
    "Waiting ": "download",
    "Placed eval_bundle directory at ": "download",
    "  Could not find: ": "download",
    "  nanochat recently switched ": "download",
    "  Everyone who does ": "download",
    "  To upgrade to the new ": "download",
    "  For now, falling back ": "download",
    "Step ": "evaluation",
    "✅ Saved model checkpoint to ": "rl",
    "NanoChat Interactive Mode": "chat",
    "Type '": "chat",
    "Goodbye!": "chat",
    "Conversation cleared.": "chat",
    "Assistant: ": "chat",
    "User: ": "chat",
    "wandb: ": "wandb",
    "Failures:": "torchrun",
    "Root Cause (first observed failure):": "torchrun",
    "  time      : ": "torchrun",
    "  host      : ": "torchrun",
    "  rank      : ": "torchrun",
    "  exitcode  : ": "torchrun",
    "  error_file: ": "torchrun",
    "  traceback : ": "torchrun",
    "[rank": "torchrun",
}
_NOTES_BY_HEAD: dict[str, list[tuple[str, str]]] = {}
for _prefix, _about in _NOTES.items():
    _NOTES_BY_HEAD.setdefault(_prefix[0], []).append((_prefix, _about))
_OWN = re.compile(r"\[[A-Z]{3,12}(?: \d{1,6})?\] .*", re.ASCII)
_FAILED_MODULE = re.compile(r"[\w.]{1,80} FAILED|\[\d{1,4}\]:", re.ASCII)
_RULE, _BANNER, _CARETS = frozenset("-=!"), frozenset(" █░"), frozenset(" ~^")
_SHORTEST_RULE = 20


def read(line: str) -> list[tuple[str, Event | None]]:
    """The lines that a cleaned line is made of, each with what it says: one, unless others were written into it."""
    if line.startswith("step ") and (m := _STEP.fullmatch(line)):
        return [(line, _step(m.groups()))]
    event = _parse(line)
    if len(line) < _SHORTEST_GLUED or type(event) in _WHOLE or not _may_be_glued(line):
        return [(line, event)]
    edges = [0, *(m.start() for m in _GLUED.finditer(line)), len(line)]
    return [(line[a:b], parse(line[a:b])) for a, b in itertools.pairwise(edges)]


def _may_be_glued(line: str) -> bool:
    # A logger's line has its own stamp before the first of these.
    found = line.find(" - nanochat.", 24) > 0 or line.find("[rank", 1) > 0 or line.find("tep 0", 2) > 0
    return (found or line.find(_TRACEBACK, 1) > 0) and len(line) <= MAX_LINE


def parse(line: str) -> Event | None:
    """The event that a cleaned line says. Never raises; lines over MAX_LINE are plain text."""
    if line.startswith("step ") and (m := _STEP.fullmatch(line)):
        return _step(m.groups())
    return _parse(line)


def _parse(line: str) -> Event | None:
    """The same of a line that is no step in the words of today."""
    if not line or len(line) > MAX_LINE:
        return None
    rank = None
    if line[0] == "[" and (m := _RANK.match(line)):
        rank, line = int(m[1]), line[m.end() :]
        if not line:
            return Noted(_TRACE)
    if line[0] in "sS" and (event := fields_event(line)):
        return event
    for pattern, make in _BY_HEAD.get(line[0], ()):
        if m := pattern.fullmatch(line):
            return make(m)
    if line[0].isdigit() and (m := _LOGGER.fullmatch(line)):
        return _logger_line(m[1], m[2])
    if line[0] == "[" and _OWN.fullmatch(line):
        return Noted("job")
    return _fact(line) or _failure(line, rank) or _note(line)


# What a line has to have in it to be one that could not be another program's.
_FRAME = '  File "'
_TELLING = (
    *_FACTS,
    "step ",
    "Step ",
    " - nanochat.",
    _TRACEBACK,
    "[STAGE] ",
    "[ATTEMPT ",
    " bpb: ",
    "[rank",
    _SAMPLE,
    _FRAME,
)


def may_hold(line: str) -> bool:
    """Whether there may be something in a line that no other program says. Quick; `is_evidence` decides."""
    return len(line) <= MAX_LINE and any(words in line for words in _TELLING)


def is_evidence(line: str) -> bool:
    """Whether a text is one that no other program says: nothing that others print too, as errors and rules."""
    if line.startswith((_TRACEBACK, _FRAME, "[STAGE] ", "[ATTEMPT ", "[rank", _SAMPLE)):
        return True
    if line[:1].isdigit():
        return bool(_LOGGER.fullmatch(line))
    return isinstance(parse(line), Step | ValBpb | TrainBpb | CoreMetric | ChatCore | Fact)


def _step(groups: tuple[str, ...]) -> Step | None:
    step, total, percent, loss, lrm, dt, speed, mfu, epoch, eta = groups
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


def _group(m: re.Match[str]) -> Fact:
    """A line of the table of parameters."""
    return Fact("parameters" if m[1] == "total" else m[1], m[2])


def _logger_line(level: str, message: str) -> Event:
    if m := _SAVED.fullmatch(message):
        return Saved(what=_SAVED_BEFORE.get(m[1], m[1]), folder=m[2], step=int(m[3]))
    if message.startswith(_WORLD):
        return Fact(name="world_size", value=message[len(_WORLD) :])
    if level in ("WARNING", "ERROR", "CRITICAL"):
        return Warned(message)
    return Noted("tokenizer" if message.startswith("Progress: ") else "logger")


def _fact(line: str) -> Event | None:
    if line.startswith(_SAMPLE):
        return Sample(line[len(_SAMPLE) :][:SAMPLE_CHARS])
    for prefix, name in _FACTS_BY_HEAD.get(line[0], ()):
        if line.startswith(prefix):
            return Fact(name=name, value=line[len(prefix) :].strip())
    if line.startswith(_WARNINGS):
        return Warned(_WARNING.sub("", line))
    return None


def _failure(line: str, rank: int | None) -> Event | None:
    if found := sign_of(line):
        if rank is None or found.rank is not None:
            return Failed(found.text, found.cause, found.rank, found.code, found.prose)
        who = re.sub(r"^a rank\b", f"rank {rank}", found.text)
        return Failed(who, found.cause, rank, found.code, found.prose)
    if cause := exception_cause(line):
        return Failed(line.strip()[:LONGEST_TEXT], cause, rank, hint=True)
    return None


def _note(line: str) -> Noted | None:
    for prefix, about in _NOTES_BY_HEAD.get(line[0], ()):
        if line.startswith(prefix):
            return Noted(about)
    letters = frozenset(line)
    if len(line) >= _SHORTEST_RULE and letters <= _RULE:
        return Noted("rule")
    if letters <= _BANNER or letters <= _CARETS or line in ("{", "}"):
        return Noted("banner" if letters <= _BANNER else _TRACE if letters <= _CARETS else "config")
    if _TORCHRUN.fullmatch(line) or _FAILED_MODULE.fullmatch(line):
        return Noted("torchrun")
    if _PYTHON_WARNING.fullmatch(line):
        return Noted("python warning")
    return None
