"""What a person asks for: task, size, GPUs, overrides, budget. Validated once, then frozen."""

import re
from collections.abc import Iterable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, cast, get_args

import msgspec
from msgspec import Struct

from runner.errors import UsageError
from runner.model import stage_flags
from runner.model.backend_name import BackendName
from runner.model.code import Code
from runner.model.overrides import REHEARSAL_ONLY, Overrides, closest_name, flag, merge_overrides, parse_overrides
from runner.model.pricing import GPUS
from runner.model.stage_flags import StageFlag

Task = Literal["test", "speedrun", "base", "sft", "eval", "tokenizer"]
Engine = Literal["rehearsal", "nanochat"]

TASKS: tuple[str, ...] = get_args(Task)
ENGINES: tuple[str, ...] = get_args(Engine)
# Tasks that begin with a checkpoint of another run, and the one that trains no model.
CONTINUING = ("sft", "eval")
TOKENIZER_TASK = "tokenizer"
GPU_COUNTS = (1, 2, 4, 8)
MIN_DEPTH, MAX_DEPTH = 4, 34
MAX_CPU_DEPTH = 12
MAX_USD = 1_000_000
MAX_SHARDS, MIN_VOCAB = 6542, 512


class RunSpec(Struct, frozen=True, omit_defaults=False, kw_only=True):
    """One run as asked for. `gpus` GPUs of kind `gpu`; `budget_usd` in dollars, None for no cap; the job ends itself
    after `stop_if_stalled_s` seconds without progress, None for never.

    `source` is the id of the run whose checkpoints it begins with, empty for a run from nothing; `source_step`
    names one of them, None the newest that is whole. `tokenizer_from` is the id of a run of the task tokenizer whose
    tokenizer it takes. `code` is the person's own nanochat, None the pinned upstream;
    `flags` are flags of stages and variables that are passed on as they are. `wandb` is the W&B project, empty for the
    one that the code names, None for no W&B; `secrets` are Modal Secrets by name, `pass_env` variables of the shell
    that launches, which the job on this machine gets to see: their values are in no record. `recipe` is the name of
    the recipe that it was asked for with, empty for none.
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
    code: Code | None = None
    flags: tuple[StageFlag, ...] = ()
    wandb: str | None = None
    secrets: tuple[str, ...] = ()
    pass_env: tuple[str, ...] = ()
    recipe: str = ""
    tokenizer_from: str = ""

    @property
    def own(self) -> bool:
        """Whether it asks for what releases before schema 2 do not know, and would leave out."""
        asked = self.code or self.flags or self.secrets or self.pass_env or self.tokenizer_from
        return bool(asked or self.wandb is not None or self.task == TOKENIZER_TASK)

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
        code: Code | None = None,
        flags: Iterable[str] = (),
        wandb: str | None = None,
        secrets: Sequence[str] = (),
        pass_env: Sequence[str] = (),
        recipe: str = "",
    ) -> "RunSpec":
        """Make a valid spec of what a person typed. Raises UsageError for the first field that is wrong.

        `source` is the spec of the run whose checkpoint is continued: its size, GPUs and overrides are taken over. Of a
        run of the task tokenizer only what its tokenizer was made with is: the model may be any.
        """
        if task not in TASKS:
            raise UsageError(f"unknown task {task[:40]!r}", closest_name(task, TASKS), field="task")
        passed, model, overrides = stage_flags.typed(stage_flags.parse(flags), model, overrides or {})
        engine = engine or (source.engine if source else "nanochat" if code else usual_engine(backend, overrides))
        if engine not in ENGINES:
            raise UsageError(f"unknown engine {engine[:40]!r}", closest_name(engine, ENGINES), field="engine")
        if code and engine == "rehearsal":
            raise UsageError(
                "a rehearsal trains a stand-in, never your code", "leave --engine rehearsal or --code out", field="code"
            )
        on_cpu = backend == BackendName.LOCAL and engine == "nanochat"
        depth = parse_depth(model or (source.model if source else "d12"), on_cpu=on_cpu)
        _check_source(task, source, source_step)
        tokenizer, source = (source, None) if source and source.task == TOKENIZER_TASK else (None, source)
        if tokenizer:
            _check_tokenizer(tokenizer, engine, passed, overrides)
        if source and (source.depth, source.engine) != (depth, engine):
            raise UsageError(
                f"that run is a {source.model} of the {source.engine} engine",
                "leave --model and --engine out",
                field="from",
            )
        gpu = gpu_kind(gpu or (source.gpu if source else "H100"))
        if gpus is None:
            gpus = source.gpus if source else 8 if task in ("speedrun", "base") and not on_cpu else 1
        if on_cpu and gpus != 1:
            raise UsageError(
                f"{gpus} ranks on a CPU would train {gpus} unrelated models",
                "use 1, or --engine rehearsal",
                field="gpus",
            )
        if task == TOKENIZER_TASK:
            # It is trained on CPUs, for whatever model.
            gpus, depth = 1, min(depth, MAX_CPU_DEPTH)
        parsed = parse_overrides(overrides)
        if tokenizer:
            theirs = tokenizer.overrides
            made = Overrides(vocab_size=theirs.vocab_size, tokenizer_chars=theirs.tokenizer_chars)
            parsed = merge_overrides(made, parsed)
            passed = (*passed, *(one for one in tokenizer.flags if one.stage == TOKENIZER_TASK))
            code = code or tokenizer.code
        if source:
            parsed = merge_overrides(msgspec.structs.replace(source.overrides, fault=None), parsed)
        _check_overrides(parsed, task, engine, fault=bool(overrides.get("fault")))
        spec = cls(
            task=cast(Task, task),
            depth=depth,
            gpus=1,
            gpu=gpu,
            engine=cast(Engine, engine),
            budget_usd=parse_money(budget) if budget is not None else None,
            stop_if_stalled_s=parse_seconds(stop_if_stalled) if stop_if_stalled is not None else None,
            overrides=parsed,
            source="" if tokenizer else source_id,
            tokenizer_from=source_id if tokenizer else "",
            source_step=source_step,
            code=code or (source.code if source else None),
            flags=stage_flags.merged(source.flags if source else (), passed),
            wandb=wandb if wandb is not None else source.wandb if source else None,
            secrets=_names(secrets or (source.secrets if source else ()), "secret", _SECRET),
            pass_env=_names(pass_env or (source.pass_env if source else ()), "pass-env", _VARIABLE),
            recipe=recipe,
        )
        _check_place(spec, backend)
        return on_gpus(spec, gpus)


# Names that Modal takes for a Secret, W&B for a project, and a shell for a variable.
_SECRET, _PROJECT, _VARIABLE = r"[A-Za-z0-9._-]{1,64}", r"[A-Za-z0-9._ -]{0,128}", r"[A-Za-z_][A-Za-z0-9_]{0,127}"


def _names(given: Iterable[str], option: str, shape: str) -> tuple[str, ...]:
    """Each name once, in the order in which they came. Raises UsageError for what can be none."""
    for name in given:
        if not re.fullmatch(shape, name):
            # It may be the secret itself.
            raise UsageError(f"--{option}: that is not a name", "give the name, never the value", field=option)
    return tuple(dict.fromkeys(given))


def _check_place(spec: "RunSpec", backend: str) -> None:
    """Raises UsageError for keys that the backend has no way to."""
    if spec.wandb is not None and not re.fullmatch(_PROJECT, spec.wandb):
        raise UsageError(
            f"--wandb {spec.wandb[:40]!r} is no name of a project", "use letters, digits, - _ .", field="wandb"
        )
    if spec.wandb is not None and spec.engine == "rehearsal":
        raise UsageError("a rehearsal logs nothing to W&B", "leave --wandb out", field="wandb")
    if spec.secrets and backend == BackendName.LOCAL:
        raise UsageError("--secret names a Secret of Modal", "on this machine say --pass-env VARIABLE", field="secret")
    if spec.pass_env and backend == BackendName.MODAL:
        raise UsageError("--pass-env is for this machine", "on Modal say --secret NAME", field="pass-env")


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


def parse_seconds(text: str, field: str = "stop-if-stalled") -> float:
    """`20m`, `90s`, `1h`, `1200` -> seconds, at least one. Raises UsageError."""
    units = {"s": 1.0, "m": 60.0, "h": 3600.0}
    number = text.strip().lower()
    factor = units.get(number[-1:], 0.0)
    try:
        seconds = float(number[:-1] if factor else number) * (factor or 1.0)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= 86_400 * 7:
        raise UsageError(f"{text[:40]!r} is not a time", "give 20m, 90s or 1h", field=field)
    return seconds


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
    if source and source.task == TOKENIZER_TASK:
        if task in (*CONTINUING, TOKENIZER_TASK) or source_step is not None:
            raise UsageError("that run has a tokenizer and no model", "use --task base with --from it", field="from")
        return
    if source and task not in (*CONTINUING, "base"):
        raise UsageError(f"{task} begins with nothing", "use --task base, sft or eval with --from", field="from")


def _check_tokenizer(source: RunSpec, engine: str, flags: Sequence[StageFlag], overrides: dict[str, Any]) -> None:
    """Raises UsageError for a run that is to take a tokenizer and asks for another, or for another engine."""
    if source.engine != engine:
        raise UsageError(f"that run is of the {source.engine} engine", "leave --engine out", field="from")
    given = parse_overrides({n: overrides.get(n) for n in ("vocab_size", "tokenizer_chars")})
    other = [
        n for n in ("vocab_size", "tokenizer_chars") if getattr(given, n) not in (None, getattr(source.overrides, n))
    ]
    names = [*map(flag, other), *(f"--set {one}" for one in flags if one.stage == TOKENIZER_TASK)]
    if names:
        raise UsageError(
            f"{names[0]} asks for another tokenizer than that run's", "leave it out, or --from", field="from"
        )


def gpu_kind(gpu: str) -> str:
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
