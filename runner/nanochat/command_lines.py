"""One stage -> the exact command lines and environment that nanochat is run with."""

from collections.abc import Callable, Mapping

from msgspec import Struct

from runner.model.overrides import Overrides
from runner.model.spec import RunSpec
from runner.model.stage_flags import ENV, TYPED
from runner.nanochat.code_facts import IDENTITY, CodeFacts
from runner.nanochat.fitting import fitted_flags, script_of, unknown_flags

COMMIT = "92d63d4e8bb4df75c3b71618f31ddde2378b2bcd"
REPOSITORY = "https://github.com/karpathy/nanochat"

# The learning rate of the matrices in base training, where none is said.
MATRIX_LR = 0.02

Argv = tuple[str, ...]

# A CPU trains the shape of nanochat's own CPU script: short context, tiny batch, no sliding window.
CPU_DEFAULTS = Overrides(
    seq_len=128,
    head_dim=32,
    device_batch_size=8,
    total_batch_size=2048,
    window_pattern="L",
    compile=False,
    warmup_steps=10,
    iterations=200,
    eval_every=50,
    eval_tokens=8192,
    core_every=-1,
    sample_every=100,
    shards=2,
    vocab_size=4096,
    tokenizer_chars=20_000_000,
    sft_iterations=120,
    eval_problems=8,
)
# A rehearsal is lived through in a minute, whatever the size that it pretends to be.
REHEARSAL_DEFAULTS = Overrides(
    iterations=200, eval_every=50, core_every=-1, sample_every=100, shards=2, sft_iterations=40, eval_problems=8,
    step_ms=40.0,
)  # fmt: skip
# The smoke test: ten steps and nothing else.
TEST_DEFAULTS = Overrides(iterations=10, eval_every=-1, core_every=-1, sample_every=-1)


class ResolvedSpec(Struct, frozen=True):
    """A spec with every default filled in, and the code that it is for: what the command lines are made of."""

    spec: RunSpec
    values: Overrides
    device_batch: int
    save_every: int
    on_cpu: bool
    code: CodeFacts
    tag: str = ""


def _flag(name: str, value: object) -> tuple[str, ...]:
    if value is None or value is False:
        return ()
    if value is True:
        return (f"--{name}",)
    return (f"--{name}={value:.12g}" if isinstance(value, float) else f"--{name}={value}",)


def _module(s: ResolvedSpec, stage: str, flags: tuple[str, ...], rehearsed: tuple[str, ...] = ()) -> Argv:
    """`python -m` for one process, `torchrun` for several GPUs; a rehearsal pretends its ranks in one process."""
    script = script_of(s.code, stage)
    argv = (script.module, *fitted_flags(stage, script, flags, s.spec.flags), *rehearsed)
    if s.spec.gpus > 1 and s.spec.engine == "nanochat" and stage != "tokenizer":
        return ("torchrun", "--standalone", f"--nproc_per_node={s.spec.gpus}", "-m", argv[0], "--", *argv[1:])
    return ("python", "-m", *argv)


def dataset(s: ResolvedSpec, shards: int) -> Argv:
    """Download so many training shards, and the validation shard."""
    return ("python", "-m", s.code.dataset, "-n", str(shards))


