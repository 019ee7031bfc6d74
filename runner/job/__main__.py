"""`python -m runner.job`: one attempt of a run, as a process on this machine."""

import argparse
import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import IO

from runner import process, survey
from runner.backends.folder import FolderVolume
from runner.errors import NanochatError
from runner.job.job import GRACE_S, Job
from runner.job.outcome import PUT_RIGHT, last_word, trouble
from runner.job.site import LOOK_S, LocalSite
from runner.job.succession import never_began
from runner.run import Outcome, OutcomeKind

PATIENCE_S = 20.0


def _take(lock: IO[str], patience_s: float) -> bool:
    """Take the lock of the run's only job; an earlier attempt's job may still be on its way out."""
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(LOOK_S)
        else:
            return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m runner.job", description="Execute one attempt of a run.")
    parser.add_argument("--run", required=True)
    parser.add_argument("--volume", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--attempt", required=True, type=int)
    parser.add_argument("--grace", type=float, default=GRACE_S)
    parser.add_argument("--patience", type=float, default=PATIENCE_S)
    args = parser.parse_args()
    with (args.work / "lock").open("a") as lock:
        if not _take(lock, args.patience):
            last_word(Outcome(OutcomeKind.LAUNCH, f"{args.run} is running already"))
            return 3
        volume = FolderVolume(args.volume)
        run = survey.read_run(volume, args.run)
        if run is None or run.newer or run.attempt != args.attempt:
            last_word(
                Outcome(
                    OutcomeKind.LAUNCH,
                    f"{args.run} has no record of attempt {args.attempt} on {args.volume}",
                    PUT_RIGHT,
                )
            )
            return 2
        site = LocalSite(process.call_id(os.getpid()))
        try:
            job = Job(volume, run, args.work, site, grace_s=args.grace)
        except (OSError, NanochatError) as error:
            outcome = trouble(error)
            if not never_began(volume, run, site.call_id, outcome, time.time()):
                last_word(outcome)
            return 1
        signal.signal(signal.SIGTERM, job.request_stop)
        signal.signal(signal.SIGINT, job.request_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        return job.main()


if __name__ == "__main__":
    sys.exit(main())
