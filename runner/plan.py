"""RunSpec + what is on the volume + prices -> the stages to run, what is skipped and why, time and cost."""

import math
from decimal import Decimal

from msgspec import Struct

from runner import cost
from runner.checkpoints import Checkpoint, newest_complete
from runner.cost import Prices, Range, spread
from runner.errors import UsageError
from runner.nanochat import commands, layout, shapes
from runner.nanochat.commands import Argv, Settings
from runner.nanochat.layout import Inventory
from runner.run import Run, StageState, StageStatus
from runner.spec import Overrides, RunSpec

CPU_TOKENS_PER_S = 10_000.0
PREEMPTION_MTBF_S = 6 * 3600.0
SAVE_BYTES_PER_S = 1e9
STARTUP_S = Range(60.0, 150.0, 300.0)
STAGES = ("prepare", "tokenizer", "base", "base_eval", "sft", "chat_eval", "report")
TEST_STAGES = ("prepare", "tokenizer", "base", "report")
# Each part has a container of its own on Modal: no GPU waits for a download.
PARTS = {
    "prepare": frozenset({"prepare", "tokenizer"}),
    "train": frozenset({"base", "base_eval", "sft", "chat_eval", "report"}),
}


class Stage(Struct, frozen=True):
    """One stage: its command lines, or the reason it is skipped; seconds and dollars low, likely, high."""

    name: str
    commands: tuple[Argv, ...]
    skip: str
    note: str
    seconds: Range
    usd: tuple[Decimal, Decimal, Decimal]


class Resume(Struct, frozen=True):
    """Where base training begins and why; step 0 is the beginning."""

    step: int
    reason: str


class Plan(Struct, frozen=True):
    """What a launch will do. Pure data: shown to a person before it is paid for, recomputed by the job itself."""

    stages: tuple[Stage, ...]
    env: dict[str, str]
    resume: Resume
    total_steps: int
    tokens: int
    parameters: int
    save_every: int
    device_batch: int
    heartbeat_s: float
    seconds: Range
    usd: tuple[Decimal, Decimal, Decimal]
    usd_per_hour: Decimal
    prices: str
    warnings: tuple[str, ...]


def settings(spec: RunSpec, backend: str) -> Settings:
    """Fill in every default of a spec. Raises UsageError when the model cannot be trained as asked."""
    on_cpu = backend == "local" and spec.engine == "nanochat"
    layers = [spec.overrides]
    if spec.task == "test":
        layers.append(commands.TEST_DEFAULTS)
    if spec.engine == "rehearsal":
        layers.append(commands.REHEARSAL_DEFAULTS)
    elif on_cpu:
        layers.append(commands.CPU_DEFAULTS)
    elif spec.depth >= 20 and spec.gpu in ("H100", "H200", "B200", "B300"):
        layers.append(Overrides(fp8=True))
    values = commands.merged(*layers)
    size = _shape(values, spec.depth)
    seq_len = values.seq_len or 2048
    batch = values.device_batch_size
    if batch is None:
        batch = shapes.device_batch_size(size, gpus=spec.gpus, gpu_gib=cost.GPUS[spec.gpu].memory_gib, seq_len=seq_len)
        if batch == 0:
            raise UsageError(
                f"{spec.model} will not fit on {spec.gpus} × {spec.gpu} ({cost.GPUS[spec.gpu].memory_gib} GiB each)",
                "choose a smaller --model, or a larger --gpu such as H100",
                field="model",
            )
    micro = batch * seq_len * spec.gpus
    if size.batch % micro:
        raise UsageError(
            f"the batch of {size.batch:,} tokens is not a multiple of {micro:,}"
            f" (--device-batch-size {batch} × {seq_len} × {spec.gpus} GPUs)",
            "lower --device-batch-size by powers of two",
            field="overrides",
        )
    save_every = values.save_every or _save_interval(size, spec, values, on_cpu)
    return Settings(spec=spec, values=values, device_batch=batch, save_every=save_every, on_cpu=on_cpu)


def _shape(values: Overrides, depth: int) -> shapes.Shape:
    return shapes.shape(
        depth,
        head_dim=values.head_dim or 128,
        vocab=values.vocab_size or shapes.VOCAB,
        seq_len=values.seq_len or 2048,
        window=values.window_pattern or "SSSL",
        ratio=values.data_ratio or shapes.DEFAULT_RATIO,
        batch=values.total_batch_size,
        iterations=values.iterations,
    )


