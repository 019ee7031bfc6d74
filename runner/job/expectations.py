"""What was asked for, held against what nanochat says it got: what differs, and whether that ends the run. Pure.

Only where GPUs are paid for: a rehearsal, and a run on this machine's own processor, are what they can be.
"""

import re

from msgspec import Struct

from runner.model import events
from runner.model.events import Event
from runner.model.pricing import EXACTLY, GPUS, chip
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.nanochat import flops, shapes
from runner.planning.defaults import resolve_spec
from runner.planning.estimate import shape_of
from runner.text.untrusted import leading_count

ANEW = "nanochat-tui resume RUN asks for them anew; if it stays so, see the log: nanochat-tui logs RUN"
OTHER_CODE = "it may be another nanochat than the one that is planned with: see the log, nanochat-tui logs RUN"
OTHER_TOKENIZER = "a new launch trains the one that is asked for, in a folder of its own"
# So much more than was planned is no rounding.
MORE = 1.01


class Expected(Struct, frozen=True):
    """What a stage is to be: `gpus` of a kind, the model's sizes, its length, and the step that it goes on from.

    Of a person's `own_code` the plan knows the length, but not what a model of theirs is made of.
    """

    gpu: str
    gpus: int
    params: int
    flops_per_token: int
    vocab: int
    steps: int
    batch: int
    micro_batch: int
    fp8: bool
    resume: int
    own_code: bool


class Mismatch(Struct, frozen=True):
    """What is not as asked for, with both numbers; what to do; whether the run must not go on with it."""

    message: str
    advice: str
    fatal: bool = True

    @property
    def again(self) -> bool:
        """Whether another container may well get what was asked for."""
        return self.advice == ANEW


def expected(spec: RunSpec, backend: str, resume: int = 0) -> Expected | None:
    """What a run is to get; None where no GPU is paid for."""
    s = resolve_spec(spec, backend)
    if s.on_cpu or spec.engine != "nanochat":
        return None
    size, v = shape_of(spec.depth, s.values), s.values
    return Expected(
        gpu=spec.gpu,
        gpus=spec.gpus,
        params=size.params,
        flops_per_token=size.flops_per_token,
        vocab=v.vocab_size or shapes.VOCAB,
        steps=size.iterations,
        batch=size.batch,
        micro_batch=s.device_batch * (v.seq_len or 2048),
        fp8=bool(v.fp8),
        resume=resume,
        own_code=spec.code is not None,
    )


def gpu_kind_of(name: str) -> str:
    """The kind of GPU that calls itself so; empty for one that is not known."""
    words = re.findall(r"[A-Z0-9]+", name.upper())
    if "A100" in words:
        return "A100-40GB" if "40GB" in words else "A100-80GB"
    if {"RTX", "PRO", "6000"} <= set(words):
        return "RTX-PRO-6000"
    plain = {kind: kind for kind in GPUS} | {"A10G": "A10", "GB200": "B200", "GB300": "B300"}
    return next((plain[word] for word in words if word in plain), "")


def gpu_mismatch(wanted: Expected, said: str) -> Mismatch | None:
    """What the driver says of a container's GPUs, as `8 × NVIDIA H100`, against those that were asked for."""
    count, _, name = said.partition(" × ")
    if not count.isdecimal():
        return None
    if int(count) < wanted.gpus:
        return Mismatch(f"{_gpus(wanted)} were asked for, the container has {said}", ANEW)
    return _kind(wanted, name)


def _gpus(wanted: Expected) -> str:
    return f"{wanted.gpus} × {wanted.gpu}"


def _kind(wanted: Expected, name: str) -> Mismatch | None:
    """A better kind is given now and then, for the same price, unless it was asked for exactly one."""
    got, name = gpu_kind_of(name), name.strip()[:60]
    if not got:
        return Mismatch(f"{wanted.gpu} was asked for, the GPU calls itself {name}", "", fatal=False)
    if wanted.gpu.endswith(EXACTLY) and got != chip(wanted.gpu):
        return Mismatch(f"{wanted.gpu} was asked for, and nothing in its place; the GPU is {name}", ANEW)
    worse = [
        f"{getattr(GPUS[got], what) / unit:,.0f} {word} of {getattr(GPUS[wanted.gpu], what) / unit:,.0f}"
        for what, unit, word in (("memory_gib", 1, "GiB"), ("peak_flops", 1e12, "TFLOP/s"))
        if getattr(GPUS[got], what) < getattr(GPUS[wanted.gpu], what)
    ]
    if not worse:
        return None
    return Mismatch(f"{wanted.gpu} was asked for, the GPU is {name} ({', '.join(worse)})", ANEW)


