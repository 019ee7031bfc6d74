"""What changed from one tree of code to the next, for people and for `git apply`."""

import subprocess
import time
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner.source.difference import changed_files, tree_diff

OLD = {"a.py": b"one\ntwo\nthree\n", "gone.py": b"x\n", "same": b"s", "bin": b"\0\1"}
NEW = {"a.py": b"one\n2\nthree", "new.py": b"y\n", "same": b"s", "bin": b"\0\2"}


def test_files_are_named_by_what_became_of_them() -> None:
    assert changed_files(OLD, NEW) == [
        ("a.py", "changed"),
        ("bin", "changed"),
        ("gone.py", "removed"),
        ("new.py", "added"),
    ]
    assert changed_files(OLD, OLD) == [] and tree_diff(OLD, OLD) == ""


def test_a_diff_reads_as_git_writes_it() -> None:
    assert tree_diff(OLD, NEW).split("\n") == [
        "diff --git a/a.py b/a.py",
        "--- a/a.py",
        "+++ b/a.py",
        "@@ -1,3 +1,3 @@",
        " one",
        "-two",
        "-three",
        "+2",
        "+three",
        "\\ No newline at end of file",
        "diff --git a/bin b/bin",
        "Binary files a/bin and b/bin differ",
        "diff --git a/gone.py b/gone.py",
        "deleted file mode 100644",
        "--- a/gone.py",
        "+++ /dev/null",
        "@@ -1 +0,0 @@",
        "-x",
        "diff --git a/new.py b/new.py",
        "new file mode 100644",
        "--- /dev/null",
        "+++ b/new.py",
        "@@ -0,0 +1 @@",
        "+y",
        "",
    ]


names = st.sampled_from(["a.py", "b c.py", "d/e\n.py", 'q"\\.py', "ü.py", "--- x", "z\udcff"])
texts = st.text(st.sampled_from("ab\n\r\f\u2028 "), max_size=12).map(str.encode)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names, texts, max_size=4), st.dictionaries(names, texts, max_size=4))
def test_git_makes_the_new_tree_from_the_old_one_and_the_diff(
    tmp_path: Path, old: dict[str, bytes], new: dict[str, bytes]
) -> None:
    import os

    folder = tmp_path / os.urandom(6).hex()
    folder.mkdir()
    for name, data in old.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    if diff := tree_diff(old, new):
        argv = ["git", "-c", "core.autocrlf=false", "apply", "-"]
        done = subprocess.run(
            argv, cwd=folder, input=diff.encode("utf-8", "surrogateescape"), capture_output=True, check=False
        )
        assert done.returncode == 0, (done.stderr, diff)
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == new


def test_a_diff_ends_where_nobody_reads_on_and_says_how_much_is_left_out() -> None:
    line = b"a line of some text\n" * 4_000
    diff = tree_diff({}, {f"{n:03d}": line for n in range(100)})
    assert len(diff) < 2_000_100 and diff.endswith(" more files differ, left out here\n")
    shown = diff.count("diff --git")
    assert f"\n{100 - shown} more files" in diff and shown > 15
    assert tree_diff({}, {"a": b"x\n" * 3_000_000}).startswith("diff --git")


def test_files_without_two_equal_lines_and_with_many_take_no_time() -> None:
    import random

    draw = random.Random(1)
    old, new = (b"\n".join(b"%d" % draw.randrange(150) for _ in range(10_000)) for _ in range(2))
    began = time.process_time()
    assert tree_diff({"a": old}, {"a": new})
    assert time.process_time() - began < 10
