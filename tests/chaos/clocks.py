"""A client whose time of day is wrong, or jumps, beside a run that lives: nothing is called dead, no command breaks."""

from tests.chaos.bench import Bench, shim
from tests.conftest import Cli, wait_until

DAY = 86_400
SHIFTS = (-30 * 365 * DAY, -DAY, -3600, -30, 30, 3600, DAY, 400 * DAY, 20 * 365 * DAY, 200 * 365 * DAY)


def strike(bench: Bench) -> None:
    library = shim(bench, "clock")
    cli = bench.cli()
    cli("launch", "--tag", "r", "--fault", "hang@3", "--step-ms", "0")
    wait_until(lambda: (cli.run("r")["step"] or 0) >= 2, seconds=60, what="the run")
    shifted = bench.root / f"shift-{cli.home.name}"
    other = Cli(cli.home)
    other.env |= {"LD_PRELOAD": str(library), "CHAOS_CLOCK": str(shifted)}
    for shift in bench.rng.sample(SHIFTS, 3):
        shifted.write_text(f"{shift}\n")
        for words in (("ls",), ("show", "r"), ("cost",)):
            bench.say(other, "commands go on at a wrong time", *words, codes=(0,))
        state = cli.run("r")["state"]
        bench.claim("a live run stays running", state == "running", (shift, state))
    cli("cancel", "r")
    bench.claim("and can be cancelled", cli.run("r")["state"] == "cancelled", "")
