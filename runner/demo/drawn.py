"""Logs of runs that nobody recorded: large ones, line by line as nanochat prints them, after curves as theirs are."""

import math
import random
from collections.abc import Iterator

from msgspec import Struct

from runner.demo.recorded import AT_ONCE_S, Timed
from runner.model import pricing
from runner.model.spec import RunSpec
from runner.planning.plan import Plan

STAMP = "2026-01-01 00:00:00,000 - nanochat.checkpoint_manager - INFO - "
# Nats that a byte has where a token has 4.7 of them, as bits.
BPB_OF_LOSS = 1 / (4.7 * math.log(2))
WARMUP, WARMDOWN, LAST_LRM = 40, 0.65, 0.05
FIRST_STEP_S, VAL_S, SAVE_S, TASK_S = 48.0, 6.0, 4.0, 9.0
SAMPLE_EVERY = 2000

SAMPLES = (
    "The capital of France is Paris, and it is the largest city of the country. It lies on the Seine",
    "The chemical symbol of gold is Au, from the Latin word aurum. Its atomic number is 79",
    "If yesterday was Friday, then tomorrow will be Sunday, and the day after it will be Monday",
    "The opposite of hot is cold. The opposite of day is night. The opposite of up is down",
    "The planets of the solar system are: Mercury, Venus, Earth, Mars, Jupiter, Saturn, Uranus and Neptune",
    "My favorite color is blue, because it is the color of the sky and of the sea",
    "If 5*x + 3 = 13, then x is equal to 2. This is a linear equation with one unknown",
)
# Tasks of CORE and of the chat, with what is right by chance, and how much a larger model is better than that.
CORE_TASKS = (
    ("hellaswag_zeroshot", 0, 0.25, 0.33), ("jeopardy", 10, 0.0, 0.24), ("arc_easy", 10, 0.25, 0.46),
    ("arc_challenge", 10, 0.25, 0.21), ("copa", 0, 0.5, 0.22), ("commonsense_qa", 10, 0.2, 0.12),
    ("piqa", 10, 0.5, 0.24), ("openbook_qa", 0, 0.25, 0.16), ("lambada_openai", 0, 0.0, 0.47),
    ("winogrande", 0, 0.5, 0.09), ("bigbench_qa_wikidata", 10, 0.0, 0.56), ("squad", 10, 0.0, 0.41),
    ("coqa", 0, 0.0, 0.29), ("boolq", 10, 0.62, 0.08),
)  # fmt: skip
CHAT_TASKS = (
    ("ARC-Easy", 2376, 0.25, 0.40), ("ARC-Challenge", 1172, 0.25, 0.24), ("MMLU", 14042, 0.25, 0.13),
    ("GSM8K", 1319, 0.0, 0.11), ("HumanEval", 164, 0.0, 0.13),
)  # fmt: skip


class Curve(Struct, frozen=True):
    """How a run learns: steps trained before it ends, a factor on how far it gets, the step of its loss's blow-up."""

    until: int | None = None
    worse: float = 1.0
    blows_up_at: int | None = None


def prepared(plan: Plan) -> list[Timed]:
    """The lines before training, on a volume that has all of it."""
    return [
        (0.3, f"[PLAN] {plan.resume.reason}; checkpoint every {plan.saves.steps} steps"),
        (0.2, "[STAGE] prepare skipped: the shards are on the volume"),
        (0.1, "[STAGE] tokenizer skipped: kept"),
    ]


def training(spec: RunSpec, plan: Plan, seed: str, curve: Curve | None = None) -> Iterator[Timed]:
    """Base training from its first line to its last, or to where the curve ends."""
    curve = curve or Curve()
    noise, total = random.Random(seed), plan.total_steps
    size, dt, folder = _Size(spec, plan), _step_s(plan), f"/run/base/base_checkpoints/{spec.model}"
    yield 1.0, "[STAGE] base"
    yield from ((AT_ONCE_S, line) for line in size.header(plan))
    until, spent, best = curve.until or total, 0.0, math.inf
    for step in range(until + 1):
        last = step == total
        if step % plan.val_every == 0 or last:
            bpb = _loss(spec, curve, step, total) * BPB_OF_LOSS if step else 3.2
            best = min(best, bpb)
            yield VAL_S, f"Step {step:05d} | Validation bpb: {bpb:.6f}"
        if plan.core_every and step and (step % plan.core_every == 0 or last):
            yield from core(spec, noise, step / total)
            yield 0.1, f"Step {step:05d} | CORE metric: {_core(spec, step / total):.4f}"
        if (step and step % SAMPLE_EVERY == 0) or last:
            yield from ((0.4, f"<|bos|>{text}") for text in SAMPLES)
        if step and (step % plan.saves.steps == 0 or last):
            for rank in range(spec.gpus):
                yield SAVE_S / spec.gpus, f"{STAMP}Saved optimizer state to: {folder}/optim_{step:06d}_rank{rank}.pt"
            yield 0.1, f"{STAMP}Saved model parameters to: {folder}/model_{step:06d}.pt"
            yield 0.1, f"{STAMP}Saved metadata to: {folder}/meta_{step:06d}.json"
            yield 1.5, f"[PUBLISH] base step {step}"
        if step == until:
            break
        seconds = (
            FIRST_STEP_S if step == 0 else dt * noise.uniform(0.985, 1.02) * (1.6 if noise.random() < 0.002 else 1)
        )
        spent += seconds if step > 10 else 0.0
        yield seconds, size.step(step, total, _loss(spec, curve, step, total) * noise.gauss(1, 0.006), seconds, spent)
    if until == total:
        yield 0.5, f"Peak memory usage: {21_000 + 1_700 * spec.depth:,.2f}MiB".replace(",", "")
        yield 0.1, f"Total training time: {spent / 60:.2f}m"
        yield 0.1, f"Minimum validation bpb: {best:.6f}"


