"""Flags of scripts of nanochat: as argparse itself has them, read from any text, and never by running it."""

import argparse
import contextlib
import io
import os
import re
import shlex
import subprocess
import time
from ast import literal_eval
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner.nanochat.flags import Flag, ScriptFlags, check_value, nearest, read_flags, to_argv
from runner.nanochat.python_source import LONGEST_SOURCE, Unparsable
from runner.text.sanitize import sanitize_line
from tests.conftest import DATA

DIR, PYTHON = os.environ.get("NANOCHAT_DIR"), os.environ.get("NANOCHAT_PYTHON")
KINDS: dict[object, str] = {int: "int", float: "float", str: "str", None: "str"}
HEAD = "import argparse\nparser = argparse.ArgumentParser()\n"


def source(name: str) -> str:
    return (DATA / "flags" / f"{name}.txt").read_text("utf-8")


def flags(name: str) -> ScriptFlags:
    return read_flags(source(name))


def one(arguments: str) -> Flag:
    (flag,) = read_flags(f"{HEAD}parser.add_argument({arguments})").flags
    return flag


def real_parser(text: str, monkeypatch: pytest.MonkeyPatch) -> argparse.ArgumentParser:
    """The parser of one of our own fixtures, which is run for it."""
    parsers: list[argparse.ArgumentParser] = []
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", lambda self, *_: parsers.append(self))
    exec(compile(text, "fixture", "exec"), {"__name__": "__main__"})
    return parsers[0]


def kind_of(action: argparse.Action) -> str:
    if isinstance(action, argparse.BooleanOptionalAction):
        return "onoff"
    return "switch" if action.nargs == 0 else KINDS.get(action.type, "other")


def default_of(action: argparse.Action, flag: Flag) -> str:
    """As one would type it."""
    if action.default is None or flag.kind == "switch":
        return "false" if flag.kind == "switch" else ""
    if isinstance(action.default, tuple | list):
        return shlex.join(map(str, action.default)) if flag.many else ",".join(map(str, action.default))
    return str(action.default).lower() if flag.kind == "onoff" else str(action.default)


@pytest.mark.parametrize("name", ["plain", "groups", "loop", "renamed"])
def test_flags_are_those_of_the_parser_that_the_script_makes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = flags(name)
    parser = real_parser(source(name), monkeypatch)
    theirs = {a.option_strings[0]: a for a in parser._actions if a.option_strings and a.dest != "help"}
    assert [f.names[0] for f in ours.flags] == [n for n in theirs if n in {f.names[0] for f in ours.flags}]
    assert ours.open or len(theirs) == len(ours.flags)
    for flag in ours.flags:
        action = theirs[flag.names[0]]
        assert {*flag.names, flag.off} - {""} == set(action.option_strings)
        assert (flag, flag.kind) == (flag, kind_of(action))
        assert (flag, flag.choices) == (flag, tuple(map(str, action.choices or ())))
        assert flag.required == action.required
        assert flag.nargs == ("" if flag.kind in ("switch", "onoff") or not action.nargs else str(action.nargs))
        if flag.default_known:
            assert (flag, flag.default) == (flag, default_of(action, flag))
        shown = parser._get_formatter()._expand_help(action) if action.help else ""
        assert flag.kind == "onoff" or flag.help == shown.removesuffix(f" (default: {action.default})")


def test_only_a_script_whose_flags_are_all_in_its_text_is_closed() -> None:
    assert {name: flags(name).open for name in ("plain", "groups", "loop", "renamed", "configurator", "hostile")} == {
        "plain": False, "groups": False, "loop": True, "renamed": False, "configurator": False, "hostile": True,
    }  # fmt: skip
    assert [f.name for f in flags("loop").flags] == ["depth"]


