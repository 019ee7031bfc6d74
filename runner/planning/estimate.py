"""How long the stages of a plan take: FLOPs over the speed of the GPUs, start-up, evaluations and saves. Pure.

Every speed says where it is from: `documented` by nanochat, `measured` on this project's GPUs (tests/measured),
`interpolated` between those, `assumed` where nobody has told; the less is known, the wider the range.
"""

import math
from collections.abc import Iterable, Sequence
from enum import StrEnum

import msgspec
from msgspec import Struct

from runner.model import pricing
from runner.model.overrides import Overrides
from runner.model.pricing import GPUS, TimeRange, range_around
from runner.model.run import Run
from runner.model.spec import RunSpec
from runner.model.stage_flags import ENV
from runner.model.stages import StageName
from runner.model.status import StageState
from runner.nanochat import code_facts, shapes
from runner.nanochat.command_lines import ResolvedSpec
from runner.nanochat.shapes import ModelShape


class How(StrEnum):
    """Where a speed is from."""

    MEASURED = "measured"
    DOCUMENTED = "documented"
    INTERPOLATED = "interpolated"
    ASSUMED = "assumed"


class MeasuredSpeed(Struct, frozen=True):
    """Share of the dense bf16 peak that pretraining reaches at a depth, and who says so."""

    depth: int
    mfu: float
    how: How
    where: str


# By chip and arithmetic; `L` is full attention in every layer. An H200 computes like an H100.
MEASURED_SPEEDS: dict[tuple[str, str], tuple[MeasuredSpeed, ...]] = {
    ("H100", "bf16"): (
        MeasuredSpeed(4, 0.20, How.ASSUMED, "nobody has timed d4"),
        MeasuredSpeed(
            12, 0.42, How.DOCUMENTED, "nanochat README: d12 in 5 min; mlpatron.com: 0.96 s a step on one H100"
        ),
        MeasuredSpeed(18, 0.46, How.DOCUMENTED, "nanochat dev/LOG.md"),
        MeasuredSpeed(24, 0.50, How.DOCUMENTED, "nanochat leaderboard, entry 1"),
        MeasuredSpeed(34, 0.50, How.INTERPOLATED, "as d24, and as d32 with full attention"),
    ),
    ("H100", "bf16 L"): (
        MeasuredSpeed(12, 0.45, How.MEASURED, "tests/measured/h100.md, one H100 and two: 0.455 and 0.448"),
        MeasuredSpeed(32, 0.50, How.DOCUMENTED, "nanochat run1000.sh: 31.3 h at ratio 20"),
    ),
    ("H200", "bf16 L"): (
        MeasuredSpeed(12, 0.50, How.MEASURED, "tests/measured/h100.md, one H200"),
        MeasuredSpeed(32, 0.50, How.ASSUMED, "as on an H100"),
    ),
    ("H100", "fp8 L"): (
        MeasuredSpeed(12, 0.495, How.MEASURED, "tests/measured/h100.md, one H200, 12 layers of small matrices"),
        MeasuredSpeed(26, 0.64, How.MEASURED, "tests/measured/h100.md, one H100, five steps"),
        MeasuredSpeed(32, 0.66, How.MEASURED, "tests/measured/h100.md, one H100, five steps"),
    ),
    ("H100", "fp8"): (
        MeasuredSpeed(12, 0.42, How.ASSUMED, "fp8 gains nothing in small matrices"),
        MeasuredSpeed(24, 0.59, How.DOCUMENTED, "nanochat leaderboard, entries 4 to 6"),
        MeasuredSpeed(26, 0.57, How.DOCUMENTED, "nanochat leaderboard, entries 2 and 3"),
    ),
    ("A100", "bf16"): (MeasuredSpeed(24, 0.60, How.DOCUMENTED, "nanochat pull request 540: 315K tok/s on 8"),),
}
CHIPS = {"H100": "H100", "H100!": "H100", "H200": "H100", "A100-40GB": "A100", "A100-80GB": "A100"}
FP8_GPUS = ("H100", "H100!", "H200", "B200", "B300")
NO_FP8_GPUS = ("T4", "A10", "A100-40GB", "A100-80GB")
UNKNOWN = MeasuredSpeed(0, 0.35, How.ASSUMED, "no published run on this GPU")
# Times may come out this much shorter or longer than likely, by how well the speed is known.
UNCERTAINTY = {
    "own": (0.96, 1.06),
    How.MEASURED: (0.94, 1.08),
    How.DOCUMENTED: (0.92, 1.10),
    How.INTERPOLATED: (0.88, 1.18),
    How.ASSUMED: (0.60, 1.90),
}