def core(spec: RunSpec, noise: random.Random, share: float = 1.0) -> Iterator[Timed]:
    """The tasks of CORE, as good as the model is by then."""
    for task, shots, chance, better in CORE_TASKS:
        accuracy = min(0.99, chance + better * _grown(spec, share) * noise.uniform(0.93, 1.07))
        kind = "language_modeling" if not chance else "multiple_choice"
        centered = (accuracy - chance) / (1 - chance)
        told = f"accuracy: {accuracy:.4f} | centered: {centered:.4f} | time: {TASK_S:.2f}s"
        yield TASK_S, f"Evaluating: {task} ({shots}-shot, type: {kind})... {told}"


def evaluation(spec: RunSpec, plan: Plan, seed: str) -> Iterator[Timed]:
    """The evaluation of the base model."""
    noise, loss = random.Random(seed), _loss(spec, Curve(), plan.total_steps, plan.total_steps)
    yield 1.0, "[STAGE] base_eval"
    yield 9.0, f"Evaluating model: base_model (step {plan.total_steps})"
    yield 0.1, "Eval modes: bpb, core, sample"
    yield from ((0.5, f"<|bos|>{text}") for text in SAMPLES)
    yield 20.0, f"train bpb: {loss * BPB_OF_LOSS * 0.985:.6f}"
    yield 20.0, f"val bpb: {loss * BPB_OF_LOSS:.6f}"
    yield from core(spec, noise)
    yield 0.1, f"CORE metric: {_core(spec, 1.0):.4f}"


def chat(spec: RunSpec, seed: str, steps: int = 340) -> Iterator[Timed]:
    """Fine-tuning and its evaluation."""
    noise, folder = random.Random(seed), f"/run/base/chatsft_checkpoints/{spec.model}"
    yield 1.0, "[STAGE] sft"
    yield 12.0, "Training mixture: 1,071,200 rows (MMLU x3, GSM8K x4)"
    yield 5.0, "Step 00000 | Validation bpb: 0.6120"
    for step in range(1, steps + 1):
        loss = (0.95 + 1.1 / (1 + step / 9)) * noise.gauss(1, 0.02)
        seconds = noise.uniform(1.9, 2.05)
        told = f"loss: {loss:.6f} | lrm: {1 - step / steps:.2f} | dt: {seconds * 1000:.2f}ms"
        told += f" | tok/sec: {int(524288 / seconds):,} | mfu: 41.20 | epoch: 1 | total time: {step * 2 / 60:.2f}m"
        yield seconds, f"step {step:05d} ({100 * step / steps:.2f}%) | {told}"
        if step % 100 == 0 or step == steps:
            yield 5.0, f"Step {step:05d} | Validation bpb: {0.39 + 0.2 / (1 + step / 30):.4f}"
    for rank in range(spec.gpus):
        yield 0.5, f"{STAMP}Saved optimizer state to: {folder}/optim_{steps:06d}_rank{rank}.pt"
    yield 0.1, f"{STAMP}Saved model parameters to: {folder}/model_{steps:06d}.pt"
    yield 0.1, f"{STAMP}Saved metadata to: {folder}/meta_{steps:06d}.json"
    yield 1.5, f"[PUBLISH] sft step {steps}"
    yield 1.0, "[STAGE] chat_eval"
    centered = 0.0
    for task, count, chance, better in CHAT_TASKS:
        right = round(count * (chance + better * _grown(spec, 1.0)))
        centered += (right / count - chance) / (1 - chance) / len(CHAT_TASKS)
        yield 45.0, f"Final: {right}/{count} ({100 * right / count:.2f}%)"
        yield 0.1, f"{task} accuracy: {100 * right / count:.2f}%"
    yield 0.1, f"ChatCORE metric: {centered:.4f}"


