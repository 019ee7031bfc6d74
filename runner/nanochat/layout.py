"""Names of nanochat's files and folders, and what of them is on a volume."""

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

if TYPE_CHECKING:
    from runner.nanochat.command_lines import Kernel

DATA, TOKENIZER, EVAL_BUNDLE, TASK_DATA, CACHE = (
    "base_data_climbmix",
    "tokenizer",
    "eval_bundle",
    "task_data",
    "cache",
)
# Where nanochat had its text before it trained on climbmix.
OLD_DATA = "base_data"
SHARED = (TOKENIZER, DATA, TASK_DATA)
VALIDATION_SHARD = 6542
TOKENIZER_FILES = ("tokenizer.pkl", "token_bytes.pt")
# Beside the files of a tokenizer: what they are. Only a folder of a run that has it holds the run's own.
TOKENIZER_RECORD = "digest.json"
# In the data folder: the text is the person's own, and nothing is ever downloaded beside it.
OWN_TEXT = "own_text.json"

# Tables of evaluations of the base model.
RESULTS = "base_eval"
# Where checkpoints go that a run went back behind.
ASIDE = "put_aside"
# People's own code, as archives that are named by their content.
CODE = "code"
# What deleted runs have paid.
SPENT = "spent"
# Hugging Face's own cache, and the compile caches of one GPU kind and model, as archives.
HF_CACHE, COMPILE_CACHE = "cache/huggingface", "cache/compile"
# Packages in which people's own code differs from the image, as archives.
OWN_PACKAGES = "cache/environment"

(
    RUN_FILE,
    SPEC_FILE,
    STATUS_FILE,
    EVENTS_FILE,
    LOG_FILE,
    TIMES_FILE,
    REPORT_FILE,
    CURVE_FILE,
    CANCEL_FILE,
    DIFF_FILE,
) = (
    "run.json",
    "run.toml",
    "status.json",
    "events.jsonl",
    "log",
    "log.times",
    "report.md",
    "loss.svg",
    "cancel.json",
    "code.diff",
)

# Where what was found damaged lies, by its path, in case somebody wants it.
DAMAGED = "damaged"
# Of the runs that fill a volume for all, one at a time has it; it lies in CACHE.
PREPARE_LOCK = "prepare.lock"

# Files that a live run only adds to, and those that are written anew as it goes, or goes on.
GROWING = frozenset({LOG_FILE, EVENTS_FILE, TIMES_FILE})
REWRITTEN = GROWING | {STATUS_FILE, RUN_FILE, SPEC_FILE, REPORT_FILE, CURVE_FILE}

_SHARD = re.compile(r"shard_(\d{5})\.parquet")
UNREADABLE = "unreadable"
_PART = re.compile(rf"(model|meta|optim|{UNREADABLE})_(\d{{6}})(?:_rank(\d{{1,4}}))?\.(pt|json)")


class CheckpointKind(StrEnum):
    """Of which training a checkpoint is: the base model's, or fine-tuning's."""

    BASE = "base"
    SFT = "sft"


CHECKPOINT_DIRS = {CheckpointKind.BASE: "base_checkpoints", CheckpointKind.SFT: "chatsft_checkpoints"}


class Inventory(Struct, frozen=True):
    """What a volume already holds for any run: count of training shards, validation shard, tokenizer, bundle, task
    data, conversations about itself; `kernels` are the attention kernels in the cache of Hugging Face, by folder, with
    their revision; `token_bytes` is the size of the tokenizer's table, which tells its vocabulary; `tokenizer_of_run`
    whether it is one that a run has for itself, `tokenizer_asked` how it was asked for, None where nobody has put that
    down; `own_text` whether the shards are the person's own; `damaged` are the paths of what is there and is not what
    it should be, and counts for nothing."""

    train_shards: int = 0
    validation_shard: bool = False
    tokenizer: bool = False
    token_bytes: int = 0
    tokenizer_of_run: bool = False
    tokenizer_asked: tuple[str, ...] | None = None
    own_text: bool = False
    eval_bundle: bool = False
    task_data: bool = False
    identity: bool = False
    kernels: Mapping[str, str] = {}
    damaged: tuple[str, ...] = ()


def has_kernel(has: Inventory, wanted: "Kernel") -> bool:
    """Whether an attention kernel is in the cache, in the revision that was tried with nanochat, if one was."""
    there = has.kernels.get(wanted.folder, "")
    return bool(there) and (not wanted.offline or there == wanted.revision)


def has_vocabulary(token_bytes: int, vocab: int) -> bool:
    """Whether a tokenizer has this many tokens, by the size of its table: 4 bytes a token, and an envelope."""
    return 4 * vocab <= token_bytes <= 4 * vocab + 4096


def tokenizer_of(path: str) -> str:
    """Where a run keeps the tokenizer of its model, by the run's folder."""
    return f"{path}/{TOKENIZER}"


def is_tokenizer(path: str) -> bool:
    """Whether a path is of a file of a tokenizer, the shared one or a run's."""
    return path.rpartition("/")[0].rpartition("/")[2] == TOKENIZER


def shard_index(name: str) -> int | None:
    """`shard_00012.parquet` -> 12; None for any other name."""
    match = _SHARD.fullmatch(name)
    return int(match[1]) if match else None


def checkpoint_part(name: str) -> tuple[str, int, int | None] | None:
    """`optim_000020_rank3.pt` -> ("optim", 20, 3); None when the name is not part of a checkpoint."""
    match = _PART.fullmatch(name)
    if not match or (match[4] == "json") != (match[1] in ("meta", UNREADABLE)):
        return None
    if (match[3] is not None) != (match[1] == "optim"):
        return None
    return match[1], int(match[2]), int(match[3]) if match[3] is not None else None


def model_file(step: int) -> str:
    """The file of a checkpoint's weights."""
    return f"model_{step:06d}.pt"


def meta_file(step: int) -> str:
    """The file of a checkpoint that says what it is of."""
    return f"meta_{step:06d}.json"


def is_meta(name: str) -> bool:
    """Whether a file says what a checkpoint is of: without it the others are nothing."""
    return name.startswith("meta_")


def is_optimizer(name: str) -> bool:
    """Whether a file has a rank's part of an optimizer's state: only a resume needs it."""
    return name.startswith("optim_")


def code_archive(sha: str) -> str:
    """Where the code of that content is kept on a volume."""
    return f"{CODE}/{sha}.tar.gz"


def aside_mark(path: str, attempt: int) -> str:
    """The file in a run's folder that says that an attempt has put aside what it goes back behind."""
    return f"{path}/{ASIDE}/before-attempt-{attempt}/done"
