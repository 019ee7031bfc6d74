"""What a person asks for: task, size, GPUs, overrides, budget. Validated once, then frozen."""

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Literal, cast, get_args, get_type_hints

import msgspec
from msgspec import Meta, Struct

from runner.errors import UsageError
from runner.model.backend_name import BackendName
from runner.model.pricing import GPUS

Task = Literal["test", "speedrun", "base", "sft", "eval"]
Engine = Literal["rehearsal", "nanochat"]

TASKS: tuple[str, ...] = get_args(Task)
ENGINES: tuple[str, ...] = get_args(Engine)
# Tasks that begin with a checkpoint of another run.
CONTINUING = ("sft", "eval")
GPU_COUNTS = (1, 2, 4, 8)
MIN_DEPTH, MAX_DEPTH = 4, 34
MAX_CPU_DEPTH = 12
MAX_USD = 1_000_000
MAX_SHARDS, MIN_VOCAB = 6542, 512

Count = Annotated[int, Meta(ge=1, le=10**12)]
CountOrOff = Annotated[int, Meta(ge=-1, le=10**12)]
Positive = Annotated[float, Meta(ge=0.001, le=100_000)]
NotNegative = Annotated[float, Meta(ge=0, le=3_600_000)]
Flag = Annotated[int, Meta(ge=0, le=1)]
Pattern = Annotated[str, Meta(pattern="^[SL]{1,64}$")]


