"""What a job says of itself: where it is, its numbers, its money, how it ended."""

from decimal import Decimal
from enum import StrEnum
from typing import Any

from msgspec import Struct, field

from runner.model import pricing, stored
from runner.model.paid import PaidInterval, adding_up_to, charged_until
from runner.model.spec import MAX_USD
from runner.model.stages import Phase, StageName
from runner.model.states import State


class StageState(StrEnum):
    """How far a stage of the plan is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    STOPPED = "stopped"


class StageStatus(Struct):
    """One stage of the plan; times are seconds since the epoch, `note` says why it was skipped or resumed."""

    name: StageName
    state: StageState = StageState.WAITING
    started_at: float | None = None
    ended_at: float | None = None
    note: str = ""


class OutcomeKind(StrEnum):
    """How an attempt ended, in a word; one that only a newer release knows is UNKNOWN here, its message is kept."""

    DONE = "done"
    CANCELLED = "cancelled"
    BUDGET = "budget"
    TIME_LIMIT = "time limit"
    STALLED = "stalled"
    UNSAVED = "unsaved"
    CRASH = "crash"
    CRASH_LOOP = "crash loop"
    OOM = "oom"
    NAN = "nan"
    NCCL = "nccl"
    KILLED = "killed"
    DATA = "data"
    TOKENIZER = "tokenizer"
    CHECKPOINT = "checkpoint"
    DISK = "disk"
    VOLUME = "volume"
    NETWORK = "network"
    ENVIRONMENT = "environment"
    ATTENTION = "attention"
    LAUNCH = "launch"
    TIMEOUT = "timeout"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> "OutcomeKind":
        return cls.UNKNOWN


class Problem(Struct, frozen=True):
    """A line of the log that tells of a failure, by its number from 1."""

    line: int
    text: str


class Change(Struct, frozen=True, omit_defaults=True):
    """What a new launch is to have otherwise, by the name of the override; `task` where that is another, `flags` as
    `--set` takes them.

    One that `goes_on` begins with the newest checkpoint of the run, any other anew.
    """

    overrides: dict[str, int | bool]
    task: str = ""
    goes_on: bool = False
    flags: tuple[str, ...] = ()


class Outcome(Struct, frozen=True):
    """How an attempt ended. `resume` says whether that can help, `line` is the one of the log that tells it, from 1.

    `problems` are the lines that tell it to a person, that one among them. `change` is what the advice says to launch
    with, where it says that.
    """

    kind: OutcomeKind
    message: str
    advice: str = ""
    stage: StageName = StageName.NONE
    exit_code: int | None = None
    signal: int | None = None
    resume: str = ""
    line: int | None = None
    problems: tuple[Problem, ...] = ()
    change: Change | None = None


class Pause(Struct, frozen=True):
    """How often training stood still for something, and for how many seconds in all."""

    count: int = 0
    seconds: float = 0.0


class GpuSample(Struct, frozen=True):
    """The GPUs of a container at one moment: the mean of their load in per cent, the most of the rest.

    Memory in bytes, power in watts over all of them, temperature in degrees Celsius.
    """

    load: float
    memory: int
    memory_total: int
    watts: float
    celsius: float


class Unsaved(Struct, frozen=True):
    """What keeps a job from saving, since when by its clock, and how many checkpoints wait for that."""

    reason: str
    since: float
    checkpoints: int = 0


class Work(Struct):
    """What the job is doing, and what it has met on the way.

    `phase` is the phase, in a word; `stage_step` the last step of fine-tuning, or how many tasks an evaluation has
    ended. `wandb` is the address of the stage at Weights & Biases.
    """

    stages: list[StageStatus] = []
    stage: StageName = StageName.NONE
    phase: Phase = field(default=Phase.NONE, name="doing")
    progress_at: float | None = None
    last_line_at: float | None = None
    stage_percent: float | None = None
    stage_loss: float | None = None
    stage_step: int | None = None
    unknown_lines: int = 0
    warnings: list[str] = []
    unsaved: Unsaved | None = None
    wandb_link: str = field(default="", name="wandb")


class Training(Struct):
    """How far base training is, its numbers, and what is measured and saved how often.

    `tokens_per_s` is over all GPUs; `mfu` per cent, `mfu_printed` what nanochat prints where that is wrong;
    `tokenizer` the beginning of the digest of the one that the model is trained with.
    """

    step: int | None = None
    total_steps: int | None = None
    loss: float | None = None
    val_bpb: float | None = None
    core: float | None = None
    chatcore: float | None = None
    sft_bpb: float | None = None
    tokens_per_s: int | None = None
    mfu: float | None = None
    mfu_printed: float | None = None
    tokenizer: str = ""
    resumed_from: int | None = None
    saved_step: int | None = None
    save_every: int | None = None
    val_every: int = 0
    core_every: int = 0


class Pace(Struct):
    """How long things take: what is usual, and what is too long.

    `dt_s` is of the last step; `pace_s` the usual seconds of a step now, `best_pace_s` at its best; `train_s` seconds
    went into `train_steps` steps of the base model, each container's first ones left out; `max_silence_s` the longest
    silence of each phase so far; `pause_totals` what steps waited for (val, core, sample, save); `publish_s` how long
    the last checkpoint took from written to kept.
    """

    dt_s: float | None = None
    slowest_dt_s: float | None = None
    pace_s: float | None = None
    best_pace_s: float | None = None
    train_s: float = 0.0
    train_steps: int = 0
    max_silence_s: dict[str, float] = field(default_factory=dict, name="quiet_s")
    pause_totals: dict[str, Pause] = field(default_factory=dict, name="pauses")
    publish_s: float | None = None
    gpu: GpuSample | None = None


class Money(Struct):
    """What earlier containers took, in seconds and dollars, and the price of this one.

    `paid` has a row for each of them, and for this one: when, how much, for what. `budget_told` is the last warning, in
    per cent.
    """

    spent_before_s: float = 0.0
    earlier_cost_usd: Decimal = field(default=Decimal(0), name="paid_usd")
    usd_per_hour: Decimal = Decimal(0)
    paid: list[PaidInterval] = []
    budget_told: int = 0


class Containers(Struct):
    """The containers and calls that a run went through so far, and the hardware of this one.

    `log_offsets` holds where in the log each container's own part begins; `restarts_without_progress` counts the
    containers that died since `progress` (stages done, step kept) was last better. Where a call may take no longer than
    a day, training goes through several: `leg` counts them, `leg_before_s` is how long the earlier containers of this
    one ran.
    """

    calls: list[str] = []
    log_offsets: list[int] = field(default_factory=list, name="log_bases")
    lost_log_bytes: int = 0
    progress: tuple[int, int] = (0, 0)
    restarts_without_progress: int = field(default=0, name="fruitless")
    preemptions: int = 0
    leg: int = 1
    leg_before_s: float = 0.0
    device: str = ""


# Earlier releases wrote no number, and the values of all parts side by side.
STATUS_SCHEMA = 2


class Status(Struct):
    """What the job says of itself, rewritten as it goes; only the job writes it.

    Times are seconds since the epoch. `container_seconds` is how long this container has run, by a clock that does not
    jump, which also gives the times of stages and of progress; `updated_at` is the time of day. What every release must
    understand, who it is and whether it lives, lies beside the parts.
    """

    attempt: int
    state: State
    call_id: str
    started_at: float
    updated_at: float
    first_started_at: float | None = None
    ended_at: float | None = None
    container_seconds: float | None = field(default=None, name="here_s")
    outcome: Outcome | None = None
    work: Work = field(default_factory=Work)
    training: Training = field(default_factory=Training)
    pace: Pace = field(default_factory=Pace)
    money: Money = field(default_factory=Money)
    containers: Containers = field(default_factory=Containers)
    schema: int = STATUS_SCHEMA

    @property
    def spent_s(self) -> float:
        """Seconds that containers have run for this run, over all its attempts."""
        return self.money.spent_before_s + self._here_s

    @property
    def spent_usd(self) -> Decimal:
        """Dollars over all containers so far, exact to a hundredth of a cent; 0 for a record that makes no sense."""
        try:
            spent = self.money.earlier_cost_usd + pricing.dollars(self._here_s, self.money.usd_per_hour)
            return spent.quantize(Decimal("0.0001")) if 0 <= spent < MAX_USD else Decimal(0)
        except ArithmeticError:
            return Decimal(0)

    @property
    def _here_s(self) -> float:
        return max(
            0.0,
            self.container_seconds
            if self.container_seconds is not None
            else (self.ended_at or self.updated_at) - self.started_at,
        )

    def tell(self, here_s: float, now: float) -> None:
        """Bring up to date how long this container has run, and what was paid for that, at a time of day."""
        self.container_seconds, self.updated_at = here_s, now
        self.money.paid = charged_until(self.money.paid, self.spent_s, self.spent_usd, now)

    def rows(self, usd: Decimal) -> list[PaidInterval]:
        """What was paid, adding up to `usd`; one row for all of it in a record of an earlier release."""
        began = self.first_started_at or self.started_at
        whole = PaidInterval(began, max(began, self.ended_at or self.updated_at), self.spent_s, usd)
        return adding_up_to(usd, self.money.paid, whole)

    def at(self, now: float) -> float:
        """What the job's own clock shows at a moment of ours."""
        told = self.updated_at if self.container_seconds is None else self.started_at + self.container_seconds
        return told + max(0.0, now - self.updated_at)


STATUS_PARTS: dict[str, type[Struct]] = {
    "work": Work, "training": Training, "pace": Pace, "money": Money, "containers": Containers,
}  # fmt: skip


def in_parts(raw: Any) -> Any:
    """A raw status with each value in its part, also one of an earlier release; what is no status stays as it is."""
    if not isinstance(raw, dict) or "schema" in raw:
        return raw
    new = dict(raw)
    for part, kind in STATUS_PARTS.items():
        new[part] = {name: new.pop(name) for name in kind.__struct_encode_fields__ if name in new}
    return new | {"schema": STATUS_SCHEMA}


def job_status_of(data: bytes) -> Status:
    """A stored status, as far as this release understands it. Raises one of `stored.UNREADABLE`."""
    return stored.decode(data, Status, {".state": "unknown"}, in_parts)[0]


RESUME = "resume continues from the last checkpoint"


def resume_begins(status: Status | None, run_id: str = "") -> str:
    """How a resume begins, as far as is known: the last checkpoint may be newer than what a killed job has said."""
    said = RESUME.replace("resume", f"resume {run_id}", 1) if run_id else RESUME
    return said if status and status.training.saved_step else f"{said}, or anew where none was kept"