@pytest.mark.parametrize(
    "text",
    [
        "from nanochat.arguments import get_args\nargs = get_args()",
        "from nanochat.arguments import parser\nparser.add_argument('--x')\nargs = parser.parse_args()",
        "from nanochat.arguments import get_parser\nargs = get_parser().parse_args()",
        f"{HEAD}from elsewhere import more\nmore(parser)",
        f"{HEAD}from elsewhere import more\nparser = more(parser)",
        f"{HEAD}import elsewhere\nelsewhere.more(parser.add_argument_group('g'))",
        f"{HEAD}import elsewhere\nelsewhere.more(where=parser)",
        f"{HEAD}parsers = [parser]",
        f"{HEAD}kept = {{}}\nkept['p'] = parser",
        f"{HEAD}list(map(parser.add_argument, ['--x']))",
        f"{HEAD}getattr(parser, 'add_argument')('--x')",
        f"{HEAD}from functools import partial\nadd = partial(parser.add_argument, type=int)\nadd('--x')",
        f"{HEAD}args, rest = parser.parse_known_args()",
        f"{HEAD}sub = parser.add_subparsers()\nsub.add_parser('a').add_argument('--x')",
        f"{HEAD}def add(name):\n    parser.add_argument('--' + name)\nadd('x')",
        f"{HEAD}add = lambda *a, **k: parser.add_argument(*a, **k)\nadd('--x')",
        "import argparse\nfrom shared import base\nparser = argparse.ArgumentParser(parents=[base])",
        "import argparse\nfrom shared import bases\nparser = argparse.ArgumentParser(parents=bases())",
        "import argparse\nparser = argparse.ArgumentParser(**options)",
        "from jsonargparse import ArgumentParser\nparser = ArgumentParser()\nparser.add_argument('--x')",
        "import argparse\nclass P(argparse.ArgumentParser):\n"
        "    def __init__(self):\n        super().__init__()\n        self.add_argument('--x')\nP().parse_args()",
        "class C:\n    def more(self, p):\n        more(p)\n"
        "import argparse\ndef go():\n    p = argparse.ArgumentParser()\n    C().more(p)",
    ],
)
def test_a_script_that_may_take_flags_from_elsewhere_is_open(text: str) -> None:
    assert read_flags(text).open


@pytest.mark.parametrize(
    "text",
    [
        f"{HEAD}parser.add_argument('--x')\nargs = parser.parse_args()\nparser.error('no')",
        f"{HEAD}group = parser.add_argument_group('g')\ngroup.add_argument('--x')",
        f"{HEAD}def more(where):\n    where.add_argument('--x')\nmore(where=parser)",
        f"{HEAD}def more(where, n=1):\n    where.add_argument('--x')\n    return where\nmore(parser).parse_args()",
        f"{HEAD}parser.add_argument('--x')\ndef other(parser):\n    elsewhere(parser)\n",
        "import argparse as a\ndef make() -> a.ArgumentParser:\n    p = a.ArgumentParser()\n    p.add_argument('--x')\n"
        "    return p\nargs = make().parse_args()\nfor p in (1, 2):\n    print(p)",
        "import argparse\nclass Main:\n    def __init__(self):\n        self.parser = argparse.ArgumentParser()\n"
        "        self.parser.add_argument('--x')\n        self.args = self.parser.parse_args()",
    ],
)
def test_a_script_that_keeps_its_parser_to_itself_is_closed(text: str) -> None:
    read = read_flags(text)
    assert ([f.name for f in read.flags], read.open) == (["x"], False)


def test_a_script_without_a_parser_has_no_style() -> None:
    assert read_flags("print(1)") == ScriptFlags(open=True, style="none")


def test_constants_of_the_configurator_are_flags_as_they_are_when_it_runs() -> None:
    read = flags("configurator")
    assert (read.style, read.open) == ("configurator", False)
    assert [(f.spelling, f.kind, f.default, f.help) for f in read.flags] == [
        ("--run", "str", "dummy", "what it is called = its name"),
        ("--rate", "float", "0.2", ""),
        ("--tokens", "int", "400", "that many"),
        ("--dry_run", "onoff", "false", ""),
        ("--tag", "other", "", 'any, or "#1"'),
        ("--model", "str", "base", ""),
        ("--step", "int", "5", ""),
        ("--depth", "int", "12", "fewer"),
    ]
    assert read.find("dry-run") == read.find("--dry_run") == read.flags[3]
    end = "exec(open('configurator.py').read())"
    assert read_flags(f"x = make()\n{end}").open and read_flags(f"if 1:\n    x = 1\n{end}").open


def test_a_flag_is_found_by_any_spelling_and_keeps_its_own() -> None:
    plain, renamed = flags("plain"), flags("renamed")
    for name in ("eval-tokens", "--eval-tokens", "eval_tokens", "--eval_tokens"):
        assert plain.find(name) == plain.find("eval-tokens") is not None
    assert plain.find("snake-case") == plain.find("--snake_case") is not None
    assert plain.find("i") == plain.find("-i") == plain.find("source") is not None
    assert all(plain.find(name) is None for name in ("eval", "no-compile", "", "--", "EVAL-TOKENS"))
    spelled = [renamed.find(name) for name in ("per-gpu-batch", "per_gpu_batch", "per-gpu_batch")]
    assert [f and f.name for f in spelled] == ["per-gpu-batch", "per_gpu_batch", None]