class Overrides(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Values that replace the plan's own, each by its name; None leaves the plan's choice.

    The description of a field is its help text; `-1` switches an evaluation off, as in nanochat.
    """

    iterations: Annotated[Count | None, Meta(description="optimizer steps of the base model")] = None
    data_ratio: Annotated[Positive | None, Meta(description="training tokens per scaling parameter")] = None
    save_every: Annotated[Count | None, Meta(description="steps between checkpoints")] = None
    eval_every: Annotated[CountOrOff | None, Meta(description="steps between val bpb evaluations")] = None
    eval_tokens: Annotated[Count | None, Meta(description="tokens of one val bpb evaluation")] = None
    core_every: Annotated[CountOrOff | None, Meta(description="steps between CORE evaluations")] = None
    sample_every: Annotated[CountOrOff | None, Meta(description="steps between samples")] = None
    device_batch_size: Annotated[Count | None, Meta(description="sequences per GPU and micro-batch")] = None
    total_batch_size: Annotated[Count | None, Meta(description="tokens per optimizer step")] = None
    seq_len: Annotated[Count | None, Meta(description="context length in tokens")] = None
    aspect_ratio: Annotated[Count | None, Meta(description="model width per layer")] = None
    head_dim: Annotated[Count | None, Meta(description="attention head dimension")] = None
    window_pattern: Annotated[Pattern | None, Meta(description="attention windows, as SSSL")] = None
    warmup_steps: Annotated[Count | None, Meta(description="steps of learning-rate warm-up")] = None
    fp8: Annotated[bool | None, Meta(description="FP8 matmuls (H100 and newer)")] = None
    compile: Annotated[bool | None, Meta(description="torch.compile; off starts at once and trains slower")] = None
    stop_on_nan: Annotated[bool | None, Meta(description="stop when the loss is nan")] = None
    require_fa3: Annotated[bool | None, Meta(description="stop when Flash Attention 3 does not load")] = None
    shards: Annotated[Count | None, Meta(description="training data shards to have on the volume")] = None
    vocab_size: Annotated[Count | None, Meta(description="vocabulary of a newly trained tokenizer")] = None
    tokenizer_chars: Annotated[Count | None, Meta(description="characters the tokenizer is trained on")] = None
    sft_iterations: Annotated[Count | None, Meta(description="micro-batches of fine-tuning")] = None
    load_optimizer: Annotated[
        Flag | None, Meta(description="0: fine-tune from the model's weights alone, on any number of GPUs")
    ] = None
    eval_problems: Annotated[Count | None, Meta(description="most problems per chat evaluation task")] = None
    heartbeat: Annotated[Positive | None, Meta(description="seconds of silence before a heartbeat line")] = None
    step_ms: Annotated[NotNegative | None, Meta(description="rehearsal only: shortest time of a step")] = None
    call_limit: Annotated[
        Positive | None, Meta(description="rehearsal only: seconds that one call may take, in the place of a day")
    ] = None
    fault: Annotated[
        tuple[str, ...] | None, Meta(description="rehearsal only: crash|hang|oom|nan|truncate|ignore-sigterm @ step")
    ] = None


FAULTS = ("crash", "hang", "oom", "nan", "truncate", "ignore-sigterm")
REHEARSAL_ONLY = ("step_ms", "call_limit", "fault")
SWITCHES = ("fp8", "compile", "stop_on_nan", "require_fa3")


class RunSpec(Struct, frozen=True, omit_defaults=False, kw_only=True):
    """One run as asked for. `gpus` GPUs of kind `gpu`; `budget_usd` in dollars, None for no cap; the job ends itself
    after `stop_if_stalled_s` seconds without progress, None for never.

    `source` is the id of the run whose checkpoints it begins with, empty for a run from nothing; `source_step`
    names one of them, None the newest that is whole.
    """

    task: Task
    depth: int
    gpus: int
    gpu: str = "H100"
    engine: Engine = "rehearsal"
    budget_usd: Decimal | None = None
    stop_if_stalled_s: float | None = None
    overrides: Overrides = msgspec.field(default_factory=Overrides)
    source: str = ""
    source_step: int | None = None

    @property
    def model(self) -> str:
        """The size as people say it, also nanochat's own default checkpoint tag."""
        return f"d{self.depth}"

    @classmethod
    def create(
        cls,
        *,
        task: str = "test",
        model: str | None = None,
        backend: str = BackendName.LOCAL,
        engine: str | None = None,
        gpus: int | None = None,
        gpu: str | None = None,
        budget: str | None = None,
        stop_if_stalled: str | None = None,
        overrides: dict[str, Any] | None = None,
        source: "RunSpec | None" = None,
        source_id: str = "",
        source_step: int | None = None,
    ) -> "RunSpec":
        """Make a valid spec of what a person typed. Raises UsageError for the first field that is wrong.

        `source` is the spec of the run whose checkpoint is continued: its size, GPUs and overrides are taken over.
        """
        if task not in TASKS:
            raise UsageError(f"unknown task {task[:40]!r}", closest_name(task, TASKS), field="task")
        engine = engine or (source.engine if source else usual_engine(backend, overrides))
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine[:40]!r}", closest_name(engine, ENGINES), field="engine")
        on_cpu = backend == BackendName.LOCAL and engine == "nanochat"
        depth = parse_depth(model or (source.model if source else "d12"), on_cpu=on_cpu)
        _check_source(task, source, source_step)
        if source and (source.depth, source.engine) != (depth, engine):
            raise UsageError(
                f"that run is a {source.model} of the {source.engine} engine",
                "leave --model and --engine out",
                field="from",
            )
        gpu = _gpu_kind(gpu or (source.gpu if source else "H100"))
        if gpus is None:
            gpus = source.gpus if source else 8 if task in ("speedrun", "base") and not on_cpu else 1
        if on_cpu and gpus != 1:
            raise UsageError(
                f"{gpus} ranks on a CPU would train {gpus} unrelated models",
                "use 1, or --engine rehearsal",
                field="gpus",
            )
        parsed = parse_overrides(overrides or {})
        if source:
            parsed = merge_overrides(msgspec.structs.replace(source.overrides, fault=None), parsed)
        _check_overrides(parsed, task, engine, fault=bool((overrides or {}).get("fault")))
        spec = cls(
            task=cast(Task, task),
            depth=depth,
            gpus=1,
            gpu=gpu,
            engine=cast(Engine, engine),
            budget_usd=parse_money(budget) if budget is not None else None,
            stop_if_stalled_s=parse_seconds(stop_if_stalled) if stop_if_stalled is not None else None,
            overrides=parsed,
            source=source_id,
            source_step=source_step,
        )
        return on_gpus(spec, gpus)


