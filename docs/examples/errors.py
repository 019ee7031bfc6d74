"""Print what looks like an error in the log of the newest run, and go on with it where that can help."""

from runner import Fleet, NoSuchRun

with Fleet() as fleet:
    try:
        run = fleet.poll_run(fleet.find("last"))
    except NoSuchRun as error:
        raise SystemExit(f"{error.what}: {error.hint}") from error
    for line in fleet.logs(run):
        if "error" in line.lower():
            print(line)
    if run.outcome and run.outcome.resume != "no":
        *_, run = fleet.watch(fleet.resume(run))
    print(run.tag, run.state)