class ExpectationCheck:
    """Takes what one stage says, event by event."""

    def __init__(self, wanted: Expected, stage: StageName) -> None:
        self._wanted, self._stage = wanted, stage
        self._counted = flops.FlopsCorrection()

    def mismatch(self, event: Event) -> Mismatch | None:
        """What an event shows to be other than asked for."""
        match event:
            case events.Fact(name=name, value=value):
                self._counted.take(name, value)
                of_model = self._stage is StageName.BASE
                return self._hardware(name, value) or (self._model(name, value) if of_model else None)
            case events.Warned(text="DATASET UPGRADE REQUIRED"):
                advice = "nanochat-tui resume RUN fetches the data that is trained on today"
                return Mismatch(
                    "the text of an older nanochat is trained on, base_data/, not the one asked for", advice
                )
            case events.Resumed(step=step) if self._stage is StageName.BASE and step != self._wanted.resume:
                return self._other_step(step)
            case events.Step() if self._stage is StageName.BASE:
                if event.step < self._wanted.resume:
                    return self._other_step(event.step)
                return self._amount("steps", event.total or 0, self._wanted.steps)
        return None

    def _hardware(self, name: str, value: str) -> Mismatch | None:
        wanted = self._wanted
        if name == "device_type" and value != "cuda":
            what = {"cpu": "the CPU"}.get(value, value[:20])
            return Mismatch(f"{_gpus(wanted)} are paid for, nanochat runs on {what}: CUDA does not come up", ANEW)
        if name == "world_size" and (ranks := leading_count(value)) and ranks != wanted.gpus:
            return Mismatch(f"{_gpus(wanted)} were asked for, nanochat runs on {ranks:,}", ANEW)
        if name == "gpu":
            return _kind(wanted, value.partition(" | ")[0])
        if name == "vocab_size" and (tokens := leading_count(value)) and tokens != wanted.vocab:
            what = f"a vocabulary of {wanted.vocab:,} was asked for, the tokenizer on the volume has {tokens:,}"
            return Mismatch(what, OTHER_TOKENIZER)
        if name == "dtype" and value.startswith("torch.float32") and "T4" not in wanted.gpu:
            return Mismatch(f"it computes in float32 on {wanted.gpu}: several times slower than bf16", "", fatal=False)
        return None

    def _model(self, name: str, value: str) -> Mismatch | None:
        wanted, count = self._wanted, leading_count(value)
        match name:
            case "parameters" if count and count != wanted.params:
                what = f"a model of {wanted.params:,} parameters was asked for, {count:,} are trained"
                return Mismatch(what, OTHER_CODE, fatal=not wanted.own_code)
            case "flops_per_token":
                return self._arithmetic(value)
            case "fp8" if wanted.fp8 and " converted 0/" in value:
                return Mismatch("FP8 was asked for, no layer is trained in it", "", fatal=False)
            case "total_batch":
                return self._amount("tokens a step", count, wanted.batch)
            case "micro_batch" if (got := leading_count(value.rpartition("= ")[2])) and got != wanted.micro_batch:
                what = f"{wanted.micro_batch:,} tokens at once on each GPU were asked for, it takes {got:,}"
                return Mismatch(what, "", fatal=False)
            case "iterations":
                return self._amount("steps", count, wanted.steps)
        return None

    def _arithmetic(self, value: str) -> Mismatch | None:
        """Context length and windows change no parameter, but what a token costs."""
        try:
            got = float(value) * self._counted.factor
        except ValueError:
            return None
        if abs(got / self._wanted.flops_per_token - 1) <= flops.AGREE:
            return None
        what = f"a token was planned with {self._wanted.flops_per_token:.2e} FLOPs, the model takes {got:.2e}"
        more = got > self._wanted.flops_per_token
        return Mismatch(what, OTHER_CODE, fatal=more and not self._wanted.own_code)

    def _amount(self, what: str, got: int, wanted: int) -> Mismatch | None:
        """More than was planned is more than was agreed to pay."""
        if not got or got == wanted:
            return None
        return Mismatch(f"{wanted:,} {what} were asked for, {got:,} are trained", OTHER_CODE, got > wanted * MORE)

    def _other_step(self, step: int) -> Mismatch:
        return Mismatch(f"it was to go on from step {self._wanted.resume:,}, and trains from {step:,}", OTHER_CODE)
