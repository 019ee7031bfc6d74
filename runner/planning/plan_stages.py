"""The stages of a plan, one by one: the command lines of each, or why it is skipped, its time and cost."""

from decimal import Decimal
from typing import NamedTuple

from msgspec import Struct

from runner.errors import UsageError
from runner.model import pricing
from runner.model.backend_name import BackendName
from runner.model.pricing import MoneyRange, TimeRange
from runner.model.spec import RunSpec
from runner.model.stages import STAGES, Part, StageName, needs_gpus, part_of
from runner.nanochat import code_facts, command_lines, layout, shapes
from runner.nanochat.command_lines import Argv, ResolvedSpec
from runner.nanochat.layout import CheckpointKind, Inventory
from runner.planning import estimate, legs
from runner.planning.estimate import PastRun, Speed
from runner.planning.tokenizers import unlike_shared
from runner.text import units
from runner.text.sanitize import sanitize_line
from runner.volumes.checkpoint_verdicts import Checkpoint, newest_complete

EVAL_SHARDS = 1
# What nanochat's own script brings before it trains a tokenizer on two billion characters.
TOKENIZER_SHARDS = 8


class _Draft(NamedTuple):
    """A stage before its price is known: why it is left out, its command lines, a remark, its time."""

    skip: str
    commands: tuple[Argv, ...]
    note: str
    seconds: TimeRange


class Stage(Struct, frozen=True):
    """One stage: its command lines, or the reason it is skipped; seconds and dollars low, likely, high."""

    name: StageName
    commands: tuple[Argv, ...]
    skip: str
    note: str
    seconds: TimeRange
    usd: MoneyRange


class Resume(Struct, frozen=True):
    """Where base training begins and why; step 0 is the beginning."""

    step: int
    reason: str


def needs_optimizer(spec: RunSpec) -> bool:
    """Whether what this run continues is more than a model's weights."""
    return spec.task != "eval" and not (spec.task == "sft" and spec.overrides.load_optimizer == 0)


def starting_point(spec: RunSpec, checkpoints: list[Checkpoint], kind: CheckpointKind) -> Checkpoint | None:
    """The checkpoint of a kind that a run goes on from: the newest that has all it needs."""
    return newest_complete(checkpoints, kind, weights_only=not needs_optimizer(spec))


def reads_tasks(s: ResolvedSpec) -> bool:
    """Whether a stage reads the data of tasks."""
    return bool({StageName.SFT, StageName.CHAT_EVAL} & set(STAGES[s.spec.task]))