_PYTHON = ("python", "-c")
EVAL_BUNDLE: Argv = (
    *_PYTHON,
    "from pathlib import Path; from nanochat.common import get_base_dir, download_file_with_lock as get; "
    "from scripts.base_eval import *; "
    # One that came damaged would be taken for one that is unpacked already.
    "Path(get_base_dir(), 'eval_bundle.zip').unlink(missing_ok=True); "
    "get(EVAL_BUNDLE_URL, 'eval_bundle.zip', postprocess_fn=place_eval_bundle)",
)
# Everything that chat_sft and chat_eval read, by (dataset, subset, split).
TASKS = (
    ("HuggingFaceTB/smol-smoltalk", "default", ("train", "test")),
    ("cais/mmlu", "all", ("auxiliary_train", "test")),
    ("openai/gsm8k", "main", ("train", "test")),
    ("allenai/ai2_arc", "ARC-Easy", ("test",)),
    ("allenai/ai2_arc", "ARC-Challenge", ("test",)),
    ("openai/openai_humaneval", "openai_humaneval", ("test",)),
)
TASK_DATA: Argv = (
    *_PYTHON,
    "from tasks.common import load_hub_dataset as get; "
    + "; ".join(f"get({name!r}, {subset!r}, {split!r})" for name, subset, splits in TASKS for split in splits),
)
# As upstream's own script brings it; it is written when all of it is here.
IDENTITY_DATA: Argv = (
    *_PYTHON,
    "import os, pathlib, urllib.request as web; "
    f"data = web.urlopen('https://karpathy-public.s3.us-west-2.amazonaws.com/{IDENTITY}', timeout=60).read(); "
    f"pathlib.Path(os.environ['NANOCHAT_BASE_DIR'], {IDENTITY!r}).write_bytes(data)",
)


class Kernel(Struct, frozen=True):
    """An attention kernel on the Hub: the repository that nanochat asks for on a GPU, and the revision to bring.

    Only a Hopper GPU does without the Hub then (`offline`): on the others nanochat first asks it whether there is one,
    and then for what `main` is at that moment.
    """

    repository: str
    revision: str = "main"
    offline: bool = False

    @property
    def folder(self) -> str:
        """Its place in Hugging Face's cache."""
        return "models--" + self.repository.replace("/", "--")


HOPPER = ("H100", "H100!", "H200")
HOPPER_KERNEL = Kernel("varunneal/flash-attention-3", "de87b9b5af06dd9984df595bef90b2eba44b181a", offline=True)
OTHER_KERNEL = Kernel("kernels-community/flash-attn3")
# The one build of each that fits the torch and the CUDA of nanochat's lock file.
KERNEL_BUILD = "torch29-cxx11-cu128-x86_64-linux"


def kernel(s: ResolvedSpec) -> Kernel:
    """What nanochat would fetch on this GPU at its first step."""
    return HOPPER_KERNEL if s.spec.gpu in HOPPER else OTHER_KERNEL


def fetch_kernel(wanted: Kernel) -> Argv:
    """Bring a kernel to the cache; nanochat asks for `main`, so that name is noted last, when all is there."""
    return (
        *_PYTHON,
        "from pathlib import Path; from huggingface_hub import snapshot_download as get; "
        f"at = Path(get({wanted.repository!r}, revision={wanted.revision!r},"
        f" allow_patterns=['build/{KERNEL_BUILD}/*'])); "
        f"(at / 'build' / {KERNEL_BUILD!r}).is_dir() or print('WARNING: {wanted.repository} has no {KERNEL_BUILD}'); "
        "main = at.parents[1] / 'refs' / 'main'; main.parent.mkdir(exist_ok=True); main.write_text(at.name)",
    )


def _typed(s: ResolvedSpec, stage: str) -> dict[str, object]:
    """The flags that stand for typed options, with the plan's values."""
    return {flag: getattr(s.values, name) for flag, name in TYPED[stage].items()}