def flag(name: str) -> str:
    """The command-line spelling of an override."""
    return "--" + name.replace("_", "-")


def merge_overrides(lower: Overrides, upper: Overrides) -> Overrides:
    """The values of `upper` where it sets them, else those of `lower`."""
    chosen = {
        name: getattr(lower, name) if (v := getattr(upper, name)) is None else v for name in Overrides.__struct_fields__
    }
    return Overrides(**chosen)


def override_help() -> dict[str, tuple[str, bool]]:
    """Name of each override -> (help text, is it a switch), in the order of `Overrides`."""
    hints = get_type_hints(Overrides, include_extras=True)
    found = {}
    for name in Overrides.__struct_fields__:
        metas = [m for m in hints[name].__metadata__ if isinstance(m, Meta) and m.description]
        found[name] = (str(metas[0].description), name in SWITCHES)
    return found


def closest_name(word: str, known: tuple[str, ...] | list[str]) -> str:
    """A hint naming the nearest known word, or all of them when none is near."""
    import difflib

    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"choose one of {', '.join(known)}"


def parse_depth(text: str, *, on_cpu: bool = False) -> int:
    """`d12` or `12` -> 12. Raises UsageError for a size that nanochat or the backend cannot train."""
    digits = text.strip().lower().removeprefix("d")
    low, high = (2, MAX_CPU_DEPTH) if on_cpu else (MIN_DEPTH, MAX_DEPTH)
    allowed = f"use an even depth from d{low} to d{high}" + ("" if on_cpu else ", as d12, d26 or d32")
    if not digits.isascii() or not digits.isdigit() or len(digits) > 4:
        raise UsageError(f"unknown model {text[:40]!r}", allowed, field="model")
    depth = int(digits)
    if on_cpu and depth > high:
        raise UsageError(f"d{depth} will not fit on a CPU", f"{allowed}, or --engine rehearsal", field="model")
    if depth % 2 or not low <= depth <= high:
        raise UsageError(f"unknown depth d{depth}", allowed, field="model")
    return depth


def on_gpus(spec: RunSpec, gpus: int) -> RunSpec:
    """The spec on another number of GPUs. Raises UsageError for one that there is not."""
    if gpus not in GPU_COUNTS:
        raise UsageError(f"{gpus} GPUs", f"choose one of {', '.join(map(str, GPU_COUNTS))}", field="gpus")
    return msgspec.structs.replace(spec, gpus=gpus)


def parse_money(text: str, *, name: str = "budget") -> Decimal:
    """`25`, `$25`, `25.50` -> Decimal dollars, greater than zero and finite."""
    try:
        dollars = Decimal(text.strip().removeprefix("$"))
    except InvalidOperation:
        dollars = Decimal("NaN")
    if not dollars.is_finite() or not 0 < dollars < MAX_USD:
        raise UsageError(f"{name} {text[:40]!r} is not an amount", "give dollars above zero, as 25", field=name)
    return dollars


