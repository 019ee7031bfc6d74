"""The plan: stages, skips, resume point, and the command lines that cost money."""

from decimal import Decimal
from typing import Any

import msgspec
import pytest

from runner.errors import UsageError
from runner.model.code import Code
from runner.model.spec import RunSpec
from runner.model.stages import StageName
from runner.model.status import StageState, StageStatus
from runner.nanochat import code_facts, shapes
from runner.nanochat.command_lines import HOPPER_KERNEL, OTHER_KERNEL
from runner.nanochat.layout import CheckpointKind, Inventory
from runner.planning import plan_text
from runner.planning.plan import Plan, make_plan
from runner.planning.plan_text import lines
from runner.volumes.checkpoint_verdicts import Checkpoint, Verdict

FULL = Inventory(
    train_shards=600,
    validation_shard=True,
    tokenizer=True,
    token_bytes=132_300,
    eval_bundle=True,
    task_data=True,
    kernels={HOPPER_KERNEL.folder: HOPPER_KERNEL.revision},
)


def spec(**given: Any) -> RunSpec:
    base = {"task": "speedrun", "model": "d12", "backend": "modal", "engine": "nanochat"}
    return RunSpec.create(**{**base, **given})


def planned(inventory: Inventory = FULL, *, backend: str = "modal", **given: Any) -> Plan:
    return make_plan(spec(backend=backend, **given), inventory, backend=backend)


def test_conversations_about_itself_that_the_code_fine_tunes_on_are_fetched_before_any_gpu_is_asked_for() -> None:
    older = msgspec.structs.replace(code_facts.pinned(), identity=True)

    def steps(task: str, has: Inventory, backend: str = "modal") -> str:
        made = RunSpec.create(task=task, model="d4", backend=backend, engine="nanochat")
        found = make_plan(made, has, backend=backend, code=older)
        return " ".join([str(found.stages[0].commands), *found.warnings])

    there = msgspec.structs.replace(FULL, identity=True)
    assert "identity_conversations.jsonl" in steps("speedrun", FULL)
    assert "identity_conversations.jsonl" not in steps("speedrun", there) + steps("base", FULL)
    assert "fine-tunes without what it says of itself" in steps("speedrun", FULL, "local")
    assert "without what it says" not in steps("speedrun", there, "local") + steps("base", FULL, "local")
    names = [("scripts/base_train.py", b""), ("scripts/tok_train.py", b"")]
    for text, wants in ((b"at = base + '/identity_conversations.jsonl'", True), (b"", False)):
        assert code_facts.facts_of([*names, ("scripts/chat_sft.py", text)]).identity is wants


def argv(found: Plan, stage: str) -> tuple[str, ...]:
    return next(s for s in found.stages if s.name == stage).commands[-1]


def checkpoint(step: int, verdict: Verdict = Verdict.COMPLETE) -> Checkpoint:
    return Checkpoint("r", CheckpointKind.BASE, step, 1, 8, None, verdict, "", "", (), 0.0)


@pytest.mark.parametrize("engine", ["rehearsal", "nanochat"])
@pytest.mark.parametrize("task", ["test", "speedrun"])
@pytest.mark.parametrize("model", ["d4", "d12", "d26", "d32"])
def test_every_training_command_saves_on_the_way_and_names_its_tag(engine: str, task: str, model: str) -> None:
    words = argv(planned(engine=engine, task=task, model=model), "base")
    assert f"--model-tag={model}" in words
    assert int(next(w for w in words if w.startswith("--save-every=")).partition("=")[2]) > 0


def test_the_smoke_test_is_ten_steps_of_the_chosen_depth_on_one_gpu_under_two_dollars() -> None:
    found = planned(task="test", model="d26", inventory=Inventory())
    words = argv(found, "base")
    assert {"--depth=26", "--num-iterations=10", "--eval-every=-1", "--core-metric-every=-1"} <= set(words)
    assert words[:3] == ("python", "-m", "scripts.base_train")
    assert found.usd.high < 2
    assert [s.name for s in found.stages] == ["prepare", "tokenizer", "base", "report"]