STARTUP_IMPORT_S = 20.0
# First steps, compiling cold: 93 s at d12 in bf16; in FP8 268 s at d26, 348 s at d32.
STARTUP_S_PER_LAYER, STARTUP_S_PER_FP8_LAYER = 7.0, 10.0
STARTUP_WARM = 0.15
EVAL_MFU = 0.45
EVAL_TOKENIZED_PER_S = 750_000.0
CORE_S_PER_LAYER = 15.0
CORE_INLINE_SHARE = 0.1
# Flags of training with which a step takes as long as without; of the one, -1 is all of CORE.
CORE_PROBLEMS = "core-metric-max-per-task"
PACELESS = (CORE_PROBLEMS, "final-lr-frac", "warmdown-ratio")
SAVE_BYTES_PER_S = 0.9e9
PREEMPTION_MTBF_S = 6 * 3600.0
SFT_TOKENS = 430_000_000
SFT_STEPS_PER_CHATCORE = 200
CHATCORE_S, CHAT_EVAL_S = 80.0, 300.0
# Problems that are answered word by word, in the two tasks that have such; of 32 each took so long on one GPU at d12.
ANSWERED_PROBLEMS, ANSWER_S_PER_LAYER = 1319 + 164, 5.6 / 12
TOKENIZER_START_S, TOKENIZER_S, TOKENIZER_CHARS = 8.0, 112.0, 2_000_000_000
DEFAULT_EVAL_EVERY, DEFAULT_EVAL_TOKENS, DEFAULT_CORE_EVERY = 250, 80 * 524_288, 2000
BASE_EVAL_TOKENS = 2 * 40 * 524_288
CPU_TOKENS_PER_S = 10_000.0
REHEARSAL_STEP_S = 0.025


class Speed(Struct, frozen=True):
    """Seconds of one optimizer step, how they may err, and why that is believed."""

    step_s: float
    down: float
    up: float
    why: str


class PastRun(Struct, frozen=True):
    """What a finished run of the same shape took on this person's account: seconds a step, seconds a stage."""

    tag: str
    step_s: float
    stages: dict[StageName, float]


def measured_speed(gpu: str, depth: int, *, fp8: bool = False, full: bool = False) -> MeasuredSpeed:
    """MFU at a depth on a GPU, with its source; between two known depths on the line through them.

    `full` is full attention in every layer; where nobody has told of it, it is taken for as fast as windows.
    """
    arithmetic = "fp8" if fp8 else "bf16"
    wanted = [f"{arithmetic} L", arithmetic] if full else [arithmetic]
    chips = [gpu, CHIPS.get(gpu, gpu)]
    rows = next((MEASURED_SPEEDS[chip, how] for how in wanted for chip in chips if (chip, how) in MEASURED_SPEEDS), ())
    if not rows:
        return UNKNOWN
    below = [row for row in rows if row.depth <= depth]
    above = [row for row in rows if row.depth >= depth]
    if not below or not above:
        end = below[-1] if below else above[0]
        how = How.INTERPOLATED if abs(depth - end.depth) <= 8 and end.how is not How.ASSUMED else How.ASSUMED
        return MeasuredSpeed(depth, end.mfu, how, f"as d{end.depth}: {end.where}")
    low, high = below[-1], above[0]
    if low.depth == high.depth:
        return low
    share = (depth - low.depth) / (high.depth - low.depth)
    how = How.INTERPOLATED if low.how is not How.ASSUMED else How.ASSUMED
    return MeasuredSpeed(depth, low.mfu + (high.mfu - low.mfu) * share, how, f"between d{low.depth} and d{high.depth}")


