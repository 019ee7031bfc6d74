"""Recipes: one file says a whole launch; what is typed goes before it; a run's own file repeats it."""

import os
import shutil
import tomllib
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.errors import NanochatError, UsageError
from runner.fleet.asking import asked_for
from runner.fleet.fleet import Fleet
from runner.job import leaderboard
from runner.job.expectations import expected, gpu_mismatch
from runner.job.history import history
from runner.model import pricing
from runner.model.pricing import Resources, hourly_rate
from runner.model.spec import RunSpec
from runner.model.stage_flags import StageFlag
from runner.model.states import State
from runner.nanochat import layout
from runner.nanochat.layout import Inventory
from runner.planning.plan import make_plan
from runner.recipes import recipe_text, shelf
from runner.recipes.recipe import Recipe, made, of_spec, options, over
from runner.text.secrets import looks_secret
from tests import own_nanochat
from tests.conftest import Cli
from tests.place import Place
from tests.test_report import KILLED, line
from tests.test_report import made as a_run

SHIPPED = ("cpu", "leaderboard", "quick", "speedrun-d24", "student")
# What nanochat-tui gives a script besides: where the checkpoints are, how often they are kept; and what upstream's
# scripts do without the flag (base_eval evaluates all three, chat_sft takes the batch of the pretraining).
OURS = {
    "--model-tag=d24", "--save-every=454", "--run=dummy", "--eval=core,bpb,sample", "-g", "d24",
}  # fmt: skip
SPEEDRUN = {
    "base": "torchrun --standalone --nproc_per_node=8 -m scripts.base_train -- --depth=24 --target-param-data-ratio=8"
    " --device-batch-size=16 --fp8 --run=dummy",
    "base_eval": "torchrun --standalone --nproc_per_node=8 -m scripts.base_eval -- --device-batch-size=16",
    "sft": "torchrun --standalone --nproc_per_node=8 -m scripts.chat_sft -- --run=dummy",
    "chat_eval": "torchrun --standalone --nproc_per_node=8 -m scripts.chat_eval -- -i sft",
    "tokenizer": "python -m scripts.tok_train",
}
LEADERBOARD = (
    "torchrun --standalone --nproc_per_node=8 -m scripts.base_train -- --depth=24 --run=dummy --model-tag=d24"
    " --sample-every=-1 --core-metric-max-per-task=-1 --core-metric-every=999999 --target-param-data-ratio=8"
    " --device-batch-size=16 --fp8"
)


def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, volume=str(tmp_path / "volume"))


def own(tmp_path: Path, name: str, text: str) -> Path:
    path = tmp_path / "recipes" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", SHIPPED)
def test_each_shipped_recipe_makes_a_plan_on_its_own_backend_and_says_what_it_is(tmp_path: Path, name: str) -> None:
    with Fleet(tmp_path) as found:
        recipe, kept = shelf.find(name, tmp_path)
        asked = asked_for(found, recipe)
        planned = found.plan(asked.spec, asked.backend)
    assert kept and not kept.own and recipe.description and "\n" not in recipe.description
    assert (asked.backend, asked.spec.recipe) == ("local" if name == "cpu" else "modal", name)
    assert planned.usd.likely == 0 if name == "cpu" else 1 < planned.usd.likely < 120
    assert not [w for w in planned.warnings if "shards" in w or "--recipe" in w]


def test_all_that_is_shipped_is_named_here(tmp_path: Path) -> None:
    assert tuple(one.name for one in shelf.kept(tmp_path)) == SHIPPED


def planned_argv(tmp_path: Path, name: str) -> dict[str, tuple[str, ...]]:
    with Fleet(tmp_path) as found:
        asked = asked_for(found, shelf.find(name, tmp_path)[0])
        return {s.name: s.commands[0] for s in found.plan(asked.spec, asked.backend).stages if s.commands}


def test_the_speedrun_is_upstreams_word_for_word(tmp_path: Path) -> None:
    argv = planned_argv(tmp_path, "speedrun-d24")
    for stage, words in SPEEDRUN.items():
        wanted, got = words.split(), list(argv[stage])
        missing = [w for w in wanted if w not in got]
        assert not missing, (stage, missing)
        more = {w for w in got if w not in wanted} - OURS
        assert more <= ({"--device-batch-size=16"} if stage == "sft" else set()), (stage, more)