def test_an_unknown_name_leads_to_the_nearest() -> None:
    assert nearest(flags("renamed"), "--cooldown_ratoi") == ("cooldown-ratio",)
    assert nearest(flags("plain"), "no-compile") == ("compile",)
    assert nearest(flags("plain"), "zzzzzz") == () == nearest(ScriptFlags(), "x")
    assert len(nearest(flags("plain"), "e" * 1_000_000)) <= 3


@pytest.mark.parametrize(
    ("arguments", "text", "problem"),
    [
        ("'--x', type=int", "0.5", "needs a whole number"),
        ("'--x', type=int", "", "needs a whole number"),
        ("'--x', type=int", "1_000", ""),
        ("'--x', type=int", " -5 ", ""),
        ("'--x', type=int", "9" * 5000, "needs a whole number"),
        ("'--x', type=float", "1e18", ""),
        ("'--x', type=float", "nan", ""),
        ("'--x', type=float", "fast", "needs a number"),
        ("'--x', choices=['core', 'bpb']", "cpre", "is one of core, bpb"),
        ("'--x', type=int, choices=[1, 2]", "02", ""),
        ("'--x', type=int, choices=[1, 2]", "3", "is one of 1, 2"),
        ("'--x', action='store_true'", "maybe", "needs on or off"),
        ("'--x', action='store_true'", "", ""),
        ("'--x', type=str", "core,bpb", ""),
        ("'--x', type=eval", "anything", ""),
        ("'--x', nargs=2", "a", "needs 2 words"),
        ("'--x', nargs='+'", "", "needs at least one word"),
        ("'--x', nargs='+'", "'a", "has a quote that is not closed"),
        ("'--x', nargs='+'", "a -b", "cannot have several words where one begins with -"),
        ("'--x', nargs='+', type=int", "1 b", "needs a whole number"),
        ("'--x'", "a\0", "holds characters that no program can be given"),
        ("'--x'", "\ud800", "holds characters that no program can be given"),
    ],
)
def test_a_value_is_refused_as_argparse_would_in_plain_words(arguments: str, text: str, problem: str) -> None:
    flag = one(arguments)
    assert check_value(flag, text) == problem
    if problem:
        with pytest.raises(ValueError, match=re.escape(problem)):
            to_argv(flag, text)


@pytest.mark.parametrize(
    ("arguments", "text", "argv"),
    [
        ("'--fp8', action='store_true'", "on", ("--fp8",)),
        ("'--fp8', action='store_true'", "0", ()),
        ("'--c', action=argparse.BooleanOptionalAction", "false", ("--no-c",)),
        ("'--c', action=argparse.BooleanOptionalAction", "", ("--c",)),
        ("'--warmdown-ratio', type=float", "0.85", ("--warmdown-ratio=0.85",)),
        ("'-i', '--source'", "sft", ("--source=sft",)),
        ("'-x'", "5", ("-x", "5")),
        ("'-x'", "-5", ("-x=-5",)),
        ("'--n', nargs=2, type=int", "1 -2", ("--n", "1", "-2")),
        ("'--n', nargs='*'", "'a b' c", ("--n", "a b", "c")),
        ("'--n', nargs='?'", "", ("--n",)),
        ("'--n', action='append'", "a b", ("--n=a", "--n=b")),
    ],
)
def test_a_flag_is_given_as_its_script_takes_it(arguments: str, text: str, argv: tuple[str, ...]) -> None:
    assert to_argv(one(arguments), text) == argv