def test_several_gpus_go_through_torchrun_and_a_cpu_never_does() -> None:
    assert argv(planned(), "base")[:3] == ("torchrun", "--standalone", "--nproc_per_node=8")
    local = planned(backend="local", model="d4", gpus=1)
    assert all("torchrun" not in word for s in local.stages for c in s.commands for word in c)
    assert local.env["TORCHDYNAMO_DISABLE"] == "1"


def test_what_is_on_the_volume_is_skipped_with_a_reason() -> None:
    skips = {s.name: s.skip for s in planned().stages}
    assert skips[StageName.PREPARE] == "39 shards are on the volume"
    assert skips[StageName.TOKENIZER] == "kept"
    partly = planned(Inventory(train_shards=10, validation_shard=False)).stages
    assert (partly[0].skip, partly[0].note) == ("", "29 of 39 shards, attention kernel, eval bundle, task data")


def test_a_tokenizer_of_another_vocabulary_is_trained_anew() -> None:
    kept, anew = (
        next(s for s in planned(msgspec.structs.replace(FULL, token_bytes=size)).stages if s.name == "tokenizer")
        for size in (132_300, 4 * 65_536 + 1_300)
    )
    assert (kept.skip, anew.skip) == ("kept", "")
    assert anew.note == "its own, as the one there has not 32,768 tokens"


def test_a_missing_validation_shard_is_fetched_although_all_others_are_there() -> None:
    found = planned(Inventory(train_shards=600, validation_shard=False))
    assert found.stages[0].skip == ""


def test_training_resumes_at_the_newest_complete_checkpoint() -> None:
    saved = [checkpoint(100), checkpoint(200), checkpoint(300, Verdict.TRUNCATED)]
    found = make_plan(spec(), FULL, backend="modal", checkpoints=saved, attempt=2)
    assert found.resume.step == 200
    assert "--resume-from-step=200" in argv(found, "base")


@pytest.mark.parametrize(
    ("saved", "tuned", "inventory", "skipped"),
    [
        ([2520], [60], FULL, {"prepare", "tokenizer", "base", "base_eval", "sft"}),
        ([2520], [], FULL, {"prepare", "tokenizer", "base", "base_eval"}),
        ([2000], [60], FULL, {"prepare", "tokenizer"}),
        ([2520], [60], Inventory(), {"base", "base_eval", "sft"}),
        ([], [], FULL, {"prepare", "tokenizer"}),
    ],
)
def test_a_stage_is_not_run_again_while_what_it_made_is_there(
    saved: list[int], tuned: list[int], inventory: Inventory, skipped: set[str]
) -> None:
    ended = [StageStatus(n, StageState.DONE) for n in list(StageName)[1:6]]
    found = [checkpoint(step) for step in saved] + [
        msgspec.structs.replace(checkpoint(s), kind=CheckpointKind.SFT) for s in tuned
    ]
    made = make_plan(
        spec(), inventory, backend="modal", checkpoints=found, finished=ended, trained_steps=2520, attempt=2
    )
    assert {s.name for s in made.stages if s.skip} == skipped


def test_a_rehearsed_fault_strikes_the_first_attempt_only() -> None:
    given = spec(engine="rehearsal", overrides={"fault": ["crash@3"]})
    first, second = (make_plan(given, FULL, backend="local", attempt=n) for n in (1, 2))
    assert "--fault=crash@3" in argv(first, "base")
    assert "--fault=crash@3" not in argv(second, "base")


def test_a_batch_that_does_not_divide_is_refused_before_a_gpu_is_paid_for() -> None:
    with pytest.raises(UsageError, match="multiple of 524,288"):
        planned(model="d8", overrides={"device_batch_size": "32"})


