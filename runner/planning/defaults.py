"""RunSpec -> ResolvedSpec: every default filled in, or why it cannot be trained as asked. Pure."""

import msgspec

from runner.errors import UsageError
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.overrides import Overrides, merge_overrides
from runner.model.spec import RunSpec
from runner.model.stage_flags import ENV
from runner.nanochat import code_facts, command_lines, flops, shapes
from runner.nanochat.code_facts import CodeFacts
from runner.nanochat.command_lines import ResolvedSpec
from runner.planning import estimate
from runner.text.secrets import looks_secret, secret_hint


def resolve_spec(spec: RunSpec, backend: str, code: CodeFacts | None = None, tag: str = "") -> ResolvedSpec:
    """Fill in every default of a spec. Raises UsageError when the model cannot be trained as asked.

    `code` is what is known of the nanochat that it is for, where that is not the pinned one.
    """
    _check_secrets(spec)
    code = code or (code_facts.unknown() if spec.code else code_facts.pinned())
    on_cpu = backend == BackendName.LOCAL and spec.engine == "nanochat"
    values = spec.overrides
    if spec.task == "test":
        values = merge_overrides(command_lines.TEST_DEFAULTS, values)
    if spec.engine == "rehearsal":
        values = merge_overrides(command_lines.REHEARSAL_DEFAULTS, values)
    elif on_cpu:
        values = merge_overrides(command_lines.CPU_DEFAULTS, values)
    elif spec.depth >= 20 and spec.gpu in estimate.FP8_GPUS:
        values = merge_overrides(Overrides(fp8=True), values)
    if values.fp8 and spec.engine == "nanochat" and spec.gpu in estimate.NO_FP8_GPUS and not on_cpu:
        raise UsageError(f"{spec.gpu} cannot compute in FP8", "leave --fp8 out, or use an H100", field="overrides")
    if values.target_flops and values.fp8 and spec.engine == "nanochat" and code.undercounts and not on_cpu:
        times = flops.left_out(estimate.shape_of(spec.depth, values))
        raise UsageError(
            f"--target-flops with FP8 would train {times:.1f} times too long in this code ({flops.WHY})",
            "say --no-fp8, or --iterations in its place",
            field="overrides",
        )
    size = estimate.shape_of(spec.depth, values)
    seq_len = values.seq_len or 2048
    if size.batch % (seq_len * spec.gpus):
        raise UsageError(
            f"a batch of {size.batch:,} tokens is not a multiple of one sequence of {seq_len} on each of"
            f" {spec.gpus} GPUs",
            f"use a --total-batch-size that is a multiple of {seq_len * spec.gpus:,}",
            field="overrides",
        )
    batch = values.device_batch_size
    if batch is None:
        batch = shapes.device_batch_size(
            size, gpus=spec.gpus, gpu_gib=pricing.GPUS[spec.gpu].memory_gib, seq_len=seq_len
        )
        if batch == 0:
            raise UsageError(
                f"{spec.model} will not fit on {spec.gpus} × {spec.gpu} ({pricing.GPUS[spec.gpu].memory_gib} GiB each)",
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
    unsaved = ResolvedSpec(
        spec=spec, values=values, device_batch=batch, save_every=0, on_cpu=on_cpu, code=code, tag=tag
    )
    quick = spec.engine == "rehearsal" or on_cpu
    pace = estimate.speed(size, unsaved)
    save_every = values.save_every or estimate.save_interval(size, spec, pace.step_s, quick=quick)
    return msgspec.structs.replace(unsaved, save_every=save_every)


def _check_secrets(spec: RunSpec) -> None:
    """Raises UsageError for a key that was given where it is written down."""
    for one in spec.flags:
        if looks_secret(one.name if one.stage == ENV else "", one.value):
            what, hint = secret_hint(one.stage, one.name)
            raise UsageError(f"--set {one.stage}.{one.name} {what}", hint, field="set")


def compiles(spec: RunSpec, backend: str) -> bool:
    """Whether training begins with minutes of torch.compile."""
    on_cpu = backend == BackendName.LOCAL and spec.engine == "nanochat"
    default = command_lines.CPU_DEFAULTS.compile if on_cpu else None
    return (
        spec.engine == "nanochat"
        and (default if spec.overrides.compile is None else spec.overrides.compile) is not False
    )
