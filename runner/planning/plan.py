"""RunSpec + what is on the volume + prices -> the stages to run, what is skipped and why, time and cost."""

from decimal import Decimal

from msgspec import Struct

from runner.errors import UsageError
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.pricing import MoneyRange, Prices, TimeRange
from runner.model.run import Estimate
from runner.model.spec import RunSpec
from runner.model.stages import PARTS, STAGES, Part, StageName, dearest_part, needs_gpus, part_of
from runner.model.status import StageState, StageStatus
from runner.nanochat import code_facts, command_lines, flops, layout, shapes
from runner.nanochat.code_facts import CodeFacts
from runner.nanochat.command_lines import Argv, ResolvedSpec
from runner.nanochat.layout import CheckpointKind, Inventory
from runner.planning import budget, estimate, legs
from runner.planning.defaults import resolve_spec
from runner.planning.estimate import PastRun
from runner.planning.plan_stages import Resume, Stage, StagePlanner, reads_tasks
from runner.volumes.checkpoint_verdicts import Checkpoint, newest_complete


class Saves(Struct, frozen=True):
    """Checkpoints on the way: every `steps`, which take `seconds`; the share of the time that saving takes."""

    steps: int
    seconds: float
    share: float


class Plan(Struct, frozen=True):
    """What a launch will do. Pure data: shown to a person before it is paid for, recomputed by the job itself.

    `total_steps` is 0 where no base model is trained, `parameters` where no model is needed; `val_every` and
    `core_every` are steps, 0 for never; `speed` says how fast a step is believed to be, and why; `packages` what is
    installed besides what the image has. Where a call may take no longer than `limit_s`, training takes `calls` of
    them; `too_long` says why that cannot be, and what to do.
    """

    stages: tuple[Stage, ...]
    env: dict[str, str]
    resume: Resume
    total_steps: int
    tokens: int
    parameters: int
    saves: Saves
    val_every: int
    core_every: int
    device_batch: int
    heartbeat_s: float
    seconds: TimeRange
    usd: MoneyRange
    usd_per_hour: Decimal
    prices: str
    speed: str
    warnings: tuple[str, ...]
    calls: int = 1
    too_long: tuple[str, str] | None = None
    limit_s: int | None = None
    packages: str = ""

    @property
    def estimate(self) -> Estimate:
        """The estimated time and money, kept with the run to be compared with what it really takes."""
        return Estimate(self.seconds, self.usd, {s.name: s.seconds for s in self.stages if not s.skip})


def make_plan(
    spec: RunSpec,
    inventory: Inventory,
    *,
    backend: str,
    checkpoints: list[Checkpoint] | None = None,
    finished: list[StageStatus] | None = None,
    trained_steps: int | None = None,
    attempt: int = 1,
    prices: Prices = pricing.DATED,
    own: PastRun | None = None,
    whose: str = "",
    code: CodeFacts | None = None,
    tag: str = "",
) -> Plan:
    """The plan of one attempt. `checkpoints` are the run's own and those of the run it continues; `finished` and
    `trained_steps` are what earlier attempts left; `own` is what a run of the same shape has taken;
    `whose` is what the run that it continues is called, `tag` what this one is; `code` is what is known of the nanochat
    that it trains, where that is the person's own.

    Raises UsageError when it cannot be run, as on another number of GPUs than its checkpoint is of.
    """
    s = resolve_spec(spec, backend, code, tag)
    size = estimate.shape_of(spec.depth, s.values)
    left_out = _flags_left_out(s)
    found = checkpoints or []
    done = _done(spec, finished or [], found, trained_steps)
    _check_gpus(spec, found, done)
    rates = {
        part: pricing.hourly_rate(
            backend, pricing.resources_for(part, spec.engine, gpu=spec.gpu, gpus=spec.gpus), prices
        )
        for part in PARTS
    }
    pace = estimate.speed(size, s, own)
    whose = whose or spec.source
    resume = _resume(newest_complete(found), s, attempt, whose)
    if spec.task == "base" and spec.source and attempt == 1 and resume.step >= size.iterations:
        raise UsageError(f"{whose} has trained {resume.step:,} steps already", "give more --iterations")
    maker = StagePlanner(s, size, inventory, found, resume, attempt, backend, pace, own, whose)
    stages = tuple(maker.stage(name, rates, skip="done" if name in done else "") for name in STAGES[spec.task])
    seconds = pricing.ZERO
    for stage in stages:
        seconds = seconds + stage.seconds
    usd = sum((stage.usd for stage in stages), pricing.FREE)
    trains = StageName.BASE in STAGES[spec.task]
    between = s.save_every * pace.step_s
    share = estimate.save_seconds(size, spec.gpus) / between if between and not maker.quick else 0.0
    limit = legs.limit_s(spec, backend)
    fit = _fit(maker, stages, limit)
    return Plan(
        stages=stages,
        env=command_lines.environment(s, offline=_offline(s, backend, inventory)),
        resume=resume,
        total_steps=size.iterations if trains else 0,
        tokens=size.tokens if trains else 0,
        parameters=size.params if needs_gpus(spec.task) else 0,
        saves=Saves(s.save_every, between, share),
        val_every=_every(s.values.eval_every, estimate.DEFAULT_EVAL_EVERY),
        core_every=_every(s.values.core_every, estimate.DEFAULT_CORE_EVERY),
        device_batch=s.device_batch,
        heartbeat_s=s.values.heartbeat or 60.0,
        seconds=seconds,
        usd=usd,
        usd_per_hour=rates[dearest_part(spec.task)],
        prices=_price_source(backend, prices),
        speed=pace.why,
        warnings=(*_warnings(spec, s, size, usd.likely, inventory), *left_out, *fit.warnings),
        calls=fit.calls,
        too_long=fit.too_long,
        limit_s=limit,
        packages=maker.packages,
    )