def test_a_depth_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="will not fit on 1 × L4"):
        planned(model="d34", gpu="L4", gpus=1)


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"total_batch_size": "1"}, "not a multiple of one sequence of 2048 on each of 8 GPUs"),
        ({"shards": "9999999"}, "there are 6,542 in all"),
        ({"vocab_size": "1"}, "give at least 512"),
    ],
)
def test_senseless_values_are_refused_for_what_they_are(overrides: dict[str, str], says: str) -> None:
    with pytest.raises(UsageError) as refused:
        planned(overrides=overrides)
    assert says in str(refused.value)


def test_fp8_on_a_gpu_without_it_is_refused() -> None:
    with pytest.raises(UsageError, match="A100-80GB cannot compute in FP8"):
        planned(gpu="A100-80GB", overrides={"fp8": "true"})


def test_low_likely_high_are_in_order_and_add_up() -> None:
    found = planned(model="d26", inventory=Inventory())
    assert found.seconds.low < found.seconds.likely < found.seconds.high
    assert found.usd.low < found.usd.likely < found.usd.high
    assert found.usd.likely == sum((s.usd.likely for s in found.stages), Decimal(0))


def test_this_machine_costs_nothing_and_a_small_budget_is_warned_of() -> None:
    assert planned(backend="local", engine="rehearsal").usd.high == 0
    assert any("over the budget" in w for w in planned(budget="5", model="d26").warnings)


def test_fine_tuning_alone_fetches_no_text_and_an_evaluation_one_shard() -> None:
    source = RunSpec.create(task="base", model="d12", backend="modal", engine="nanochat")
    tuned, judged = (
        make_plan(
            spec(task=task, model=None, source=source, source_id="r"), Inventory(), backend="modal", checkpoints=had
        )
        for task, had in (("sft", [checkpoint(2520)]), ("eval", [checkpoint(2520)]))
    )
    assert [s.name for s in tuned.stages] == ["prepare", "sft", "report"]
    assert tuned.stages[0].note == "attention kernel, task data" and tuned.total_steps == 0
    assert judged.stages[0].note.startswith("1 of 1 shards") and judged.stages[1].skip == ""
    assert judged.stages[2].skip == "r has no whole sft checkpoint"


def test_what_is_asked_for_by_name_is_in_the_command_line() -> None:
    asked = {"aspect_ratio": "48", "head_dim": "64", "window_pattern": "L", "compile": "false", "load_optimizer": "0"}
    found = planned(overrides=asked)
    words = argv(found, "base")
    assert {"--aspect-ratio=48", "--head-dim=64", "--window-pattern=L"} <= set(words)
    assert "--load-optimizer=0" in argv(found, "sft") and found.env["TORCHDYNAMO_DISABLE"] == "1"


def test_too_few_shards_are_warned_of_before_they_are_paid_for() -> None:
    assert any("fewer than the 325" in w for w in planned(model="d26", overrides={"shards": "100"}).warnings)


@pytest.mark.parametrize("ranks", [1, 4])
def test_a_checkpoint_of_another_number_of_gpus_is_not_resumed(ranks: int) -> None:
    saved = [msgspec.structs.replace(checkpoint(100), ranks=ranks)]
    with pytest.raises(UsageError, match=f"saved on {ranks} GPU.*8 cannot go on from it") as refused:
        make_plan(spec(), FULL, backend="modal", checkpoints=saved, attempt=2)
    assert f"use --gpus {ranks}" in refused.value.hint and "--load-optimizer 0" in refused.value.hint


def test_the_attention_kernel_is_pinned_fetched_for_its_gpu_and_then_not_asked_for_again() -> None:
    bare = msgspec.structs.replace(FULL, kernels={})
    fetch = planned(bare).stages[0]
    assert fetch.note == "attention kernel"
    words = fetch.commands[-1][-1]
    assert HOPPER_KERNEL.revision in words and "torch29-cxx11-cu128-x86_64-linux" in words
    compile(words, "fetch", "exec")
    assert "HF_HUB_OFFLINE" not in planned(bare).env and planned(FULL).env["HF_HUB_OFFLINE"] == "1"
    older = msgspec.structs.replace(FULL, kernels={HOPPER_KERNEL.folder: "0" * 40})
    assert planned(older).stages[0].note == "attention kernel"


