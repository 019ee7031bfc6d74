"""What a log line of nanochat can say."""

from msgspec import Struct


class Event(Struct, frozen=True, tag_field="kind", tag="event"):
    """Something a line of the log says."""


class Step(Event, frozen=True, tag="step"):
    """A training step that has ended. `dt_ms` milliseconds, `tokens_per_s` over all GPUs, `mfu` per cent.

    None is what the line does not say: releases of nanochat differ in that.
    """

    step: int
    total: int | None
    percent: float
    loss: float
    lrm: float | None
    dt_ms: float | None
    tokens_per_s: int | None
    mfu: float | None
    epoch: int | None = None
    eta_s: float | None = None

    @property
    def tunes(self) -> bool:
        """Whether it is of fine-tuning, which knows no total; that of 2025 knew one, and no speed."""
        return self.total is None or self.dt_ms is None


class ValBpb(Event, frozen=True, tag="val_bpb"):
    """Validation bits per byte before `step`; step None at the end of base_eval."""

    step: int | None
    bpb: float


class TrainBpb(Event, frozen=True, tag="train_bpb"):
    """Bits per byte of the training split, which base_eval prints beside the validation's."""

    bpb: float


class CoreMetric(Event, frozen=True, tag="core"):
    """CORE metric of the base model before `step`; step None at the end of base_eval."""

    step: int | None
    core: float


class ChatCore(Event, frozen=True, tag="chatcore"):
    """ChatCORE metric of the fine-tuned model before `step`; step None at the end of chat_eval."""

    step: int | None
    chatcore: float


class TaskScore(Event, frozen=True, tag="task"):
    """Accuracy of one evaluation task, 0 to 1; `centered` is 0 at chance, for the tasks of CORE."""

    task: str
    accuracy: float
    centered: float | None = None


class Sample(Event, frozen=True, tag="sample"):
    """What the model wrote, from its first token on; foreign text, cut to `SAMPLE_CHARS`."""

    text: str


SAMPLE_CHARS = 400


class Saved(Event, frozen=True, tag="saved"):
    """A file of a checkpoint was written by nanochat: `what` is model parameters, metadata or optimizer state."""

    what: str
    folder: str
    step: int


class Fact(Event, frozen=True, tag="fact"):
    """A header line worth keeping: `name` is gpu, iterations, parameters, world_size, peak_memory, …"""

    name: str
    value: str


class Resumed(Event, frozen=True, tag="resumed"):
    """Training goes on from the checkpoint of `step`."""

    step: int


class Downloaded(Event, frozen=True, tag="downloaded"):
    """The closing line of nanochat.dataset, whose exit code is 0 even when shards are missing."""

    ok: int
    total: int


class Warned(Event, frozen=True, tag="warning"):
    """A warning that a person should know of."""

    text: str


class Failed(Event, frozen=True, tag="failed"):
    """A line that tells a failure, by the `cause` that it has where nothing else is known.

    `rank` and exit `code` where it names them. `prose`: a model could have written it; `hint`: it has the form of an
    exception, and only a traceback above it makes it one.
    """

    text: str
    cause: str
    rank: int | None = None
    code: int | None = None
    prose: bool = False
    hint: bool = False


class Noted(Event, frozen=True, tag="note"):
    """A line that is known and carries nothing to keep: `about` is header, traceback, progress, download, …"""

    about: str
