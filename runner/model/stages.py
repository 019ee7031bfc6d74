"""The stages of a run, which part of it does each, and what a job may be doing in one."""

from enum import StrEnum


class StageName(StrEnum):
    """A stage, or none; one that only a newer release knows is UNKNOWN here."""

    NONE = ""
    PREPARE = "prepare"
    TOKENIZER = "tokenizer"
    BASE = "base"
    BASE_EVAL = "base_eval"
    SFT = "sft"
    CHAT_EVAL = "chat_eval"
    REPORT = "report"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "StageName":
        return cls.UNKNOWN


class Part(StrEnum):
    """Each has a container of its own on Modal: no GPU waits for a download."""

    PREPARE = "prepare"
    TRAIN = "train"


class Phase(StrEnum):
    """What a job is doing, in a word; one that only a newer release knows is none here."""

    NONE = ""
    PREPARING = "preparing"
    WAITING = "waiting to try again"
    STARTING = "starting"
    COMPILING = "compiling"
    TRAINING = "training"
    EVALUATING = "evaluating"
    SAVING = "saving"
    FINE_TUNING = "fine-tuning"
    FINISHING = "finishing"

    @classmethod
    def _missing_(cls, value: object) -> "Phase":
        return cls.NONE


_FIRST = (StageName.PREPARE, StageName.TOKENIZER)
STAGES: dict[str, tuple[StageName, ...]] = {
    "test": (*_FIRST, StageName.BASE, StageName.REPORT),
    "speedrun": (
        *_FIRST, StageName.BASE, StageName.BASE_EVAL, StageName.SFT, StageName.CHAT_EVAL, StageName.REPORT,
    ),
    "base": (*_FIRST, StageName.BASE, StageName.REPORT),
    "sft": (StageName.PREPARE, StageName.SFT, StageName.REPORT),
    "eval": (StageName.PREPARE, StageName.BASE_EVAL, StageName.CHAT_EVAL, StageName.REPORT),
    "tokenizer": (*_FIRST, StageName.REPORT),
}  # fmt: skip
PARTS = {Part.PREPARE: frozenset(_FIRST), Part.TRAIN: frozenset(STAGES["speedrun"]) - frozenset(_FIRST)}


def needs_gpus(task: str) -> bool:
    """Whether a task has anything to do for the part that trains."""
    return bool(set(STAGES[task]) & PARTS[Part.TRAIN] - {StageName.REPORT})


def part_of(task: str, stage: StageName) -> Part:
    """The part that does a stage of a task; all of it is prepared where nothing trains."""
    return Part.TRAIN if stage in PARTS[Part.TRAIN] and needs_gpus(task) else Part.PREPARE


def dearest_part(task: str) -> Part:
    """The part that most of a task's money goes to."""
    return Part.TRAIN if needs_gpus(task) else Part.PREPARE
