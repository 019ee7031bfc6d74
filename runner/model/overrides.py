"""Values that replace the plan's own, each by its name: their types, their help, and how they are typed."""

from typing import Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta, Struct

from runner.errors import UsageError

Count = Annotated[int, Meta(ge=1, le=10**12)]
CountOrOff = Annotated[int, Meta(ge=-1, le=10**12)]
Positive = Annotated[float, Meta(ge=0.001, le=100_000)]
Flops = Annotated[float, Meta(ge=1e12, le=1e26)]
NotNegative = Annotated[float, Meta(ge=0, le=3_600_000)]
Flag = Annotated[int, Meta(ge=0, le=1)]
Pattern = Annotated[str, Meta(pattern="^[SL]{1,64}$")]


class Overrides(Struct, frozen=True, omit_defaults=True, kw_only=True):
    """Values that replace the plan's own, each by its name; None leaves the plan's choice.

    The description of a field is its help text; `-1` switches an evaluation off, as in nanochat.
    """

    iterations: Annotated[Count | None, Meta(description="optimizer steps of the base model")] = None
    data_ratio: Annotated[Positive | None, Meta(description="training tokens per scaling parameter")] = None
    target_flops: Annotated[Flops | None, Meta(description="training FLOPs, in the place of a ratio")] = None
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