def speed(size: ModelShape, s: ResolvedSpec, own: PastRun | None = None) -> Speed:
    """How fast the optimizer steps of a run are."""
    if own:
        return Speed(own.step_s, *UNCERTAINTY["own"], why=f"your run {own.tag}: {own.step_s:,.3g} s a step")
    if s.spec.engine == "rehearsal":
        return Speed(max(REHEARSAL_STEP_S, (s.values.step_ms or 0) / 1000), 0.9, 1.3, "the rehearsal's own pace")
    if s.on_cpu:
        step_s = size.batch / CPU_TOKENS_PER_S * max(1.0, size.params / 1.5e6)
        return Speed(step_s, 0.4, 4.0, f"{CPU_TOKENS_PER_S:,.0f} tok/s of a small model on two cores")
    full = set(s.values.window_pattern or "S") == {"L"}
    row = measured_speed(s.spec.gpu, size.depth, fp8=bool(s.values.fp8), full=full)
    peak = GPUS[s.spec.gpu].peak_flops * s.spec.gpus
    step_s = size.flops_per_token * size.batch / (peak * row.mfu)
    down, up = UNCERTAINTY[row.how]
    other = code_facts.differing(s.code) if s.spec.code else ()
    passed = [str(one) for one in s.spec.flags if one.stage == "base" and one.name not in PACELESS]
    if other or passed:
        down, up = UNCERTAINTY[How.ASSUMED]
    if s.values.compile is False:
        step_s, down, up = step_s * 2, 0.7, 2.0
    why = (
        f"{size.batch / step_s:,.0f} tok/s: {size.flops_per_token:.2e} FLOPs a token at MFU {row.mfu:.0%}"
        f" of {s.spec.gpus} × {s.spec.gpu}, {row.how} ({row.where})"
    )
    if other or passed:
        why += f"; assumed for {code_facts.listed([*passed, *other])}, which may train at another pace"
    return Speed(step_s, down, up, why)


def startup(size: ModelShape, s: ResolvedSpec) -> TimeRange:
    """From the command to the first step: imports, and compilation unless an earlier run's is found."""
    if s.spec.engine == "rehearsal":
        return range_around(0.3, 0.5, 2.0)
    if s.on_cpu:
        return range_around(6.0, 0.5, 2.0)
    if s.values.compile is False:
        return range_around(STARTUP_IMPORT_S + size.depth, 0.7, 2.0)
    each = STARTUP_S_PER_FP8_LAYER if s.values.fp8 else STARTUP_S_PER_LAYER
    cold = STARTUP_IMPORT_S + each * size.depth
    return TimeRange(STARTUP_IMPORT_S + STARTUP_WARM * (cold - STARTUP_IMPORT_S), cold, cold * 2)


def save_seconds(size: ModelShape, gpus: int) -> float:
    """How long training stands still for a checkpoint: the model, then this rank's part of the optimizer."""
    return (size.model_bytes + size.optimizer_bytes / gpus) / SAVE_BYTES_PER_S