def test_a_gpu_that_asks_the_hub_itself_is_left_to_do_so() -> None:
    assert OTHER_KERNEL.repository in planned(gpu="A100-80GB", model="d12").stages[0].commands[-1][-1]
    has = msgspec.structs.replace(FULL, kernels={OTHER_KERNEL.folder: "1" * 40})
    there = planned(has, gpu="A100-80GB", model="d12")
    assert there.stages[0].skip and "HF_HUB_OFFLINE" not in there.env
    assert "HF_HUB_OFFLINE" not in planned(FULL, backend="local", engine="rehearsal").env


def test_the_run_that_is_continued_is_called_by_its_tag() -> None:
    source = RunSpec.create(task="base", model="d12", backend="modal", engine="nanochat")
    wanted = spec(task="base", model=None, source=source, source_id="r", overrides={"iterations": "90"})
    made = make_plan(wanted, FULL, backend="modal", checkpoints=[checkpoint(40)], whose="my-base")
    assert made.resume.reason == "step 40 of my-base is the newest complete checkpoint"
    with pytest.raises(UsageError, match="my-base has trained 120 steps already"):
        make_plan(wanted, FULL, backend="modal", checkpoints=[checkpoint(120)], whose="my-base")
    judged = spec(task="eval", model=None, source=source, source_id="r")
    skipped = [s.skip for s in make_plan(judged, FULL, backend="modal", checkpoints=[], whose="my-base").stages]
    assert "my-base has no whole sft checkpoint" in skipped


def test_how_long_a_call_may_take_is_said_where_there_is_a_limit() -> None:
    assert dict(plan_text.notes(planned()))["limit"].startswith("a call takes 1d00h at most")
    assert "limit" not in dict(plan_text.notes(planned(backend="local", engine="rehearsal")))


def test_a_plan_in_words_says_how_many_parameters_the_model_has() -> None:
    made = planned()
    assert f"model      {made.parameters:,} parameters" in list(lines(made)) and made.parameters > 10**8


def test_code_of_ones_own_may_ask_the_hub_for_what_nobody_else_knows_of() -> None:
    def env(code: Code | None) -> dict[str, str]:
        spec = RunSpec.create(task="speedrun", model="d12", backend="modal", code=code)
        there = Inventory(kernels={HOPPER_KERNEL.folder: HOPPER_KERNEL.revision})
        return make_plan(spec, there, backend="modal").env

    assert env(None)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in env(Code(sha="0" * 64, origin="/home/me/nanochat"))


def test_the_pace_of_changed_code_is_assumed_and_that_of_unchanged_code_is_not() -> None:
    spec = RunSpec.create(task="base", model="d12", backend="modal", code=Code(sha="0" * 64, origin="/mine"))
    same = code_facts.pinned()
    changed = msgspec.structs.replace(same, files={**same.files, "nanochat/gpt.py": "0" * 16})
    plans = {f: make_plan(spec, Inventory(), backend="modal", code=c) for f, c in (("s", same), ("c", changed))}
    assert "assumed for nanochat/gpt.py" in plans["c"].speed and "assumed for" not in plans["s"].speed
    assert plans["c"].usd.high > plans["s"].usd.high


def test_flops_are_refused_as_a_length_where_the_code_counts_them_wrong() -> None:
    def planned(**overrides: object) -> Plan:
        flags = ["base.target-flops=1e19"]
        spec = RunSpec.create(task="base", model="d24", backend="modal", flags=flags, overrides=overrides)
        return make_plan(spec, Inventory(), backend="modal")

    with pytest.raises(UsageError, match=r"would train [\d.]+ times too long"):
        planned()
    assert planned(fp8=False).total_steps == shapes.model_shape(24, flops=1e19).iterations
    assert shapes.model_shape(24, flops=1e19).flops == pytest.approx(1e19, rel=0.01)