def parse_seconds(text: str) -> float:
    """`20m`, `90s`, `1h`, `1200` -> seconds, at least one. Raises UsageError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number = text.strip().lower()
    factor = units.get(number[-1:], 0.0)
    try:
        seconds = float(number[:-1] if factor else number) * (factor or 1.0)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400 * 7:
        raise UsageError(f"{text[:40]!r} is not a time", "give 20m, 90s or 1h", field="stop-if-stalled")
    return seconds


def parse_overrides(given: dict[str, Any]) -> Overrides:
    """Texts or values by name -> Overrides. Raises UsageError naming the flag that is wrong."""
    known = Overrides.__struct_fields__
    for name in given:
        if name not in known:
            hint = closest_name(flag(name), [flag(k) for k in known])
            raise UsageError(f"unknown override {flag(name)}", hint, field="overrides")
    for one in given.get("fault") or ():
        check_fault(one)
    try:
        return msgspec.convert(given, Overrides, strict=False)
    except msgspec.ValidationError as error:
        reason, _, where = str(error).partition(" - at `$.")
        name = where.rstrip("`").split("[")[0]
        value = str(given.get(name, ""))[:40]
        raise UsageError(f"{flag(name)} {value!r}", reason.replace("`", ""), field="overrides") from error


def parse_override_words(text: str) -> dict[str, Any]:
    """`save-every=20 iterations=100 fp8` -> a dict for `parse_overrides`, as typed into a form."""
    given: dict[str, Any] = {}
    for word in text.split():
        name, _, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")
        if name.startswith("no_") and name[3:] in SWITCHES:
            name, value = name[3:], "false"
        given[name] = [*given.get(name, []), value] if name == "fault" else (value or "true")
    return given


def check_fault(text: str) -> None:
    """A rehearsed fault is `<name>@<step>`."""
    name, _, step = text.partition("@")
    if name not in FAULTS or not (step.isascii() and step.isdigit()):
        raise UsageError(f"unknown fault {text[:40]!r}", f"use {'|'.join(FAULTS)}@STEP, as crash@30", field="overrides")


def usual_engine(backend: str, overrides: dict[str, Any] | None = None) -> Engine:
    """What a launch means where no engine is named: the real thing on Modal, a rehearsal on this machine.

    What only a rehearsal understands names it.
    """
    rehearsed = any((overrides or {}).get(name) is not None for name in REHEARSAL_ONLY)
    return "nanochat" if backend == BackendName.MODAL and not rehearsed else "rehearsal"


def _check_source(task: str, source: RunSpec | None, source_step: int | None) -> None:
    """Raises UsageError for a task that needs another run, or cannot go on from one."""
    if source is None and source_step is not None:
        raise UsageError("--step is a step of another run", "say --from RUN too", field="from")
    if source is None and task in CONTINUING:
        raise UsageError(f"{task} needs a checkpoint to begin with", "say --from RUN", field="from")
    if source and task not in (*CONTINUING, "base"):
        raise UsageError(f"{task} begins with nothing", "use --task base, sft or eval with --from", field="from")


def _gpu_kind(gpu: str) -> str:
    """The GPU kind of that name, whatever its case. Raises UsageError."""
    by_name = {kind.upper(): kind for kind in GPUS}
    if gpu.upper() not in by_name:
        raise UsageError(f"unknown GPU {gpu[:40]!r}", closest_name(gpu.upper(), tuple(GPUS)), field="gpu")
    return by_name[gpu.upper()]


def _check_overrides(given: Overrides, task: str, engine: str, *, fault: bool) -> None:
    """Raises UsageError for a value that this task or engine does not take; `fault`: one was asked for."""
    if engine != "rehearsal":
        for name in REHEARSAL_ONLY:
            if getattr(given, name) is not None:
                raise UsageError(f"{flag(name)} is for --engine rehearsal", "leave it out", field="overrides")
    if task in CONTINUING and fault:
        raise UsageError("--fault strikes base training", f"leave it out of {task}", field="overrides")
    if given.load_optimizer is not None and task not in ("sft", "speedrun"):
        raise UsageError("--load-optimizer is for fine-tuning", f"leave it out of {task}", field="overrides")
    if (given.shards or 0) > MAX_SHARDS:
        raise UsageError(f"--shards {given.shards:,}", f"there are {MAX_SHARDS:,} in all", field="overrides")
    if (given.vocab_size or MIN_VOCAB) < MIN_VOCAB:
        raise UsageError(f"--vocab-size {given.vocab_size}", f"give at least {MIN_VOCAB}", field="overrides")
    if (given.head_dim or 128) % 8:
        raise UsageError(f"--head-dim {given.head_dim}", "must be a multiple of 8", field="overrides")