def test_the_leaderboards_command_is_upstreams_word_for_word(tmp_path: Path) -> None:
    got = set(planned_argv(tmp_path, "leaderboard")["base"])
    assert set(LEADERBOARD.split()) <= got
    assert got - set(LEADERBOARD.split()) == {"--save-every=454"}


def test_a_plain_speedrun_of_d24_says_how_it_differs_from_upstreams() -> None:
    def notes(**asked: Any) -> list[str]:
        spec = RunSpec.create(task="speedrun", backend="modal", engine="nanochat", **asked)
        return [w for w in make_plan(spec, Inventory(), backend="modal").warnings if "--recipe speedrun-d24" in w]

    assert notes(model="d24") == [
        "nanochat's own speedrun trains d24 at ratio 8, this one at 12: --recipe speedrun-d24 is nanochat's"
    ]
    assert "in FP8" in notes(model="d24", gpu="A100-80GB")[0]
    assert not notes(model="d26") and not notes(model="d24", overrides={"data_ratio": 8})
    assert not notes(model="d24", overrides={"iterations": 100})


# Text and back.

_WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=20)
_NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9_]{0,20}", fullmatch=True)
_OVERRIDES = st.fixed_dictionaries(
    {},
    optional={
        "iterations": st.integers(1, 10**12),
        "data_ratio": st.floats(0.001, 100_000),
        "target_flops": st.floats(1e12, 1e26),
        "fp8": st.booleans(),
        "core_every": st.integers(-1, 100),
        "window_pattern": st.from_regex("[SL]{1,9}", fullmatch=True),
        "fault": st.lists(st.sampled_from(["crash@30", "oom@2"]), min_size=1, max_size=2),
    },
)
_VALUES = st.one_of(
    st.integers().map(str), st.floats(allow_nan=False).map(repr), st.sampled_from(["true", "-0", "1e5", "0.50", "x=y"]),
    _WORDS,
)  # fmt: skip
_FLAGS = st.builds(
    StageFlag, st.sampled_from(["sft", "tokenizer", "base_eval", "env"]), st.just("zz-a") | st.just("zz-b"), _VALUES
)


def _flag(one: StageFlag) -> StageFlag:
    return StageFlag(one.stage, one.name.replace("-", "_") if one.stage == "env" else one.name, one.value)


_RECIPES = st.builds(
    made,
    description=st.just("") | _WORDS,
    task=st.none() | st.sampled_from(["base", "speedrun"]),
    model=st.none() | st.just("d12"),
    gpus=st.none() | st.integers(1, 8),
    gpu=st.none() | st.just("H100!"),
    budget=st.none() | st.decimals("0.01", "99999", places=2).map(str),
    stop_if_stalled=st.none() | st.sampled_from(["20m", "90.5s"]),
    source=st.none() | _NAMES,
    code=st.none() | _WORDS,
    wandb=st.none() | st.just("") | _NAMES,
    secrets=st.none() | st.lists(_NAMES, max_size=3).map(tuple),
    pass_env=st.none() | st.lists(_NAMES, max_size=3).map(tuple),
    tag=st.none() | _NAMES,
    overrides=_OVERRIDES,
    flags=st.lists(_FLAGS.map(_flag), max_size=4, unique_by=lambda f: (f.stage, f.name)).map(
        lambda f: tuple(sorted(f))
    ),
)


@given(_RECIPES)
def test_a_recipe_comes_back_from_its_text(recipe: Recipe) -> None:
    # What looks like a key is refused, which is another test's.
    if not any(looks_secret(one.name, one.value) for one in recipe.flags):
        assert recipe_text.read(recipe_text.write(recipe), "x.toml") == recipe


@given(_RECIPES, _RECIPES)
def test_what_is_typed_wins_each_by_itself(lower: Recipe, upper: Recipe) -> None:
    got, low, up = options(over(lower, upper)), options(lower), options(upper)
    for name in (low.keys() | up.keys()) - {"overrides", "flags"}:
        assert got.get(name) == up.get(name, low.get(name))
    assert got["overrides"] == {**low["overrides"], **up["overrides"]}
    flags = {(f.stage, f.name): f for f in (*lower.flags, *upper.flags)}
    assert sorted(got["flags"]) == sorted(map(str, flags.values()))