TEXTS = st.one_of(
    st.text(max_size=12),
    st.from_regex(r"-{0,2}[a-z0-9 _.=e'-]{0,8}", fullmatch=True),
    st.sampled_from(
        ["--other", "-o", "--", "-", "-1", "1e5", "-1e-5", "-.5", " 7 ", "1_0", "inf", "-inf", "nan", "a", "2"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)
SHAPES = st.sampled_from([
    {}, {"type": int}, {"type": float}, {"choices": ["a", "-b", ""]}, {"type": int, "choices": [1, 2, -3]},
    {"nargs": "?"}, {"nargs": "*"}, {"nargs": "+", "type": float}, {"nargs": 2}, {"nargs": 1, "type": int},
    {"nargs": "..."}, {"action": "append"}, {"action": "append", "nargs": "+"}, {"action": "store_true"}, {"type": str},
])  # fmt: skip
NAMES = st.sampled_from([("--depth",), ("-d", "--depth"), ("-d",), ("-depth",), ("--some_depth", "--d-2")])


def as_code(names: tuple[str, ...], shape: dict[str, Any]) -> str:
    said = [f"{k}={v.__name__ if isinstance(v, type) else repr(v)}" for k, v in shape.items()]
    return ", ".join([*map(repr, names), *said])


@given(names=NAMES, shape=SHAPES, text=TEXTS)
@settings(max_examples=1500, deadline=None)
@example(names=("-d",), shape={}, text="--other")
def test_what_is_accepted_and_given_arrives_and_what_is_refused_would_be_refused(
    names: tuple[str, ...], shape: dict[str, Any], text: str
) -> None:
    flag = one(as_code(names, shape))
    parser = argparse.ArgumentParser()
    parser.add_argument(*names, dest="it", **shape)
    parser.add_argument("-o", "--other")
    make: Callable[[str], Any] = shape.get("type", str)
    if check_value(flag, text):
        if (
            flag.many
            or text == "--"
            or "\0" in text
            or "\ud800" <= max(text, default="") <= "\udfff"
            or flag.kind == "switch"
        ):
            return
        with contextlib.redirect_stderr(io.StringIO()), pytest.raises(SystemExit):
            parser.parse_args([f"{flag.spelling}={text}"])
        return
    got = parser.parse_args([*to_argv(flag, text)]).it
    if flag.kind == "switch":
        wanted: Any = text.strip().lower() in ("on", "true", "1", "yes", "")
    elif not flag.many:
        wanted = None if flag.nargs == "?" and not text else make(text)
    else:
        words = [make(word) for word in shlex.split(text)]
        wanted = [words] if flag.repeats and flag.nargs else words
    assert repr(got) == repr(wanted)


@given(default=st.sampled_from(["", 3, 0.5, False]), text=TEXTS)
@settings(max_examples=600, deadline=None)
@example(default="", text="a=b")
@example(default="", text="'a'")
@example(default="", text="5")
def test_what_the_configurator_is_given_is_that_value_in_the_type_of_the_constant(default: Any, text: str) -> None:
    (flag,) = read_flags(f"it = {default!r}\nexec(open('configurator.py').read())").flags
    if check_value(flag, text):
        return
    (argument,) = to_argv(flag, text)
    name, value = argument.split("=")
    try:
        read = literal_eval(value)
    except (SyntaxError, ValueError):
        read = value
    on = text.strip().lower() in ("on", "true", "1", "yes", "")
    assert name == "--it" and type(read) is type(default)
    assert read == (on if default is False else type(default)(text))


@given(
    st.one_of(
        st.text(),
        st.text("parser.add_gumnt('-=[]{}lf:\n \"\\\0*", max_size=80),
        st.binary().map(lambda b: b.decode("latin-1")),
    )
)
@settings(max_examples=500, deadline=None)
def test_no_text_at_all_breaks_the_reading(text: str) -> None:
    for whole in (text, f"{HEAD}parser.add_argument({text})", f"{text}\nexec('configurator.py')"):
        with contextlib.suppress(SyntaxError):
            read_flags(whole)


@pytest.mark.parametrize(
    "text",
    [
        "x = 1\n" * 2_000_000,
        "a;" * (LONGEST_SOURCE // 2),
        "(" * 100_000 + ")" * 100_000,
        "x = " + "-" * 100_000 + "1",
        "x = 1" + "+1" * 100_000,
        f"{HEAD}parser.add_argument('--x', default={'[' * 150}{']' * 150})",
        f"{HEAD}parser.add_argument('--x', default=1{'+1' * 800})",
        f"{HEAD}parser.add_argument('--x'{',0' * 50_000})",
        f"{HEAD}"
        + "".join(f"a{i} = a{i + 1} + a{i + 1}\n" for i in range(5000))
        + "parser.add_argument('--x', default=a0)",
        f"{HEAD}" + "".join(f"p{i} = p{i - 1}\n" for i in range(8000, 0, -1)) + "p0 = parser",
        f"{HEAD}" + "def f(p): f(p)\n" * 9000 + "f(parser)\n" * 3000,
        f"{HEAD}" + "parser.add_argument('--x', default=2**2**2**2**2)\n" * 3000,
        "x = 'a'\n" + "x = x + x\n" * 20_000 + "exec('configurator.py')",
        "parser.x\0",
        "'\ud800'",
        f"{HEAD}parser" + ".add_argument_group()" * 3000 + ".add_argument('--x')",
    ],
    ids=range(16),
)
def test_hostile_text_is_read_or_refused_within_seconds(text: str) -> None:
    began = time.monotonic()
    with contextlib.suppress(SyntaxError):
        assert len(read_flags(text).flags) <= 500
    assert time.monotonic() - began < 10


def test_text_that_cannot_be_tried_is_told_from_text_that_does_not_compile() -> None:
    with pytest.raises(SyntaxError) as wrong:
        read_flags("x = 1\nx = = 2\n")
    assert wrong.value.lineno == 2 and not isinstance(wrong.value, Unparsable)
    for text in ("\0", "'\ud800'", "x" * (LONGEST_SOURCE + 1)):
        with pytest.raises(Unparsable):
            read_flags(text)
    with pytest.raises(SyntaxError):
        read_flags("(" * 100_000 + ")" * 100_000)
    assert read_flags("\ufeffx = '\\d'") == ScriptFlags(open=True, style="none")


def test_code_of_a_stranger_is_not_run_and_what_he_wrote_can_be_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read = flags("hostile")
    assert not list(tmp_path.iterdir()) and "FLAGS_WERE_RUN" not in os.environ
    found = {f.name: f for f in read.flags}
    assert list(found) == ["good", "word", "long", "code", "kept"]
    assert found["good"].help == "red bell\\u202e turned next tab" and not found["good"].default_known
    assert (found["word"].choices, found["word"].default_known) == ((), False)
    assert (found["long"].default_known, found["code"].kind, found["kept"].kind) == (False, "other", "other")
    assert found["kept"].default == "7"
    huge = one(f"'--x', help='{'long ' * 2000}'")
    assert len(huge.help) <= 500
    for flag in read.flags:
        for text in (flag.name, *flag.names, flag.default, flag.help, *flag.choices):
            assert sanitize_line(text) == text


@pytest.mark.parametrize(
    ("text", "default", "known"),
    [
        ("parser.add_argument('--x')\nparser.set_defaults(x=5)", "5", True),
        ("parser.add_argument('--x', dest='y')\nparser.set_defaults(y=5)", "5", True),
        ("parser.add_argument('--x', default=1)\nparser.set_defaults(**more)", "", False),
        ("parser.add_argument('--x', default=N)\nN = 3\nN = 4", "", False),
        ("def f():\n    global N\n    N = 4\nN = 3\nparser.add_argument('--x', default=N)", "", False),
        ("from more import *\nN = 3\nparser.add_argument('--x', default=N)", "", False),
        ("parser.add_argument('--x', default=argparse.SUPPRESS)", "", True),
        (
            "if a:\n    parser.add_argument('--x', default=1)\nelse:\n    parser.add_argument('--x', default=2)",
            "",
            False,
        ),
        ("parser.add_argument('--x', default=round(1.5))", "", False),
        ("parser.add_argument('--x', type=int, default=1e6)", "1000000", True),
        ("parser.add_argument('--x', type=int, default=0.5)", "", False),
        ("parser.add_argument('--x', default='a\\nb')", "", False),
    ],
)
def test_a_default_is_known_only_where_the_text_says_it(text: str, default: str, known: bool) -> None:
    (flag,) = read_flags(HEAD + text).flags
    assert (flag.default, flag.default_known) == (default, known)


@pytest.mark.skipif(not (DIR and PYTHON), reason="NANOCHAT_DIR and NANOCHAT_PYTHON are not set")
@pytest.mark.parametrize(
    "module",
    [
        *(f"scripts.{s}" for s in "tok_train base_train base_eval chat_sft chat_rl chat_eval".split()),
        "nanochat.dataset",
    ],
)
def test_each_flag_of_the_real_nanochat_is_one_that_its_help_names(module: str) -> None:
    read = read_flags(Path(str(DIR), *module.split(".")).with_suffix(".py").read_text("utf-8"))
    if read.style != "argparse":
        pytest.skip("takes no flags by argparse")
    env = {**os.environ, "PYTHONPATH": str(DIR), "COLUMNS": "200"}
    done = subprocess.run([str(PYTHON), "-m", module, "--help"], cwd=str(DIR), env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    heads = [line for line in done.stdout.splitlines() if re.match(r"  -", line)]
    named = {
        name
        for line in heads
        for name in re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", re.split(r"\s{2,}", line.strip())[0])
    }
    assert not read.open
    assert named - {"-h", "--help"} == {name for f in read.flags for name in (*f.names, f.off) if name}
