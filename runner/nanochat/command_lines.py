"""One stage -> the exact command lines and environment that nanochat is run with."""

from msgspec import Struct

from runner.model.spec import Overrides, RunSpec

COMMIT = "92d63d4e8bb4df75c3b71618f31ddde2378b2bcd"
REPOSITORY = "https://github.com/karpathy/nanochat"

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
    """A spec with every default filled in: what the command lines are made of."""

    spec: RunSpec
    values: Overrides
    device_batch: int
    save_every: int
    on_cpu: bool


def _flag(name: str, value: object) -> tuple[str, ...]:
    return () if value is None else (f"--{name}={value:g}" if isinstance(value, float) else f"--{name}={value}",)


def _module(s: ResolvedSpec, module: str, flags: tuple[str, ...]) -> Argv:
    """`python -m` for one process, `torchrun` for several GPUs; a rehearsal pretends its ranks in one process."""
    if s.spec.gpus > 1 and s.spec.engine == "nanochat":
        return ("torchrun", "--standalone", f"--nproc_per_node={s.spec.gpus}", "-m", module, "--", *flags)
    return ("python", "-m", module, *flags)


def dataset(s: ResolvedSpec, shards: int) -> Argv:
    """Download so many training shards, and the validation shard."""
    return ("python", "-m", "nanochat.dataset", "-n", str(shards))


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


HOPPER = ("H100", "H200")
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


def tok_train(s: ResolvedSpec) -> Argv:
    """Train the tokenizer."""
    flags = _flag("max-chars", s.values.tokenizer_chars) + _flag("vocab-size", s.values.vocab_size)
    return ("python", "-m", "scripts.tok_train", *flags)


def base_train(s: ResolvedSpec, *, resume_from: int | None, attempt: int) -> Argv:
    """Pretraining; `--save-every` and `--model-tag` are always given. Faults strike the first attempt only."""
    v = s.values
    flags = (
        f"--depth={s.spec.depth}",
        *_flag("num-iterations", v.iterations),
        *_flag("target-param-data-ratio", v.data_ratio),
        f"--device-batch-size={s.device_batch}",
        *_flag("total-batch-size", v.total_batch_size),
        *_flag("max-seq-len", v.seq_len),
        *_flag("aspect-ratio", v.aspect_ratio),
        *_flag("head-dim", v.head_dim),
        *_flag("window-pattern", v.window_pattern),
        *_flag("warmup-steps", v.warmup_steps),
        *(("--fp8",) if v.fp8 else ()),
        *_flag("eval-every", v.eval_every),
        *_flag("eval-tokens", v.eval_tokens),
        *_flag("core-metric-every", v.core_every),
        *_flag("sample-every", v.sample_every),
        f"--save-every={s.save_every}",
        f"--model-tag={s.spec.model}",
        "--run=dummy",
        *_flag("resume-from-step", resume_from),
        *_rehearsal(s, attempt),
    )
    return _module(s, "scripts.base_train", flags)


def _rehearsal(s: ResolvedSpec, attempt: int) -> tuple[str, ...]:
    if s.spec.engine != "rehearsal":
        return ()
    faults = tuple(f"--fault={f}" for f in s.values.fault or ()) if attempt == 1 else ()
    return (*_flag("step-ms", s.values.step_ms), *faults)


def base_eval(s: ResolvedSpec, *, core: bool) -> Argv:
    """Evaluate the base model: bits per byte and samples, with `core` the CORE metric."""
    flags = (
        f"--model-tag={s.spec.model}",
        "--eval=core,bpb,sample" if core else "--eval=bpb,sample",
        f"--device-batch-size={s.device_batch}",
        *(_flag("split-tokens", v) if (v := s.values.eval_tokens) and s.on_cpu else ()),
        *(_flag("max-per-task", s.values.eval_problems)),
    )
    return _module(s, "scripts.base_eval", flags)


def chat_sft(s: ResolvedSpec) -> Argv:
    """Fine-tune the base model to chat."""
    tiny = s.on_cpu or s.spec.engine == "rehearsal"
    flags = (
        f"--model-tag={s.spec.model}",
        *_flag("load-optimizer", s.values.load_optimizer),
        *_flag("device-batch-size", s.spec.overrides.device_batch_size),
        *_flag("num-iterations", s.values.sft_iterations),
        *(("--eval-every=20", *_flag("eval-tokens", s.values.eval_tokens), "--chatcore-every=-1") if tiny else ()),
        "--run=dummy",
        *_rehearsal(s, 2),
    )
    return _module(s, "scripts.chat_sft", flags)


def chat_eval(s: ResolvedSpec) -> Argv:
    """Evaluate the fine-tuned model: ChatCORE."""
    return _module(s, "scripts.chat_eval", ("-i", "sft", "-g", s.spec.model, *_max_problems(s)))


def _max_problems(s: ResolvedSpec) -> tuple[str, ...]:
    return ("-x", str(s.values.eval_problems)) if s.values.eval_problems else ()


def environment(s: ResolvedSpec, *, offline: bool) -> dict[str, str]:
    """Variables that every stage runs with, besides NANOCHAT_BASE_DIR. `offline`: the Hub is not to be asked."""
    env = {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "2" if s.on_cpu else "1", "WANDB_MODE": "disabled"}
    if offline:
        env["HF_HUB_OFFLINE"] = "1"
    if s.values.compile is False:
        env["TORCHDYNAMO_DISABLE"] = "1"
    if s.spec.engine == "rehearsal" and s.spec.gpus > 1:
        env["WORLD_SIZE"] = str(s.spec.gpus)
    return env