def test_a_flag_that_an_option_stands_for_is_that_option_in_a_recipe_too() -> None:
    lower = recipe_text.read("[overrides]\niterations = 10\n[set.base]\ndepth = 8\nmatrix_lr = 0.02\n", "x")
    upper = made(flags=(StageFlag("base", "num-iterations", "20"), StageFlag("base", "matrix-lr", "0.05")))
    merged = over(lower, upper)
    assert (merged.model, merged.overrides, merged.flags) == (
        "d8", {"iterations": 20}, (StageFlag("base", "matrix-lr", "0.05"),)
    )  # fmt: skip


def test_a_step_belongs_to_the_run_that_is_named_with_it() -> None:
    assert over(Recipe(source="a", step=5), Recipe(source="b")).step is None
    assert over(Recipe(source="a", step=5), Recipe(step=6)) == Recipe(source="a", step=6)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("gpuz = 8", "unknown key 'gpuz': did you mean gpu?"),
        ('gpus = "8"', "gpus = '8' is not a whole number"),
        ("gpus = true", "gpus = 'True' is not a whole number"),
        ("task = 1", "task = '1' is not text"),
        ("task = 2020-01-01", "is not text"),
        ('secrets = "x"', "secrets is not a list of names"),
        ("budget = []", "budget = '[]' is not an amount"),
        ("[overrides]\nfp9 = true", "unknown key 'fp9': did you mean fp8?"),
        ('[overrides]\niterations = "ten"', "[overrides] iterations = 'ten' cannot be"),
        ("[overrides]\niterations = 0", "[overrides] iterations = '0' cannot be"),
        ("[overrides]\nfault = 3", "fault is not a list"),
        ("[overrides.iterations]", "cannot be"),
        ("overrides = 3", "overrides is no table"),
        ("[set]\nbase = 3", "set.base is no table"),
        ("[set.bse]\nx = 1", "[set.bse] is no stage"),
        ("[set.base]\nx = [1]", "is not one value"),
        ('[set.base]\n"x=y" = 1', "is no name"),
        ('[set.base]\n"x.y" = 1', "is no name"),
        ("[set.base]\nrun = 'x'", "nanochat-tui's own flag"),
        ("[set.env]\nPATH = '/x'", "variable that nanochat-tui gives itself"),
        ("[set.base]\ndepth = 8\n[overrides]\niterations = 1\n[set.sft]\nx = \"a\\u001b\"", "cannot be used"),
        ('description = "a\\u001b[2J"', "description cannot be used"),
        ("a = [1\nb = 2\n\n", "line "),
        ("task = \n", "line 1: "),
        ("x = 1\nx = 2", "line 2: "),
        ("gpus = " + "9" * 5000, "too many digits"),
        ("a = " + "[" * 20_000, "too many brackets"),
        ("x" * 40_000, "longer than 32 KiB"),
        ('code-sha = "../../x"', "code-sha cannot be"),
        ('code-commit = "abcdef0"', "no code-sha"),
        (f'code-sha = "{"a" * 64}"', "code-sha without code"),
        ('recipe = "../x"', "recipe is no name"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named_with_the_file_and_the_key_or_line(text: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        recipe_text.read(text, "mine.toml")
    assert str(caught.value).startswith("mine.toml: ") and said in str(caught.value)
    assert str(caught.value).isprintable()


@given(st.text(max_size=300) | st.binary(max_size=300).map(lambda b: b.decode("utf-8", "replace")))
def test_any_text_is_a_recipe_or_refused_in_one_line(text: str) -> None:
    try:
        recipe_text.read(text, "x")
    except UsageError as error:
        assert str(error).isprintable()


_TOML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_ANY = st.sampled_from([*recipe_text.KEYS, "overrides", "set"])


@given(st.dictionaries(_ANY, _TOML, max_size=4), st.dictionaries(st.text(max_size=6), _TOML, max_size=3))
def test_any_values_at_any_keys_are_a_recipe_or_refused_in_one_line(top: dict[str, Any], below: dict[str, Any]) -> None:
    import tomli_w

    for values in (top, {"overrides": below}, {"set": {"base": below}}, {"set": {"env": below}}):
        try:
            text = tomli_w.dumps(values)
        except (TypeError, ValueError, AttributeError):
            continue
        try:
            recipe_text.read(text, "x")
        except UsageError as error:
            assert str(error).isprintable()


def test_a_file_that_is_none_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "bytes.toml").write_bytes(b"task = 'base'\n\xff")
    (tmp_path / "large.toml").write_bytes(b"#" * 100_000)
    for name, said in {
        "pipe.toml": "is no file",
        "bytes.toml": "line 2 is not UTF-8",
        "large.toml": "longer than 32 KiB",
        "none.toml": "cannot be read",
        ".": "cannot be read",
    }.items():
        with pytest.raises(UsageError, match=said):
            shelf.from_file(tmp_path / name)
    with pytest.raises(UsageError, match="/dev/zero is no file"):
        shelf.from_file(Path("/dev/zero"))


# Keys are no part of a recipe, nor of a launch.


@pytest.mark.parametrize(
    ("name", "value", "secret"),
    [
        ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567", True),
        ("HF_TOKEN", "whatever-it-is", True),
        ("ANY", "hf_abcdefghijklmnop", True),
        ("ANY", "ak-1234567890abcdef", True),
        ("TOKENIZERS_PARALLELISM", "enabled", False),
        ("MAX_TOKENS", "1000000", False),
        ("HF_TOKEN_PATH", "/home/me/token", False),
        ("NANOCHAT_DTYPE", "float16", False),
        ("HF_TOKEN", "", False),
    ],
)
def test_a_value_that_looks_like_a_key_is_refused_where_it_would_stay(name: str, value: str, secret: bool) -> None:
    spec = RunSpec.create(task="base", backend="modal", flags=[f"env.{name}={value}"])
    text = recipe_text.write(Recipe(flags=(StageFlag("env", name, value),)))
    if not secret:
        make_plan(spec, Inventory(), backend="modal")
        recipe_text.read(text, "x")
        return
    for refused in (lambda: make_plan(spec, Inventory(), backend="modal"), lambda: recipe_text.read(text, "x")):
        with pytest.raises(UsageError) as caught:
            refused()
        said = str(caught.value)
        assert "looks like a secret" in said and f"--pass-env {name}" in said and value not in said


# H100!, and nothing in its place.


def test_an_h100_and_no_other_is_asked_for_priced_and_timed_as_an_h100(monkeypatch: pytest.MonkeyPatch) -> None:
    def plan(gpu: str) -> Any:
        spec = RunSpec.create(task="speedrun", model="d24", backend="modal", gpu=gpu)
        return spec, make_plan(spec, Inventory(), backend="modal")

    (exact, planned), (_, usual) = plan("h100!"), plan("H100")
    assert exact.gpu == "H100!"
    assert (planned.usd, planned.seconds, planned.device_batch) == (usual.usd, usual.seconds, usual.device_batch)
    assert [s.commands for s in planned.stages] == [s.commands for s in usual.stages]
    # Prices of an earlier release, and those of a workspace, know the chip.
    assert "H100!" not in pricing.DATED.gpus and hourly_rate("modal", Resources(1, 1, "H100!", 8))
    wanted = expected(exact, "modal")
    assert wanted
    refused = gpu_mismatch(wanted, "8 × NVIDIA H200")
    assert refused and refused.fatal and refused.again and "nothing in its place" in refused.message
    assert gpu_mismatch(wanted, "8 × NVIDIA H100 80GB HBM3") is None


def test_a_container_has_what_the_modules_read() -> None:
    from runner.backends.modal import names
    from runner.nanochat.code_facts import PINNED_FILE

    assert not names.left_out(PINNED_FILE) and names.left_out(Path("runner/__pycache__/errors.cpython-311.pyc"))


def test_modal_is_asked_for_exactly_that_gpu() -> None:
    from runner import modal_app
    from runner.model.backend_name import BackendName
    from runner.model.run import Run

    spec = RunSpec.create(task="base", model="d24", backend="modal", gpu="H100!", gpus=8)
    assert modal_app._asked(Run("abcdefgh", "x", spec, BackendName.MODAL, "v", 0.0))["gpu"] == "H100!:8"


# The report of a run for the leaderboard.


def test_the_report_of_a_leaderboard_run_has_the_row_of_its_table() -> None:
    run, status = a_run()
    spec = RunSpec.create(task="base", model="d24", backend="modal", gpus=8, gpu="H100!", recipe=leaderboard.RECIPE)
    told = [
        line(1000, "exec", command="torchrun --standalone --nproc_per_node=8 -m scripts.base_train -- --depth=24"),
        *KILLED,
        line(1773500000, "core", step=100, core=0.262634),
        line(1773500000, "fact", name="training_time", value="99.13m"),
        line(1773500001, "fact", "sft", name="training_time", value="7.00m"),
    ]  # fmt: skip
    lines = leaderboard.section(msgspec.structs.replace(run, spec=spec), status, history(told))
    row = next(one for one in lines if one.startswith("|  | "))
    assert row == "|  | 1.65 | 0.75000 | 0.2626 | … | Mar 14 2026 | 92d63d4 | @… |"
    text = "\n".join(lines)
    assert "100 steps in 99.13 minutes (5,948 s)" in text and "above" in text and "gh pr create" in text
    assert "    OMP_NUM_THREADS=1 torchrun --standalone" in text
    assert leaderboard.section(run, status, history(told)) == []


# The command line.

REHEARSED = "--backend local --engine rehearsal --gpus 1 --iterations 10 --step-ms 0 --watch".split()


def test_a_recipe_of_ones_own_goes_before_one_that_is_shipped_and_is_listed_so(cli: Cli) -> None:
    cli.home.mkdir(mode=0o700)
    own(cli.home, "quick", 'description = "mine"\ntask = "base"\n[overrides]\niterations = 12\n')
    own(cli.home, "broken", "task = \n")
    own(cli.home, "evil\x1b[2J", "")
    rows = {row["name"]: row for row in cli.json("recipes")}
    assert rows["quick"]["description"] == "mine" and rows["quick"]["from"].startswith("own, before")
    assert rows["broken"]["problem"].startswith("broken.toml: line 1: ") and rows["broken"]["usd"] is None
    assert rows["speedrun-d24"]["usd"][1] > 50 and rows["speedrun-d24"]["from"] == "built in"
    assert "\x1b" not in cli("recipes").stdout and set(rows) == {*SHIPPED, "broken"}
    assert cli("recipes", "quick").stdout.startswith('description = "mine"\n')
    assert cli.json("recipes", "leaderboard")["recipe"]["set"] == {"base": {"core-metric-max-per-task": -1}}
    assert cli.json("plan", "--recipe", "quick")["plan"]["total_steps"] == 12
    said = cli("plan", "--recipe", "qick", code=2).stderr
    assert "unknown recipe qick: did you mean quick?" in said


def test_what_was_asked_for_is_saved_and_launched_again(cli: Cli) -> None:
    words = ("--task", "base", "--model", "d6", *REHEARSED[:-1], "--set", "base.matrix-lr=0.05", "--budget", "25")
    cli("plan", *words, "--save-recipe", "mine")
    assert (
        not cli.json("ls") and "there is a recipe mine already" in cli("plan", "--save-recipe", "mine", code=2).stderr
    )
    assert "no name for a recipe" in cli("plan", "--save-recipe", "../x", code=2).stderr
    saved = tomllib.loads((cli.home / "recipes" / "mine.toml").read_text())
    assert saved["set"] == {"base": {"matrix-lr": 0.05}} and saved["overrides"]["iterations"] == 10
    first = cli.json("plan", *words)["spec"]
    again = cli.json("plan", "--recipe", "mine")["spec"]
    assert again == {**first, "recipe": "mine"}
    done = cli("launch", "--recipe", "mine", "--iterations", "12", "--tag", "x", "--save-recipe", "longer", "--watch")
    assert "kept as" in done.stderr
    spec = cli.json("plan", "--recipe", "longer")["spec"]
    assert spec["overrides"]["iterations"] == 12 and spec["recipe"] == "longer" and spec["depth"] == 6
    assert "tag" not in tomllib.loads((cli.home / "recipes" / "longer.toml").read_text())


def spec_of(cli: Cli, name: str) -> RunSpec:
    from runner.model.run import decode_run

    return decode_run((cli.run_dir(name) / "run.json").read_bytes()).spec


def test_a_downloaded_run_toml_repeats_the_launch(cli: Cli, tmp_path: Path) -> None:
    cli(
        "launch", "--recipe", "leaderboard", *REHEARSED, "--tag", "one", "--model", "d8", "--budget", "12.50",
        "--stop-if-stalled", "20m", "--set", "env.NANOCHAT_DTYPE=float16",
    )  # fmt: skip
    cli("volume", "get", "one:run.toml", str(tmp_path))
    # What is set here changes nothing of it.
    for name, value in {"gpu": "B200", "gpus": "2", "wandb": "other", "code": "/nowhere", "engine": "nanochat"}.items():
        cli("settings", name, value)
    cli("launch", "--file", str(tmp_path / "run.toml"), "--watch")
    assert cli.json("show", "last")["tag"] != "one"
    assert spec_of(cli, "last") == spec_of(cli, "one") and spec_of(cli, "one").recipe == "leaderboard"
    cli("launch", "--task", "sft", "--from", "one", "--sft-iterations", "8", "--tag", "two", "--watch")
    cli("launch", "--file", str(cli.run_dir("two") / "run.toml"), "--tag", "three", "--watch")
    assert spec_of(cli, "three") == spec_of(cli, "two")


@pytest.fixture
def mine(cli: Cli, tmp_path: Path) -> Path:
    """A fork in a repository of its own, on a machine that could train."""
    cli.env["NANOCHAT_PYTHON"] = str(own_nanochat.python_with_torch(tmp_path / "python"))
    folder = own_nanochat.make(tmp_path / "fork")
    own_nanochat.commit(folder)
    return folder


def test_a_run_toml_takes_the_very_code_of_the_run_whatever_has_become_of_the_folder(cli: Cli, mine: Path) -> None:
    short = "--engine nanochat --task base --model d4 --gpus 1 --iterations 10".split()
    (mine / "nanochat" / "gpt.py").write_text("CHANGED = 7\n")
    cli("launch", *short, "--code", str(mine), "--tag", "mine", "--watch")
    file = cli.run_dir("mine") / "run.toml"
    shutil.rmtree(mine)
    again = cli("launch", "--file", str(file), "--tag", "again", "--watch")
    assert f"code from {mine}" in again.stderr
    assert spec_of(cli, "again") == spec_of(cli, "mine")
    assert "the model was changed 7 times" in (cli.run_dir("again") / "log").read_text()
    # From the volume alone, as on another machine; then from nowhere.
    shutil.rmtree(cli.home / "code")
    cli("launch", "--file", str(file), "--tag", "third", "--watch")
    assert spec_of(cli, "third") == spec_of(cli, "mine") and list((cli.home / "code").glob("*.tar.gz"))
    archive = next((cli.run_dir("mine").parents[1] / "code").glob("*.tar.gz"))
    shutil.rmtree(cli.home / "code")
    archive.write_bytes(b"no archive")
    assert "cannot be used" in cli("launch", "--file", str(file), code=2).stderr
    archive.unlink()
    said = cli("launch", "--file", str(file), code=2).stderr
    assert "is neither on the volume nor on this machine" in said and said.count("\n") == 1
    assert not list((cli.home / "code").glob("*.tar.gz"))


def test_a_run_toml_is_on_the_volume_of_every_run_and_follows_a_resume(place: Place) -> None:
    run = place.launch_up_to(15, task="base", iterations=30, save_every=10)
    path = f"{run.path}/{layout.SPEC_FILE}"
    first = recipe_text.read(place.volume().read(path).decode(), "run.toml")
    assert asked_for(place.fleet, first)[:2] == (run.spec, place.backend)
    place.fleet.cancel(run)
    run = place.ended(run)
    place.gate.open()
    done = place.ended(place.fleet.resume(run, budget=Decimal("3.50")))
    assert done.state is State.DONE, done.outcome
    again = recipe_text.read(place.volume().read(path).decode(), "run.toml")
    assert again.budget == "3.50" and asked_for(place.fleet, again).spec == done.spec


@given(_OVERRIDES, st.none() | st.decimals("0.01", "99999"), st.none() | st.floats(1, 600_000))
def test_a_spec_is_asked_for_again_by_its_text(
    given_: dict[str, Any], usd: Decimal | None, stall: float | None
) -> None:
    given_.pop("fault", None)
    spec = RunSpec.create(task="base", backend="modal", overrides=given_, wandb="", secrets=["a"])
    spec = msgspec.structs.replace(spec, budget_usd=usd, stop_if_stalled_s=stall)
    said = options(recipe_text.read(recipe_text.write(of_spec(spec, "modal")), "run.toml"))
    assert said.pop("code") == "off"
    assert RunSpec.create(**said) == spec


def test_a_recipe_is_kept_once_and_inside_of_its_folder(tmp_path: Path) -> None:
    with pytest.raises(NanochatError):
        shelf.save(Recipe(), "a/b", tmp_path)
    shelf.save(Recipe(task="base"), "b", tmp_path)
    with pytest.raises(UsageError):
        shelf.save(Recipe(), "b", tmp_path)