class StagePlanner(Struct, frozen=True):
    """Everything that the stages of one plan are made of."""

    s: ResolvedSpec
    size: shapes.ModelShape
    inventory: Inventory
    checkpoints: list[Checkpoint]
    resume: Resume
    attempt: int
    backend: str
    pace: Speed
    own: PastRun | None
    whose: str

    @property
    def quick(self) -> bool:
        return self.s.spec.engine == "rehearsal" or self.s.on_cpu

    def stage(self, name: StageName, rates: dict[Part, Decimal], skip: str) -> Stage:
        drafts = {
            StageName.PREPARE: self._prepare,
            StageName.TOKENIZER: self._tokenizer,
            StageName.BASE: self._base,
            StageName.BASE_EVAL: self._base_eval,
            StageName.SFT: self._sft,
            StageName.CHAT_EVAL: self._chat_eval,
            StageName.REPORT: self._report,
        }
        draft = drafts[name]()
        skip = skip or draft.skip
        if skip:
            return Stage(name, (), skip, "", pricing.ZERO, pricing.FREE)
        seconds = estimate.corrected_by_past_run(name, draft.seconds, self.own)
        at = rates[part_of(self.s.spec.task, name)]
        return Stage(name, draft.commands, "", draft.note, seconds, MoneyRange.of(seconds, at))

    def piece(self, stage: Stage, seconds: float) -> legs.StageTime:
        """A stage as calls can hold it: base training in parts, from one checkpoint to the next."""
        left = self.size.iterations - self.resume.step
        if stage.name is not StageName.BASE or left <= 0:
            return legs.StageTime(stage.name, seconds)
        startup = min(seconds, estimate.startup(self.size, self.s).likely)
        between = (seconds - startup) * min(1.0, self.s.save_every / left)
        return legs.StageTime(stage.name, seconds, startup, between)

    def _prepare(self) -> _Draft:
        usual = TOKENIZER_SHARDS if self.s.spec.task == "tokenizer" else self.size.shards
        wanted = {"sft": 0, "eval": EVAL_SHARDS}.get(self.s.spec.task, self.s.values.shards or usual)
        missing = max(0, wanted - self.inventory.train_shards)
        damaged = sum(path.startswith(layout.DATA) for path in self.inventory.damaged)
        fetch = wanted > 0 and (missing > 0 or damaged > 0 or not self.inventory.validation_shard)
        if fetch and self.inventory.own_text:
            self._check_own_text()
            fetch, missing, wanted = False, 0, self.inventory.train_shards
        also = self._also_needed()
        there = f"{wanted} shard{'s are' if wanted > 1 else ' is'} on the volume" if wanted else "nothing is missing"
        skip = "" if fetch or also else there
        argv = (*((command_lines.dataset(self.s, wanted),) if fetch or not also else ()), *also.values())
        again = f"{damaged} damaged shard{'s' if damaged > 1 else ''} again"
        note = ", ".join(
            [*([f"{missing} of {wanted} shards"] if fetch else []), *([again] if fetch and damaged else []), *also]
        )
        seconds = estimate.prepare(self.s, missing)
        more = self._packages()
        return _Draft(skip, argv, note, seconds if more is None else seconds + estimate.packages(more))

    def _packages(self) -> list[str] | None:
        """What a container installs for a person's own code; None where it has the image's packages."""
        own = self.backend == BackendName.MODAL and self.s.spec.engine == "nanochat"
        return code_facts.packages_of_its_own(self.s.code) if own else None

    @property
    def packages(self) -> str:
        """The packages that are installed before any GPU is asked for, in words."""
        more = self._packages()
        if more is None:
            return ""
        if not more:
            return "its pyproject.toml or uv.lock is not the pin's: prepare installs what differs"
        what = f"{units.pluralize(len(more), 'package')} that the pin has not: {code_facts.listed(more)}"
        return f"prepare installs {sanitize_line(what)}; kept on the volume for the next run"

    def _check_own_text(self) -> None:
        """See that a person's own text can be trained on as it is: nothing is downloaded beside it."""
        has, again = self.inventory, f"volume put FOLDER {layout.DATA}/ sends it again"
        if damaged := [path for path in has.damaged if path.startswith(layout.DATA)]:
            more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
            raise UsageError(f"{damaged[0]}{more} of your own text is damaged", again)
        if not (has.train_shards and has.validation_shard):
            raise UsageError(f"your own text in {layout.DATA} has no shard to train on beside its last", again)

    def _also_needed(self) -> dict[str, Argv]:
        """Downloads besides the shards, by name, that no GPU should wait for; other engines and places do without."""
        s, has = self.s, self.inventory
        if self.backend != BackendName.MODAL or s.spec.engine != "nanochat" or not needs_gpus(s.spec.task):
            return {}
        found = {}
        kernel = command_lines.kernel(s)
        if not layout.has_kernel(has, kernel):
            found["attention kernel"] = command_lines.fetch_kernel(kernel)
        core = StageName.BASE_EVAL in STAGES[s.spec.task] or (s.spec.task == "base" and s.values.core_every != -1)
        if core and not has.eval_bundle:
            found["eval bundle"] = command_lines.EVAL_BUNDLE
        if reads_tasks(s) and s.code.task_data and not has.task_data:
            found["task data"] = command_lines.TASK_DATA
        if StageName.SFT in STAGES[s.spec.task] and s.code.identity and not has.identity:
            found["conversations about itself"] = command_lines.IDENTITY_DATA
        return found

    def _tokenizer(self) -> _Draft:
        has = self.inventory
        other = unlike_shared(self.s, has)
        note = f"its own, as {other}" if other else ""
        note = "the one there is damaged" if any(map(layout.is_tokenizer, has.damaged)) else note
        skip = "kept" if has.tokenizer and not other else ""
        return _Draft(skip, (command_lines.tok_train(self.s),), note, estimate.tokenizer(self.s))

    def _base(self) -> _Draft:
        left = max(0, self.size.iterations - self.resume.step)
        argv = command_lines.base_train(self.s, resume_from=self.resume.step or None, attempt=self.attempt)
        note = f"{left:,} steps" + (f", from {self.resume.step:,}" if self.resume.step else "")
        seconds = estimate.base(self.size, self.s, self.resume.step, self.pace, self.s.save_every)
        return _Draft("", (argv,), note, seconds)

    def _base_eval(self) -> _Draft:
        core = self.s.spec.engine == "rehearsal" or not self.s.on_cpu or self.inventory.eval_bundle
        note = "" if core else "CORE left out: eval_bundle/ is not on the volume"
        skip = self._without(CheckpointKind.BASE)
        return _Draft(
            skip, (command_lines.base_eval(self.s, core=core),), note, estimate.base_eval(self.size, self.s, core=core)
        )

    def _sft(self) -> _Draft:
        alone = self.s.spec.overrides.load_optimizer == 0
        note = "from the weights alone, with a fresh optimizer" if alone else ""
        return _Draft("", (command_lines.chat_sft(self.s),), note, estimate.sft(self.size, self.s))

    def _chat_eval(self) -> _Draft:
        return _Draft(
            self._without(CheckpointKind.SFT),
            (command_lines.chat_eval(self.s),),
            "",
            estimate.chat_eval(self.size, self.s),
        )

    def _report(self) -> _Draft:
        return _Draft("", (), "", pricing.range_around(0.1))

    def _without(self, kind: CheckpointKind) -> str:
        """Why an evaluation of what another run has trained cannot be: it has no such checkpoint."""
        if self.s.spec.task != "eval" or starting_point(self.s.spec, self.checkpoints, kind):
            return ""
        return f"{self.whose} has no whole {kind} checkpoint"