def _given(values: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(word for name, value in values.items() for word in _flag(name, value))


def _tokenizer_flags(s: ResolvedSpec) -> tuple[str, ...]:
    return _given(_typed(s, "tokenizer"))


def _base_flags(s: ResolvedSpec) -> tuple[str, ...]:
    planned = {"device-batch-size": s.device_batch, "save-every": s.save_every}
    return (
        f"--depth={s.spec.depth}",
        *_given(_typed(s, "base") | planned),
        f"--model-tag={s.spec.model}",
        f"--run={wandb_name(s)}",
    )


def _base_eval_flags(s: ResolvedSpec, *, core: bool = True) -> tuple[str, ...]:
    return (
        f"--model-tag={s.spec.model}",
        "--eval=core,bpb,sample" if core else "--eval=bpb,sample",
        f"--device-batch-size={s.device_batch}",
        *(_flag("split-tokens", v) if (v := s.values.eval_tokens) and s.on_cpu else ()),
        *(_flag("max-per-task", s.values.eval_problems)),
    )


def _sft_flags(s: ResolvedSpec) -> tuple[str, ...]:
    tiny = s.on_cpu or s.spec.engine == "rehearsal"
    return (
        f"--model-tag={s.spec.model}",
        *_flag("load-optimizer", s.values.load_optimizer),
        *_flag("device-batch-size", s.spec.overrides.device_batch_size),
        *_flag("num-iterations", s.values.sft_iterations),
        *(("--eval-every=20", *_flag("eval-tokens", s.values.eval_tokens), "--chatcore-every=-1") if tiny else ()),
        f"--run={wandb_name(s)}",
    )


def _chat_eval_flags(s: ResolvedSpec) -> tuple[str, ...]:
    return ("-i", "sft", "-g", s.spec.model, *(("-x", str(n)) if (n := s.values.eval_problems) else ()))


FLAGS: dict[str, Callable[[ResolvedSpec], tuple[str, ...]]] = {
    "tokenizer": _tokenizer_flags,
    "base": _base_flags,
    "base_eval": _base_eval_flags,
    "sft": _sft_flags,
    "chat_eval": _chat_eval_flags,
}


def flags_left_out(s: ResolvedSpec, stage: str) -> tuple[str, ...]:
    """Why flags that the plan gives a stage are not given: its script has none of that name.

    Raises UsageError for code without that script, for a flag that a person asked for or that the length hangs on, and
    for one of `--set` that the script does not take.
    """
    return unknown_flags(stage, script_of(s.code, stage), FLAGS[stage](s), s.spec)


def can_resume(s: ResolvedSpec) -> bool:
    """Whether training can go on from a checkpoint: its script takes a step to begin at."""
    flags = script_of(s.code, "base").flags
    return flags.open or flags.find("resume-from-step") is not None


def wandb_name(s: ResolvedSpec) -> str:
    """What the run is called in W&B; `dummy` is nanochat's word for none."""
    return "dummy" if s.spec.wandb is None else s.tag or "nanochat-tui"


def tok_train(s: ResolvedSpec) -> Argv:
    """Train the tokenizer."""
    return _module(s, "tokenizer", _tokenizer_flags(s))


def base_train(s: ResolvedSpec, *, resume_from: int | None, attempt: int) -> Argv:
    """Pretraining; `--save-every` and `--model-tag` are always given. Faults strike the first attempt only."""
    return _module(s, "base", (*_base_flags(s), *_flag("resume-from-step", resume_from)), _rehearsal(s, attempt))


def _rehearsal(s: ResolvedSpec, attempt: int) -> tuple[str, ...]:
    if s.spec.engine != "rehearsal":
        return ()
    faults = tuple(f"--fault={f}" for f in s.values.fault or ()) if attempt == 1 else ()
    return (*_flag("step-ms", s.values.step_ms), *faults)


def base_eval(s: ResolvedSpec, *, core: bool) -> Argv:
    """Evaluate the base model: bits per byte and samples, with `core` the CORE metric."""
    return _module(s, "base_eval", _base_eval_flags(s, core=core))


def chat_sft(s: ResolvedSpec) -> Argv:
    """Fine-tune the base model to chat."""
    return _module(s, "sft", _sft_flags(s), _rehearsal(s, 2))


def chat_eval(s: ResolvedSpec) -> Argv:
    """Evaluate the fine-tuned model: ChatCORE."""
    return _module(s, "chat_eval", _chat_eval_flags(s))


def environment(s: ResolvedSpec, *, offline: bool) -> dict[str, str]:
    """Variables that every stage runs with, besides NANOCHAT_BASE_DIR. `offline`: the Hub is not to be asked."""
    env = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2" if s.on_cpu else "1"}
    if s.spec.wandb is None:
        env["WANDB_MODE"] = "disabled"
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    if s.values.compile is False:
        env["TORCHDYNAMO_DISABLE"] = "1"
    if s.spec.engine == "rehearsal" and s.spec.gpus > 1:
        env["WORLD_SIZE"] = str(s.spec.gpus)
    return env | {one.name: one.value for one in s.spec.flags if one.stage == ENV}