def _flags_left_out(s: ResolvedSpec) -> tuple[str, ...]:
    """What the plan would give to scripts that do not take it. Raises UsageError for what cannot be left out."""
    stages = [name for name in STAGES[s.spec.task] if name in command_lines.FLAGS]
    return tuple(line for name in stages for line in command_lines.flags_left_out(s, name))


def _fit(maker: StagePlanner, stages: tuple[Stage, ...], limit: int | None) -> legs.Fit:
    """How the part that trains goes through calls that may take no longer than a limit."""
    task = maker.s.spec.task
    train = [stage for stage in stages if part_of(task, stage.name) is Part.TRAIN and not stage.skip]
    quickest, likely, slowest = (
        [maker.piece(stage, getattr(stage.seconds, at)) for stage in train] for at in ("low", "likely", "high")
    )
    every = min(maker.s.save_every, max(1, maker.size.iterations - maker.resume.step))
    publish_s = budget.publish_seconds(maker.size.model_bytes + maker.size.optimizer_bytes, None)
    return legs.fit(quickest, likely, slowest, limit=limit, publish_s=publish_s, save_every=every)


def _offline(s: ResolvedSpec, backend: str, inventory: Inventory) -> bool:
    """Whether everything that nanochat would ask the Hub for is there: eight ranks asking is slow, and may fail.

    What a person's own code asks for nobody knows.
    """
    if s.spec.code:
        return False
    kernel = command_lines.kernel(s)
    wanted = backend == BackendName.MODAL and s.spec.engine == "nanochat" and kernel.offline
    return wanted and layout.has_kernel(inventory, kernel)


def _price_source(backend: str, prices: Prices) -> str:
    if backend != BackendName.LOCAL:
        return f"{prices.source}, {prices.date}"
    return "your own price of this machine" if prices.local else "free on this machine"


def _every(steps: int | None, default: int) -> int:
    """Steps between two of a kind of evaluation; 0 for never."""
    return max(0, default if steps is None else steps)


def _done(
    spec: RunSpec, finished: list[StageStatus], checkpoints: list[Checkpoint], trained_steps: int | None
) -> set[StageName]:
    """Stages not to be run again: they ended well, and what they made is still there.

    Data and tokenizer are judged by the volume alone; what builds on a model that is gone is run again with it.
    """
    done = {f.name for f in finished if f.state is StageState.DONE} - PARTS[Part.PREPARE] - {StageName.REPORT}
    if StageName.BASE in STAGES[spec.task]:
        newest = newest_complete(checkpoints)
        if newest is None or newest.step != trained_steps:
            return set()
    return done if newest_complete(checkpoints, CheckpointKind.SFT) else done - {StageName.SFT, StageName.CHAT_EVAL}


def _check_gpus(spec: RunSpec, checkpoints: list[Checkpoint], done: set[StageName]) -> None:
    """Each GPU saves its own part of the optimizer: it is of no use to another number of them."""
    newest = newest_complete(checkpoints)
    wanted = set(STAGES[spec.task]) & {StageName.BASE, StageName.SFT} - done
    if newest is None or newest.ranks == spec.gpus or not wanted:
        return
    if wanted == {"sft"} and spec.overrides.load_optimizer == 0:
        return
    alone = f"--task sft --from {newest.run} --gpus {spec.gpus} --load-optimizer 0"
    raise UsageError(
        f"step {newest.step:,} was saved on {newest.ranks} GPU{'s' if newest.ranks > 1 else ''}, each its own part of"
        f" the optimizer: {spec.gpus} cannot go on from it",
        f"use --gpus {newest.ranks}, or fine-tune the model's weights alone: {alone}",
        field="gpus",
    )