class _Size:
    """What a model and its batch are, as nanochat prints them."""

    def __init__(self, spec: RunSpec, plan: Plan) -> None:
        self.spec, self.width = spec, 64 * spec.depth
        self.batch = plan.tokens // plan.total_steps
        blocks = 12 * spec.depth * self.width**2
        self.flops = 6 * (blocks + self.width * 32768) + 12 * spec.depth * self.width * 2048
        self.peak = pricing.GPUS[spec.gpu].peak_flops * spec.gpus

    def header(self, plan: Plan) -> list[str]:
        """What is told before the first step."""
        depth, gpu = self.spec.depth, self.spec.gpu
        shape = (f'  "n_layer": {depth},', f'  "n_head": {depth // 2},', f'  "n_embd": {self.width},')
        exec_ = " ".join(plan.stages[2].commands[-1])
        micro = plan.device_batch * 2048
        return [
            f"[EXEC] {exec_}",
            "Autodetected device type: cuda",
            f"GPU: NVIDIA {gpu} 80GB HBM3 | Peak FLOPS (BF16): {self.peak / self.spec.gpus:.2e}",
            "COMPUTE_DTYPE: torch.bfloat16 (auto-detected: CUDA SM 90 (bf16 supported))",
            "Vocab size: 32,768",
            "Model config:",
            "{",
            '  "sequence_len": 2048,',
            *shape,
            '  "window_pattern": "SSSL"',
            "}",
            "Parameter counts:",
            f"{'total':24s}: {plan.parameters:,}",
            f"Estimated FLOPs per token: {self.flops:e}",
            f"Auto-computed optimal batch size: {self.batch:,} tokens",
            f"Using user-provided number of iterations: {plan.total_steps:,}",
            f"Total number of training tokens: {plan.tokens:,}",
            f"Tokens / micro-batch / rank: {plan.device_batch} x 2048 = {micro:,}",
            f"Tokens / micro-batch: {micro * self.spec.gpus:,}",
            f"Total batch size {self.batch:,} => gradient accumulation steps: "
            f"{max(1, self.batch // (micro * self.spec.gpus))}",
        ]

    def step(self, step: int, total: int, loss: float, seconds: float, spent: float) -> str:
        """The line of a step that took so many seconds."""
        tokens = self.batch / seconds
        left = f" | eta: {(total - step) * spent / (step - 10) / 60:.1f}m" if step > 10 else ""
        return (
            f"step {step:05d}/{total:05d} ({100 * step / total:.2f}%) | loss: {loss:.6f} | lrm: {_lrm(step, total):.2f}"
            f" | dt: {seconds * 1000:.2f}ms | tok/sec: {int(tokens):,}"
            f" | bf16_mfu: {100 * tokens * self.flops / self.peak:.2f} | epoch: 1 pq: {step // 40} rg: {step % 40}"
            f" | total time: {spent / 60:.2f}m{left}"
        )


def _step_s(plan: Plan) -> float:
    """How long a step takes, by the estimate."""
    base = next(stage for stage in plan.stages if stage.name == "base")
    return 0.93 * base.seconds.likely / plan.total_steps


def _loss(spec: RunSpec, curve: Curve, step: int, total: int) -> float:
    """A power of the steps above a floor of the size, which comes down with the learning rate at the end."""
    if curve.blows_up_at is not None and step >= curve.blows_up_at:
        beyond = step - curve.blows_up_at
        return math.nan if beyond >= 90 else 3.1 + 0.08 * math.pow(beyond, 0.9)
    floor = 3.02 - 0.034 * spec.depth
    fallen = 7.6 * math.pow(1 + step / 28, -0.72)
    cooled = 0.13 * (1 - _lrm(step, total)) if step > WARMUP else 0.0
    return floor * curve.worse + fallen + 0.13 - cooled


def _lrm(step: int, total: int) -> float:
    """nanochat's multiplier of the learning rate: up, level, and down for most of the way."""
    down = round(WARMDOWN * total)
    if step < WARMUP:
        return (step + 1) / WARMUP
    left = min(1.0, (total - step) / down)
    return left + (1 - left) * LAST_LRM


def _grown(spec: RunSpec, share: float) -> float:
    """How good a model is at its tasks, 1 for a d24 at its end."""
    return (0.35 + 0.65 * math.sqrt(min(1.0, share))) * math.pow(spec.depth / 24, 0.6)


def _core(spec: RunSpec, share: float) -> float:
    return 0.2604 * _grown(spec, share)
