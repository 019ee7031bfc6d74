"""What stands beside an empty list of runs: how to get the first one, and where all the keys are."""

from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from runner.system import read_only

if TYPE_CHECKING:
    from tui.context import AppContext


def first_steps(app: "AppContext") -> Table:
    """A line for each way to begin, its keys or its command before it."""
    keys = app.tone("accent")
    table = Table.grid(padding=(0, 3, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column()
    if not read_only.is_set():
        launch = f"{app.key('runs.new')}, then {app.key('launch.launch')}"
        table.add_row(
            Text(launch, keys), "a rehearsal on this machine: free, in a minute; every screen has its data then"
        )
        table.add_row(Text("modal setup", keys), "once, in a shell, for GPUs: backend modal in the form uses them")
    table.add_row(Text("nanochat-tui demo", keys), "in a shell: recorded runs to look around in")
    table.add_row(Text(app.key("app.help"), keys), "all keys")
    table.add_row(Text(app.key("app.command_palette"), keys), "every command, by its name")
    return table