def save_interval(size: ModelShape, s: RunSpec, step_s: float, *, quick: bool) -> int:
    """Young/Daly: the steps between saves at which saving costs as much as preemptions lose."""
    if s.task == "test":
        return max(1, size.iterations // 2)
    if quick:
        return max(1, size.iterations // 10)
    seconds = math.sqrt(2 * save_seconds(size, s.gpus) * PREEMPTION_MTBF_S)
    return min(max(1, round(seconds / step_s)), max(1, size.iterations // 4))


def _forward_s(size: ModelShape, s: ResolvedSpec, tokens: int) -> float:
    """Seconds of an evaluation: a third of the FLOPs of training, and each rank tokenizes its text as it goes."""
    forward = tokens * size.flops_per_token / 3 / (GPUS[s.spec.gpu].peak_flops * EVAL_MFU)
    return (forward + tokens / EVAL_TOKENIZED_PER_S) / s.spec.gpus


def _core_s(size: ModelShape, s: ResolvedSpec) -> float:
    """All of CORE: many short prompts, so depth and number of GPUs tell, not FLOPs."""
    return CORE_S_PER_LAYER * 10 * size.depth / s.spec.gpus


def base(size: ModelShape, s: ResolvedSpec, first: int, pace: Speed, save_every: int) -> TimeRange:
    """Pretraining from step `first` on: start-up, steps, val bpb, CORE, saves."""
    left = max(0, size.iterations - first)
    train = TimeRange(left * pace.step_s * pace.down, left * pace.step_s, left * pace.step_s * pace.up)
    seconds, each = startup(size, s) + train, pauses(size, s)
    evals = _times(left, s.values.eval_every, DEFAULT_EVAL_EVERY)
    cores = _times(left, s.values.core_every, DEFAULT_CORE_EVERY)
    for kind, times in (("val", evals), ("core", cores), ("save", left // save_every + 1)):
        seconds = seconds + each[kind].times(times)
    return seconds


def pauses(size: ModelShape, s: ResolvedSpec) -> dict[str, TimeRange]:
    """What training stands still for, each time: seconds of a val bpb, a CORE, a save."""
    if s.spec.engine == "rehearsal" or s.on_cpu:
        return {"val": pricing.ZERO, "core": pricing.ZERO, "save": pricing.ZERO}
    whole = any(one.stage == "base" and one.name == CORE_PROBLEMS and one.value == "-1" for one in s.spec.flags)
    return {
        "val": range_around(_forward_s(size, s, s.values.eval_tokens or DEFAULT_EVAL_TOKENS), 0.4, 1.5),
        "core": range_around(_core_s(size, s) * (1.0 if whole else CORE_INLINE_SHARE), 0.4, 2.0),
        "save": range_around(save_seconds(size, s.spec.gpus), 0.5, 2.0),
    }


def _times(steps: int, every: int | None, default: int) -> int:
    """How often something is done in so many steps; once more at the last one."""
    wanted = default if every is None else every
    return steps // wanted + 1 if wanted > 0 else 0


def base_eval(size: ModelShape, s: ResolvedSpec, *, core: bool) -> TimeRange:
    """Seconds of evaluating the base model, with or without CORE."""
    if s.spec.engine == "rehearsal" or s.on_cpu:
        return startup(size, s) + range_around(2.0, 0.5, 3.0)
    seconds = _forward_s(size, s, BASE_EVAL_TOKENS) + (_core_s(size, s) if core else 0.0)
    return TimeRange(30.0, 60.0, 150.0) + range_around(seconds, 0.4, 2.0)


def sft(size: ModelShape, s: ResolvedSpec) -> TimeRange:
    """One epoch of the mixture at the speed of pretraining in bf16, as it knows no fp8; evaluations on top."""
    pace = speed(size, msgspec.structs.replace(s, values=msgspec.structs.replace(s.values, fp8=False)))
    if s.spec.engine == "rehearsal" or s.on_cpu:
        return startup(size, s) + range_around((s.values.sft_iterations or 0) * pace.step_s, 0.5, 4.0)
    steps = math.ceil(SFT_TOKENS / size.batch)
    if s.values.sft_iterations:
        # nanochat counts micro-batches here.
        steps = math.ceil(s.values.sft_iterations * s.device_batch * 2048 * s.spec.gpus / size.batch)
    evals = steps // SFT_STEPS_PER_CHATCORE + 1
    each = CHATCORE_S * 8 / s.spec.gpus * size.depth / 24
    return startup(size, s) + range_around(steps * pace.step_s, 0.8, 1.5) + range_around(evals * each, 0.5, 2.5)


def chat_eval(size: ModelShape, s: ResolvedSpec) -> TimeRange:
    """Seconds of evaluating the fine-tuned model."""
    if s.spec.engine == "rehearsal" or s.on_cpu:
        return startup(size, s) + range_around(3.0, 0.5, 4.0)
    seconds = CHAT_EVAL_S * 8 / s.spec.gpus * size.depth / 24
    if asked := s.values.eval_problems:
        answers = min(2 * asked, ANSWERED_PROBLEMS)
        seconds = min(seconds, answers * ANSWER_S_PER_LAYER * size.depth / s.spec.gpus)
    return TimeRange(30.0, 60.0, 150.0) + range_around(seconds, 0.4, 2.5)


def prepare(s: ResolvedSpec, missing: int) -> TimeRange:
    """Seconds of bringing what the volume lacks, of which `missing` shards of text."""
    if s.spec.engine == "rehearsal":
        return range_around(0.5)
    return TimeRange(20 + missing * 0.5, 40 + missing, 90 + missing * 3)


def packages(names: Sequence[str]) -> TimeRange:
    """Seconds of installing packages of somebody's own code: PyTorch with its CUDA is gigabytes."""
    is_large = any(name.startswith(("torch==", "nvidia-")) for name in names)
    return TimeRange(60, 180, 600) if is_large else TimeRange(10, 30, 120)


def tokenizer(s: ResolvedSpec) -> TimeRange:
    """Seconds of training the tokenizer."""
    if s.spec.engine == "rehearsal" or s.on_cpu:
        return range_around(4.0 if s.on_cpu else 1.0, 0.5, 2.5)
    share = (s.values.tokenizer_chars or TOKENIZER_CHARS) / TOKENIZER_CHARS
    return range_around(TOKENIZER_START_S + TOKENIZER_S * share, 0.5, 2.5)


_SHAPE = ("aspect_ratio", "head_dim", "seq_len", "window_pattern", "fp8", "compile", "vocab_size")
_PACE = (*_SHAPE, "total_batch_size", "device_batch_size", "step_ms")
_LENGTH = ("iterations", "sft_iterations", "eval_problems", "eval_tokens")


def same_shape(a: RunSpec, b: RunSpec, names: tuple[str, ...] = _PACE) -> bool:
    """Whether steps of two runs must take the same time on the same backend."""

    def asked(r: RunSpec) -> tuple[object, ...]:
        code = r.code.sha if r.code else ""
        passed = tuple(one for one in r.flags if one.stage in ("base", ENV))
        values = (getattr(r.overrides, name) for name in names)
        return (r.engine, r.depth, pricing.chip(r.gpu), r.gpus, code, passed, *values)

    return asked(a) == asked(b)


MIN_PAST_STEPS = 20


def matching_past_run(runs: Iterable[Run], spec: RunSpec, backend: str) -> PastRun | None:
    """The newest of a person's runs that tells the pace of another; `runs` newest first."""
    for run in runs:
        status = run.status
        if run.backend != backend or status is None or status.pace.train_steps < MIN_PAST_STEPS:
            continue
        if same_shape(run.spec, spec):
            alike = same_shape(run.spec, spec, (*_PACE, *_LENGTH)) and run.attempt == 1
            stages = {
                stage.name: stage.ended_at - stage.started_at
                for stage in status.work.stages
                if alike and stage.state is StageState.DONE and stage.started_at and stage.ended_at
            }
            return PastRun(run.tag, status.pace.train_s / status.pace.train_steps, stages)
    return None


PAST_STAGES = (StageName.BASE_EVAL, StageName.SFT, StageName.CHAT_EVAL)


def corrected_by_past_run(name: StageName, seconds: TimeRange, mine: PastRun | None) -> TimeRange:
    """A stage's time as a run of the same shape took it, where there was one."""
    if mine is None or name not in PAST_STAGES or name not in mine.stages:
        return seconds
    return range_around(mine.stages[name], 0.85, 1.25)


def shape_of(depth: int, v: Overrides) -> ModelShape:
    """The sizes of what is trained, every default of nanochat filled in."""
    return shapes.model_shape(
        depth,
        aspect=v.aspect_ratio or 64,
        head_dim=v.head_dim or 128,
        vocab=v.vocab_size or shapes.VOCAB,
        seq_len=v.seq_len or 2048,
        window=v.window_pattern or "SSSL",
        ratio=v.data_ratio or shapes.DEFAULT_RATIO,
        batch=v.total_batch_size,
        iterations=v.iterations,
        flops=v.target_flops,
    )