def _resume(newest: Checkpoint | None, s: ResolvedSpec, attempt: int, whose: str) -> Resume:
    if newest and StageName.BASE in STAGES[s.spec.task] and not command_lines.can_resume(s):
        return Resume(0, "this code has no --resume-from-step: it begins anew")
    if newest:
        of = f" of {whose}" if newest.run == s.spec.source else ""
        return Resume(newest.step, f"step {newest.step:,}{of} is the newest complete checkpoint")
    return Resume(0, "no complete checkpoint yet" if attempt > 1 else "a new run")


def _warnings(
    spec: RunSpec, s: ResolvedSpec, size: shapes.ModelShape, likely: Decimal, has: Inventory
) -> tuple[str, ...]:
    found = []
    trains = StageName.BASE in STAGES[spec.task]
    if spec.engine == "rehearsal":
        length = f", {size.iterations:,} steps" if trains else ""
        stands = f"a tiny model stands in for {spec.model}{length}" if needs_gpus(spec.task) else "its text is made up"
        found.append(f"a rehearsal: {stands}")
    if spec.budget_usd is not None and likely > spec.budget_usd:
        found.append(
            f"likely ${likely:,.2f} is over the budget of ${spec.budget_usd:,.2f}: it stops at a checkpoint before that"
        )
    if trains and s.save_every > size.iterations:
        found.append("no checkpoint before the last step: lower --save-every")
    shards = s.values.shards
    if trains and has.own_text and has.train_shards < (shards or size.shards) and spec.engine == "nanochat":
        wanted = f"{shards:,} were asked for" if shards else f"one epoch takes {size.shards:,}"
        found.append(f"your own text has {has.train_shards:,} shards, {wanted}: it will be seen again")
    elif trains and shards and spec.engine == "nanochat" and not s.on_cpu and shards < size.shards:
        found.append(f"{shards} shards are fewer than the {size.shards} of one epoch: text will be seen again")
    if trains and s.values.fp8 and spec.engine == "nanochat" and not s.on_cpu and s.code.undercounts:
        times = f"{flops.left_out(size):.1f}"
        found.append(
            f"in FP8 nanochat's own FLOPs and MFU are {times} times too low ({flops.WHY}): here both are whole, and its"
            f" --target-flops would train {times} times too long"
        )
    if reads_tasks(s) and not s.code.task_data and spec.engine == "nanochat":
        found.append("this code downloads its fine-tuning data itself, when that stage begins: the GPUs wait for it")
    if s.on_cpu and StageName.SFT in STAGES[spec.task] and s.code.identity and not has.identity:
        found.append(f"{code_facts.IDENTITY} is not on the volume: this code fine-tunes without what it says of itself")
    if s.spec.engine == "nanochat" and not s.on_cpu and (other := _unlike_upstream(spec, s)):
        found.append(other)
    if spec.overrides.iterations and spec.overrides.data_ratio:
        found.append("--iterations decides the length; --data-ratio only the batch")
    return tuple(found)


# nanochat's runs/speedrun.sh, which trains shorter than its base_train.py does by itself.
SPEEDRUN_DEPTH, SPEEDRUN_RATIO, SPEEDRUN_RECIPE = 24, 8.0, "speedrun-d24"


def _unlike_upstream(spec: RunSpec, s: ResolvedSpec) -> str:
    """How a speedrun of the size of nanochat's own differs from that, where nobody has asked for a length."""
    asked = spec.overrides
    if (spec.task, spec.depth) != ("speedrun", SPEEDRUN_DEPTH) or asked.iterations or asked.target_flops:
        return ""
    if asked.data_ratio or spec.code:
        return ""
    fp8 = "" if s.values.fp8 else " in FP8"
    return (
        f"nanochat's own speedrun trains d{SPEEDRUN_DEPTH} at ratio {SPEEDRUN_RATIO:.0f}{fp8}, this one at"
        f" {shapes.DEFAULT_RATIO:.0f}: --recipe {SPEEDRUN_RECIPE} is nanochat's"
    )


def plan_of(spec: RunSpec, backend: str) -> list[Argv]:
    """Every command line of a spec, as on an empty volume: what a run of it consists of."""
    today = make_plan(spec, Inventory(), backend=backend)
    return [argv for stage in today.stages for argv in stage.commands]
