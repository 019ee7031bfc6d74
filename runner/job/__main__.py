"""`python -m runner.job`: one attempt of a run, as a process on this machine."""

import argparse
import contextlib
import os
import signal
import sys
import threading
import time
from pathlib import Path

from runner import processes
from runner.errors import NanochatError
from runner.job.environment import LOOK_S, LocalEnvironment
from runner.job.job import GRACE_S, Job
from runner.job.outcome import PUT_RIGHT, outcome_of_error, print_outcome
from runner.job.restarts import never_began
from runner.model.run import Run
from runner.model.status import Outcome, OutcomeKind
from runner.system import locks
from runner.volumes import run_records
from runner.volumes.folder import FolderVolume

PATIENCE_S, HEED_S = 20.0, 1.0


def _heed(volume: FolderVolume, run: Run, job: Job) -> None:
    """Stop the job when somebody asks for it who cannot send it a signal: from another machine or container."""
    while True:
        # A volume that is gone is told by the job, at its next write.
        with contextlib.suppress(OSError, NanochatError):
            if run_records.cancelled_attempt(volume, run) >= run.attempt:
                job.request_stop(signal.SIGTERM, None)
                return
        time.sleep(HEED_S)


def main() -> int:
    """Run one attempt of the run named on the command line; the exit code of the process."""
    parser = argparse.ArgumentParser(prog="python -m runner.job", description="Execute one attempt of a run.")
    parser.add_argument("--run", required=True)
    parser.add_argument("--volume", required=True)
    parser.add_argument("--work", required=True, type=Path)
    parser.add_argument("--attempt", required=True, type=int)
    parser.add_argument("--grace", type=float, default=GRACE_S)
    parser.add_argument("--patience", type=float, default=PATIENCE_S)
    args = parser.parse_args()
    path = args.work / processes.LOCK_FILE
    with path.open("a") as lock:
        try:
            # An earlier attempt's job may still be on its way out.
            mine = locks.take_within(lock, path, args.patience, LOOK_S)
        except (OSError, NanochatError) as error:
            print_outcome(outcome_of_error(error))
            return 1
        if not mine:
            print_outcome(Outcome(OutcomeKind.LAUNCH, f"{args.run} is running already"))
            return 3
        processes.sign(lock)
        volume = FolderVolume(args.volume)
        run = run_records.read_run(volume, args.run)
        if run is None or run.newer or run.attempt != args.attempt:
            print_outcome(
                Outcome(
                    OutcomeKind.LAUNCH,
                    f"{args.run} has no record of attempt {args.attempt} on {args.volume}",
                    PUT_RIGHT,
                )
            )
            return 2
        site = LocalEnvironment(processes.call_id(os.getpid()))
        try:
            job = Job(volume, run, args.work, site, grace_s=args.grace)
        except (OSError, NanochatError) as error:
            outcome = outcome_of_error(error)
            if not never_began(volume, run, site.call_id, outcome, time.time()):
                print_outcome(outcome)
            return 1
        signal.signal(signal.SIGTERM, job.request_stop)
        signal.signal(signal.SIGINT, job.request_stop)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        threading.Thread(target=_heed, args=(volume, run, job), daemon=True).start()
        return job.main()


if __name__ == "__main__":
    sys.exit(main())
