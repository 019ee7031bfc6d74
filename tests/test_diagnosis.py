"""A log is told by its cause: the kind, the line that tells it, what to do, and whether a resume can help."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.diagnosis.evidence import Evidence
from runner.diagnosis.lines import named_cause, tells_failure
from runner.diagnosis.verdict import Diagnosis, ExitStatus, diagnose
from runner.nanochat import grammar
from runner.text.sanitize import strip_ansi
from tests.conftest import DATA

FAILURES: dict[str, dict[str, Any]] = tomllib.loads((DATA / "failures.toml").read_text())


def read(lines: list[str]) -> Evidence:
    evidence = Evidence()
    for number, raw in enumerate(lines, 1):
        for piece in raw.split("\r"):
            line = strip_ansi(piece)
            for said, event in grammar.read(line):
                evidence.add_line(said, event, number)
    return evidence


def verdict(path: Path, how: ExitStatus | None = None) -> Diagnosis | None:
    return diagnose(read(path.read_bytes().decode("utf-8", "replace").split("\n")), how)


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_is_told_by_its_cause_with_advice_that_can_help(name: str) -> None:
    wanted = FAILURES[name]
    found = verdict(DATA / "failures" / f"{name}.log")
    assert found
    assert (found.kind, found.line, found.resume) == (wanted["kind"], wanted.get("line"), wanted["resume"])
    assert wanted["advice"] in found.advice, found.advice
    assert "====" not in found.message and len(found.message) <= 300


@pytest.mark.parametrize("name", FAILURES)
def test_the_search_for_errors_finds_the_line_that_tells_the_cause(name: str) -> None:
    lines = (DATA / "failures" / f"{name}.log").read_text().split("\n")
    assert tells_failure(lines[FAILURES[name]["line"] - 1])


HEALTHY = sorted(
    path
    for path in (DATA / "logs").glob("*.log")
    if not path.stem.startswith(("cpu_err", "h100_oom", "h200_oom", "cpu_base_eval_core_offline"))
    and path.stem not in ("h200x2_x1_resume_on2", "h200x2_x2_sigterm")
)
PROOF = ["Step 99999 | Validation bpb: 0.812345", "Peak memory usage: 9000.00MiB", "Minimum validation bpb: 0.812345"]
UNCAUGHT = [
    "Traceback (most recent call last):",
    '  File "/opt/venv/lib/python3.12/site-packages/kernels/utils.py", line 211, in install_kernel',
    "    return find(kernel)",
    "FileNotFoundError: no build of the kernel for this system",
]
# Each looks like the end of something, and is none where training goes on after it or it stands where it stands.
PLANTED: dict[str, list[str]] = {
    "caught": UNCAUGHT,
    "caught and raised": [
        *UNCAUGHT,
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        *UNCAUGHT,
    ],
    "ignored": ["Exception ignored in: <function _Pool.__del__ at 0x7f0000000000>", *UNCAUGHT[:1], UNCAUGHT[3]],
    "while logging": ["--- Logging error ---", *UNCAUGHT, "Call stack:", "Message: 'x'"],
    "sample": [
        "<|bos|>In Python this prints",
        *UNCAUGHT[:1],
        '  File "<stdin>", line 1, in <module>',
        "TypeError: no",
        "Killed",
    ],
    "answer": ["Assistant: It says", "ValueError: a bad row", "Segmentation fault (core dumped)"],
    "retried": [
        "Attempt 1/5 failed for shard_00001.parquet: HTTPError: 503 Server Error",
        "Waiting 2 seconds before retry...",
    ],
    "thread": ["Exception in thread Thread-4 (beat):", *UNCAUGHT],
    "asynchronous": ["Task exception was never retrieved", *UNCAUGHT],
    "words": ["the time limit was reached by preemption of Xid, it said, with exit code"],
}


@given(st.sampled_from(HEALTHY), st.lists(st.tuples(st.sampled_from(sorted(PLANTED)), st.floats(0, 1)), max_size=6))
def test_no_failure_is_told_of_a_log_that_went_on_and_ended_well(path: Path, planted: list[tuple[str, float]]) -> None:
    lines = path.read_bytes().decode("utf-8", "replace").split("\n")
    for name, share in planted:
        at = int(share * len(lines))
        lines[at:at] = PLANTED[name]
    assert diagnose(read([*lines, *PROOF])) is None


@pytest.mark.parametrize("path", HEALTHY, ids=lambda path: path.stem)
def test_no_failure_is_told_of_a_healthy_log_as_it_is(path: Path) -> None:
    assert verdict(path) is None


@pytest.mark.parametrize("planted", ["ignored", "while logging", "sample", "answer", "asynchronous", "thread"])
def test_what_ends_nothing_is_no_failure_also_as_the_last_that_a_log_says(planted: str) -> None:
    lines = (DATA / "logs" / "cpu_base_train_d4.log").read_text().split("\n")
    assert diagnose(read([*lines, *PLANTED[planted]])) is None


@pytest.mark.parametrize(
    "last",
    [
        "Segmentation fault (core dumped)",
        "terminate called without an active exception",
        "slurmstepd: error: *** JOB 71 ON n1 CANCELLED AT 2026-09-14T10:30:12 DUE TO TIME LIMIT ***",
    ],
)
def test_a_process_that_dies_after_all_was_done_did_not_fail(last: str) -> None:
    assert diagnose(read([*PROOF, last])) is None


NO_DATA = [*UNCAUGHT[:3], "AssertionError: No dataset parquet files found, did you run dataset.py?"]
NOT_BROUGHT = "Attempt 5/5 failed for shard_00001.parquet: certificate is not yet valid"


@pytest.mark.parametrize(("came", "kind"), [(0, "network"), (9, "data")])
def test_data_is_missing_because_a_download_failed_unless_all_came_after_it(came: int, kind: str) -> None:
    found = diagnose(read([NOT_BROUGHT, f"Done! Downloaded: {came}/9 shards to /data", *NO_DATA]))
    assert found and found.kind == kind


def waited(rank: int, operation: str) -> str:
    said = f"[Rank {rank}] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=88, OpType={operation}, N=1)"
    return f"[rank{rank}]:[E105 13:18:27.4 ProcessGroupNCCL.cpp:683] {said} ran for 60017 milliseconds"


def test_ranks_that_time_out_in_different_operations_are_out_of_step_until_training_goes_on() -> None:
    out_of_step = [waited(1, "ALLREDUCE"), waited(0, "REDUCE_SCATTER")]
    assert (found := diagnose(read(out_of_step))) and found.cause == "out of step" and found.resume == "after a change"
    assert (found := diagnose(read([waited(1, "ALLREDUCE"), waited(0, "ALLREDUCE")]))) and found.cause == "timed out"
    assert diagnose(read([*out_of_step, *PROOF])) is None


NOISE = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=300) | st.sampled_from(
    [line for lines in PLANTED.values() for line in lines]
)


@given(st.lists(NOISE, max_size=60), st.sampled_from(sorted(FAILURES)))
def test_whatever_stood_before_a_failure_is_told_in_one_short_line(noise: list[str], name: str) -> None:
    failure = (DATA / "failures" / f"{name}.log").read_text().split("\n")
    # A title of what ends nothing is of the traceback right below it, so none stands there.
    found = diagnose(read([*noise, "$ torchrun", *failure]))
    assert found and found.message and len(found.message) <= 300 and found.line


@given(st.lists(NOISE, max_size=400))
def test_what_is_kept_of_a_log_does_not_grow_with_it(noise: list[str]) -> None:
    evidence = read([f"[rank{n}]: {line}" if n % 3 else line for n, line in enumerate(noise * 20)])
    chains = [chain for chains in evidence.chains.values() for chain in chains]
    assert len(evidence.signs) <= 200 and len(chains) <= 8 * 1024
    assert all(len(chain) <= 8 and len(one.below) <= 12 for chain in chains for one in chain)


def test_how_the_child_ended_counts_before_what_it_had_said() -> None:
    lines = [*UNCAUGHT[:1], '  File "/root/nanochat/scripts/base_train.py", line 5, in <module>', "KeyError: 'x'"]
    told = {
        how: diagnose(read(lines), how)
        for how in (
            None,
            ExitStatus(1),
            ExitStatus(0),
            ExitStatus(None, 9),
            ExitStatus(None, 9, oom_kills=1),
            ExitStatus(137),
            ExitStatus(None, 6),
        )
    }
    said = {how: (found.kind, found.message) if found else None for how, found in told.items()}
    crash = ("crash", "KeyError: 'x'")
    assert said[None] == said[ExitStatus(1)] == said[ExitStatus(None, 6)] == crash and said[ExitStatus(0)] is None
    assert said[ExitStatus(None, 9)] == said[ExitStatus(137)] == ("killed", "killed by signal 9")
    assert said[ExitStatus(None, 9, oom_kills=1)] == (
        "killed",
        "the kernel killed it: the machine or container ran out of memory",
    )


def test_an_exit_that_nobody_explains_is_no_line_of_the_log() -> None:
    found = diagnose(read(["step by step", "=" * 60]), ExitStatus(3))
    assert found and (found.kind, found.line) == ("crash", None)
    assert found.message == "it ended with exit code 3 and did not say why"


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("Container exited with exit code: 137", "killed"),
        ("OSError(28, 'No space left on device')", "disk full"),
        ("RuntimeError('CUDA error: uncorrectable ECC error encountered')", "gpu fault"),
        ("ValueError('an odd row')", None),
    ],
)
def test_what_a_platform_has_cut_out_of_a_log_still_names_its_cause(text: str, cause: str | None) -> None:
    assert named_cause(text) == cause


REMARKS = [
    "wandb: Network error (ConnectionError), entering retry loop.",
    "wandb: ERROR Error while calling W&B API: run not found (<Response [404]>)",
    "[rank0]:[W914 10:00:00.100 ProcessGroupNCCL.cpp:1505] Warning: WARNING: destroy_process_group() was not called",
    "[W914 10:00:00.100 TCPStore.cpp:125] [c10d] recvValue failed on SocketImpl(fd=4): Connection reset by peer",
    "W0914 10:00:00.100000 900 torch/_dynamo/convert_frame.py:906] [0/8] torch._dynamo hit config.recompile_limit (8)",
    "/usr/lib/python3.12/multiprocessing/resource_tracker.py:224: UserWarning: There appear to be 10 leaked semaphores",
    "Attempt 1/5 failed for shard_00003.parquet: HTTPSConnectionPool(host='example.org', port=443): Read timed out.",
    "/opt/venv/torch/cuda/__init__.py:174: UserWarning: CUDA initialization: The NVIDIA driver is too old",
    "Exception in thread Thread-4 (_watch):\n" + "\n".join(UNCAUGHT),
    "Error in atexit._run_exitfuncs:\n" + "\n".join(UNCAUGHT),
]


@pytest.mark.parametrize("said", REMARKS)
def test_a_remark_that_ends_nothing_is_no_failure(said: str) -> None:
    begun = (DATA / "failures" / "shell_killed.log").read_text().split("\n")[:-2]
    assert diagnose(read([*begun, *said.split("\n")])) is None