def _step_seconds(size: shapes.Shape, s: RunSpec, values: Overrides, on_cpu: bool) -> float:
    if s.engine == "rehearsal":
        return max(0.025, (values.step_ms or 0) / 1000)
    if on_cpu:
        return size.batch / CPU_TOKENS_PER_S * max(1.0, size.params / 1.5e6)
    peak = cost.GPUS[s.gpu].peak_flops * s.gpus
    return size.flops_per_token * size.batch / (peak * cost.mfu(s.depth) * (1.18 if values.fp8 else 1.0))


def _save_interval(size: shapes.Shape, s: RunSpec, values: Overrides, on_cpu: bool) -> int:
    """Young/Daly: the interval that makes saving cost as much as what a preemption loses."""
    if s.task == "test":
        return max(1, size.iterations // 2)
    if s.engine == "rehearsal" or on_cpu:
        return max(1, size.iterations // 10)
    save_s = (size.model_bytes + size.optimizer_bytes) / SAVE_BYTES_PER_S
    seconds = math.sqrt(2 * save_s * PREEMPTION_MTBF_S)
    steps = max(1, round(seconds / _step_seconds(size, s, values, on_cpu)))
    return min(steps, max(1, size.iterations // 4))


def plan(
    spec: RunSpec,
    inventory: Inventory,
    *,
    backend: str,
    checkpoints: list[Checkpoint] | None = None,
    finished: list[StageStatus] | None = None,
    trained_steps: int | None = None,
    attempt: int = 1,
    prices: Prices = cost.DATED,
) -> Plan:
    """The plan of one attempt. `checkpoints`, `finished` and `trained_steps` are what earlier attempts left."""
    s = settings(spec, backend)
    size = _shape(s.values, spec.depth)
    newest = newest_complete(checkpoints or [])
    done = _done(finished or [], checkpoints or [], trained_steps)
    resume = _resume(newest, s, attempt)
    rates = {
        part: cost.hourly_rate(backend, cost.box(part, spec.engine, gpu=spec.gpu, gpus=spec.gpus), prices)
        for part in PARTS
    }
    rate = rates["train"]
    stages = tuple(
        _stage(name, s, size, inventory, resume, attempt, backend, rates, skip="done" if name in done else "")
        for name in (TEST_STAGES if spec.task == "test" else STAGES)
    )
    seconds = cost.ZERO
    for stage in stages:
        seconds = seconds + stage.seconds
    usd = tuple(sum((stage.usd[i] for stage in stages), Decimal(0)) for i in range(3))
    return Plan(
        stages=stages,
        env=commands.environment(s),
        resume=resume,
        total_steps=size.iterations,
        tokens=size.tokens,
        parameters=size.params,
        save_every=s.save_every,
        device_batch=s.device_batch,
        heartbeat_s=s.values.heartbeat or 60.0,
        seconds=seconds,
        usd=(usd[0], usd[1], usd[2]),
        usd_per_hour=rate,
        prices="free on this machine" if backend == "local" else f"{prices.source}, {prices.date}",
        warnings=_warnings(spec, s, size, usd[1], backend),
    )


def _done(finished: list[StageStatus], checkpoints: list[Checkpoint], trained_steps: int | None) -> set[str]:
    """Stages not to be run again: they ended well, and what they made is still there.

    Data and tokenizer are judged by the volume alone; what builds on a model that is gone is run again with it.
    """
    done = {f.name for f in finished if f.state is StageState.DONE} - {"prepare", "tokenizer", "report"}
    newest, tuned = newest_complete(checkpoints), newest_complete(checkpoints, "sft")
    if newest is None or newest.step != trained_steps:
        return set()
    return done if tuned else done - {"sft", "chat_eval"}


def _resume(newest: Checkpoint | None, s: Settings, attempt: int) -> Resume:
    if newest:
        return Resume(newest.step, f"step {newest.step:,} is the newest complete checkpoint")
    return Resume(0, "no complete checkpoint yet" if attempt > 1 else "a new run")


def _warnings(spec: RunSpec, s: Settings, size: shapes.Shape, likely: Decimal, backend: str) -> tuple[str, ...]:
    found = []
    if spec.engine == "rehearsal":
        found.append(f"a rehearsal: a tiny model stands in for {spec.model}, {size.iterations:,} steps")
    if spec.budget_usd is not None and backend != "local":
        found.append("the budget is shown, not enforced: nothing stops the run when it is spent")
    if spec.budget_usd is not None and likely > spec.budget_usd:
        found.append(f"likely ${likely:,.2f} is over the budget of ${spec.budget_usd:,.2f}")
    if s.save_every > size.iterations:
        found.append("no checkpoint before the last step: lower --save-every")
    return tuple(found)


def _stage(
    name: str,
    s: Settings,
    size: shapes.Shape,
    inventory: Inventory,
    resume: Resume,
    attempt: int,
    backend: str,
    rates: dict[str, Decimal],
    skip: str,
) -> Stage:
    argv: tuple[Argv, ...] = ()
    note, seconds = "", cost.ZERO
    step_s = _step_seconds(size, s.spec, s.values, s.on_cpu)
    quick = s.spec.engine == "rehearsal" or s.on_cpu
    startup = spread(6.0 if s.on_cpu else 0.3, 0.5, 2.0) if quick else STARTUP_S
    match name:
        case "prepare":
            needed = s.values.shards or size.shards
            missing = max(0, needed - inventory.train_shards)
            also = _also_needed(s, inventory, backend)
            if not missing and inventory.validation_shard and not also:
                skip = skip or f"{needed} shards are on the volume"
            argv = (commands.dataset(s, needed), *also.values())
            note = ", ".join([f"{missing} of {needed} shards", *also])
            seconds = (
                spread(0.5)
                if s.spec.engine == "rehearsal"
                else Range(20 + missing * 0.5, 40 + missing, 90 + missing * 3)
            )
        case "tokenizer":
            vocab = s.values.vocab_size or shapes.VOCAB
            other = s.spec.engine == "nanochat" and not layout.has_vocabulary(inventory.token_bytes, vocab)
            skip = skip or ("kept" if inventory.tokenizer and not other else "")
            note = f"the one there has not {vocab:,} tokens" if inventory.tokenizer and other else ""
            argv = (commands.tok_train(s),)
            seconds = spread(1.0 if s.spec.engine == "rehearsal" else 4.0 if s.on_cpu else 120.0, 0.5, 2.5)
        case "base":
            left = max(0, size.iterations - resume.step)
            argv = (commands.base_train(s, resume_from=resume.step or None, attempt=attempt),)
            note = f"{left:,} steps" + (f", from {resume.step:,}" if resume.step else "")
            train = spread(left * step_s, 0.9, 1.2) if not s.on_cpu else spread(left * step_s, 0.5, 4.0)
            seconds = startup + train
        case "base_eval":
            core = s.spec.engine == "rehearsal" or not s.on_cpu or inventory.eval_bundle
            argv = (commands.base_eval(s, core=core),)
            note = "" if core else "CORE left out: eval_bundle/ is not on the volume"
            seconds = startup + (spread(2.0, 0.5, 3.0) if quick else Range(240, 480, 900))
        case "sft":
            argv = (commands.chat_sft(s),)
            seconds = startup + (
                spread((s.values.sft_iterations or 0) * step_s, 0.5, 3.0) if quick else _sft_range(size, step_s)
            )
        case "chat_eval":
            argv = (commands.chat_eval(s),)
            seconds = startup + (spread(3.0, 0.5, 4.0) if quick else Range(180, 300, 600))
        case "report":
            seconds = spread(0.1)
    if skip:
        return Stage(name, (), skip, "", cost.ZERO, (Decimal(0), Decimal(0), Decimal(0)))
    at = rates["train" if name in PARTS["train"] else "prepare"]
    usd = (cost.dollars(seconds.low, at), cost.dollars(seconds.likely, at), cost.dollars(seconds.high, at))
    return Stage(name, argv, "", note, seconds, usd)


def _also_needed(s: Settings, inventory: Inventory, backend: str) -> dict[str, Argv]:
    """Downloads besides the shards, by name, that no GPU should wait for; other engines and places do without."""
    if backend != "modal" or s.spec.engine != "nanochat":
        return {}
    found = {}
    kernel = commands.flash_attention(s)
    if kernel and not inventory.kernel:
        found["attention kernel"] = kernel
    if s.spec.task != "test" and not inventory.eval_bundle:
        found["eval bundle"] = commands.EVAL_BUNDLE
    if s.spec.task != "test" and not inventory.task_data:
        found["task data"] = commands.TASK_DATA
    return found


SFT_TOKENS = 430_000_000


def _sft_range(size: shapes.Shape, step_s: float) -> Range:
    """One epoch of the SFT mixture at the speed of pretraining, ChatCORE evaluations on top."""
    train = SFT_TOKENS / (size.batch / step_s)
    return Range(train * 0.8 + 120, train + 240, train * 1.5 + 480)


def plan_of(run: Run) -> list[Argv]:
    """Every command line of a run's spec, as on an empty volume: what the run consists of."""
    today = plan(run.spec, Inventory(), backend=run.backend)
    return [argv for stage in today.stages for argv in stage.commands]
