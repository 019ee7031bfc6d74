"""The one key table: dispatch, footer, palette and help are made from it, and the README is checked against it."""

from typing import NamedTuple

from tui.presentation import key_names


class Key(NamedTuple):
    """A key of a screen ("" is every screen): the action it calls, its label in the footer, its line in the help."""

    screen: str
    keys: str
    action: str
    label: str
    help: str
    footer: bool = True
    # Whether it changes, launches, sends or saves something: an app that only looks has it not.
    changes: bool = False
    # Its line in the help of an app that only looks, where that does less of it.
    looking: str = ""

    @property
    def id(self) -> str:
        """What `[keys]` calls it: the screen, and the action or what it is called with; of a number, the label."""
        name, _, given = self.action.rstrip(")").partition("(")
        if given.startswith("'"):
            name = given.strip("'")
        elif given:
            name = self.label.lower().replace(" ", "_")
        return f"{self.screen or 'app'}.{name.rpartition('.')[2]}"

    def does(self, *, looking: bool) -> str:
        """Its line, in an app that only looks too."""
        return (looking and self.looking) or self.help


KEYS = (
    Key("", "1", "show('runs')", "Runs", "all runs", False),
    Key("", "2", "show('watch')", "Watch", "the run that was watched last", False),
    Key("", "3", "show('launch')", "New", "plan and launch a run", False, looking="plan a run"),
    Key("", "4", "show('volume')", "Volume", "files of the volume", False),
    Key("", "5", "show('cost')", "Cost", "what runs cost, by run, day, month and model", False),
    Key("", "6", "show('checkpoints')", "Checkpoints", "checkpoints of all runs, and what each is good for", False),
    Key("", "question_mark,f1", "help", "Help", "this page"),
    Key("", "exclamation_mark", "messages", "Messages", "recent messages, in full", False),
    Key("", "ctrl+t", "find_all", "Search", "search runs, checkpoints, files, settings, commands and all logs", False),
    Key(
        "",
        "U",
        "undo",
        "Undo",
        "bring back what was deleted, or the marks and filter that were cleared, last",
        False,
        looking="bring back the marks and filter that were cleared last",
    ),
    Key("", "ctrl+p", "command_palette", "Palette", "every command by name", False),
    Key("", "q,ctrl+c,f10", "leave", "Quit", "leave; runs go on without the app"),
    Key("", "ctrl+z", "suspend_process", "Suspend", "back to the shell; fg comes back here", False),
    Key("runs", "enter", "watch", "Watch", "watch the run under the cursor"),
    Key("runs", "n", "new", "New", "plan and launch a run", changes=True),
    Key(
        "runs", "c", "cancel", "Cancel", "stop the marked runs, or this one, keeping what is saved (asks)", changes=True
    ),
    Key("runs", "r", "resume", "Resume", "resume from the newest complete checkpoint", changes=True),
    Key("runs", "x", "delete", "Delete", "delete the marked runs, or this one, with their files (asks)", changes=True),
    Key("runs", "space", "mark", "Mark", "mark or unmark a run, and go to the next", False),
    Key("runs", "a", "mark_all", "Mark all", "mark all that are listed, or none", False),
    Key("runs", "v", "compare", "Compare", "the marked runs on the same axes, and where they differ"),
    Key("runs", "slash", "filter", "Filter", "show only runs with a text in tag, id, task, model, state or reason"),
    Key("runs", "s", "sort", "Sort", "sort by the next column"),
    Key("runs", "escape", "clear", "Clear", "clear marks and filter", False),
    Key("watch", "c", "cancel", "Cancel", "stop this run, keeping what is saved (asks)", changes=True),
    Key("watch", "r", "resume", "Resume", "resume from the newest complete checkpoint", changes=True),
    Key("watch", "M", "metrics", "Metrics", "all curves, and back to the log"),
    Key("watch", "p", "plan", "Plan", "the command lines of this run"),
    Key("watch", "D", "diff", "Diff", "how the code of this run differs from the commit that it is built on"),
    Key("watch", "o", "report", "Report", "the report of a finished run"),
    Key("watch", "left_square_bracket", "other(1)", "Older", "watch the next older run", False),
    Key("watch", "right_square_bracket", "other(-1)", "Newer", "watch the next newer run", False),
    Key("watch", "escape", "back", "Back", "take back filter or search, then back to the previous screen"),
    Key("log", "slash", "ask('search')", "Search", "look for a text, ~regex or level:error"),
    Key("log", "f", "ask('filter')", "Filter", "only lines with a text, !without it, ~regex, level:error"),
    Key("log", "n", "next(1)", "Next", "the next hit", False),
    Key("log", "N", "next(-1)", "Previous", "the hit before", False),
    Key("log", "e", "error(1)", "Error", "the next error"),
    Key("log", "E", "error(-1)", "Error before", "the error before", False),
    Key("log", "enter", "enter", "Line", "leave the filter and stay on this line; else this line whole", False),
    Key("log", "t", "times", "Times", "when lines came: the clock, since the start, off", False),
    Key("log", "w", "wrap", "Wrap", "long lines cut or wrapped", False),
    Key("log", "T", "window(-1)", "Window", "only the last minute, 5m, 15m, 1h, 6h, 24h; all", False),
    Key("log", "m", "mark", "Mark", "mark a line, or take the mark back", False),
    Key("log", "apostrophe", "next_mark", "Next mark", "go to the next mark", False),
    Key("log", "y", "copy", "Copy", "copy the marked lines, or this one, to the terminal's clipboard", False),
    Key(
        "log", "s", "ask('save')", "Save", "save the lines that are shown to a file that you name", False, changes=True
    ),
    Key("view", "q,ctrl+c,f10", "quit", "Quit", "leave"),
    Key("view", "ctrl+z", "suspend_process", "Suspend", "back to the shell; fg comes back here", False),
    Key("view", "escape", "clear", "Clear", "take back filter or search", False),
    Key("view", "question_mark,f1", "help", "Help", "this page"),
    Key("view", "exclamation_mark", "messages", "Messages", "recent messages, in full", False),
    Key("view", "ctrl+p", "command_palette", "Palette", "every command by name", False),
    Key("view", "0", "window(0)", "All", "all of the log, in nanochat-tui view", False),
    *(
        Key("view", str(n), f"window({n})", said, f"only the last {said}", False)
        for n, said in enumerate(("minute", "5 minutes", "15 minutes", "hour", "6 hours", "24 hours"), 1)
    ),
    Key("compare", "d", "differences", "All settings", "only the settings that differ, or all of them"),
    Key("compare", "space", "scroll(1)", "More", "the next page of results and settings", False),
    Key("compare", "b", "scroll(-1)", "Before", "the page before", False),
    Key("compare", "D", "diff", "Diff", "how the code of the last run differs from that of the first"),
    Key("compare", "s", "export", "Export", "curves as CSV and SVG, to files that you name", changes=True),
    Key("compare", "escape", "back", "Back", "take back cursor or zoom, then back to the previous screen"),
    Key("cost", "escape", "back", "Back", "back to the previous screen"),
    Key("cost", "s", "sort", "Sort", "sort by the next column"),
    Key("cost", "enter", "watch", "Watch", "watch the run under the cursor"),
    Key("cost", "c", "cancel", "Cancel", "stop this run, keeping what is saved (asks)", changes=True),
    Key("metrics", "x", "axis", "Axis", "by step, time, tokens or dollars"),
    Key("metrics", "plus,equals_sign", "zoom(0.5)", "Closer", "show half as much, around the cursor"),
    Key("metrics", "minus", "zoom(2.0)", "Wider", "show twice as much"),
    Key("metrics", "0", "whole", "Whole", "show everything, without the cursor", False),
    Key("metrics", "L", "log", "Log scale", "logarithmic values, and back"),
    Key("metrics", "left_curly_bracket", "smooth(-1)", "Rougher", "curves less smoothed", False),
    Key("metrics", "right_curly_bracket", "smooth(1)", "Smoother", "curves more smoothed", False),
    Key("metrics", "R", "raw", "Raw", "what is smoothed alone, or with the raw curve behind it", False),
    Key("metrics", "a", "range", "All values", "also how a curve began, however far that is from the rest", False),
    Key("metrics", "S", "choose_charts", "Charts", "choose the charts that are shown", False),
    Key("metrics", "I", "image", "Picture", "the large chart as a picture, in terminals that can", False),
    Key("metrics", "enter", "large", "Large", "one chart over the whole screen, and back"),
    Key("launch", "f5,ctrl+enter,ctrl+j", "launch", "Launch", "launch what the plan shows", changes=True),
    Key("launch", "f2", "flags", "Flags", "all flags of the stages; Enter puts one into set, where Tab completes one"),
    Key("launch", "f3", "recipes", "Recipes", "all recipes; Enter fills the form in with one", False),
    Key(
        "launch",
        "f4",
        "save",
        "Save",
        "keep what is asked for as a recipe, under a name that you give",
        False,
        changes=True,
    ),
    Key("launch", "escape", "back", "Back", "forget what is filled in, and back to the previous screen"),
    Key(
        "files",
        "d",
        "get",
        "Download",
        "download the marked files, or this one: files, folders, whole runs",
        changes=True,
    ),
    Key(
        "files",
        "x",
        "remove",
        "Delete",
        "delete the marked ones, or this one, after saying what depends on it",
        changes=True,
    ),
    Key("files", "space", "mark", "Mark", "mark or unmark, and go to the next", False),
    Key("files", "a", "mark_all", "Mark all", "mark all that are listed, or none", False),
    Key("files", "s", "sort", "Sort", "sort by the next column", False),
    Key("files", "p", "pause", "Pause", "pause or resume transfers", False, changes=True),
    Key("files", "P", "stop", "Stop", "stop transfers; the next download of the same resumes", False, changes=True),
    Key("files", "ctrl+r", "reload", "Reload", "reload the volume", False),
    Key("files", "escape", "back", "Back", "take back filter, marks and preview, then back to the previous screen"),
    Key("volume", "enter", "open", "Open", "go into a folder, or read a file"),
    Key("volume", "backspace", "up", "Up", "the folder above", False),
    Key("volume", "slash", "find", "Find", "find a file anywhere on the volume by a few letters of its path"),
    Key("volume", "f", "filter", "Filter", "only names with a text"),
    Key("volume", "r", "resume", "Resume", "resume from the checkpoint under the cursor", changes=True),
    Key("volume", "u", "put", "Upload", "upload a file or folder to here", changes=True),
    Key("volume", "z", "sizes", "Sizes", "disk usage, and what can be deleted"),
    Key("volume", "y", "copy", "Copy", "copy the path to the terminal's clipboard", False),
    Key("volume", "v", "next_volume", "Next volume", "the next volume"),
    Key("checkpoints", "enter", "open", "Open", "its files on the volume"),
    Key("checkpoints", "r", "resume", "Resume", "resume from this checkpoint", changes=True),
    Key(
        "checkpoints",
        "K",
        "keep",
        "Prune",
        "delete all checkpoints but best and last, of the marked runs or this one (asks)",
        changes=True,
    ),
    Key("checkpoints", "slash", "filter", "Filter", "only runs with a text in their name"),
    Key("sizes", "enter", "open", "Open", "go into a folder; of what could go, see where it lies"),
    Key("sizes", "backspace", "up", "Up", "the folder above"),
    Key("sizes", "o", "browse", "Browse", "this folder in the Volume screen"),
    Key("sizes", "tab", "app.focus_next", "What could go", "folders, or what can be deleted"),
    Key("sizes", "v", "next_volume", "Next volume", "the next volume"),
)
# What an app that only looks has not, by id.
CHANGING = frozenset(key.id for key in KEYS if key.changes)
# Movement, the same in every list, tree, log and page: less and vim keys beside the arrows.
MOVES = {
    "down": "down,j",
    "up": "up,k",
    "page_down": "pagedown,ctrl+f",
    "page_up": "pageup,ctrl+b",
    "half_down": "ctrl+d",
    "half_up": "ctrl+u",
    "top": "home,g",
    "bottom": "end,G",
    "left": "left,h",
    "right": "right,l",
}
# Letters of a pager, where something is read: in lists they do something with what is under the cursor.
READING = {"page_down": "space", "page_up": "b", "half_down": "d", "half_up": "u"}
# The sections of the table by what they are called.
TITLES = {
    "": "everywhere",
    "runs": "Runs",
    "watch": "Watch",
    "log": "Log",
    "metrics": "Curves",
    "compare": "Compare",
    "cost": "Cost",
    "view": "nanochat-tui view",
    "launch": "New run",
    "volume": "Volume",
    "checkpoints": "Checkpoints",
    "sizes": "Sizes",
    "files": "Volume, Checkpoints, Sizes",
}
# The screen that one goes to for what a section does.
HOMES = {
    "runs": "runs",
    "watch": "watch",
    "log": "watch",
    "metrics": "watch",
    "compare": "compare",
    "cost": "cost",
    "launch": "launch",
    "volume": "volume",
    "files": "volume",
    "checkpoints": "checkpoints",
    "sizes": "sizes",
}
MOVING, READS = "lists and log", "logs and pages"


class Row(NamedTuple):
    """One line of the help, the palette or `nanochat-tui keys`: an action by its id, and its keys by default."""

    id: str
    section: str
    keys: tuple[str, ...]
    label: str
    help: str


def rows(*, looking: bool = False) -> tuple[Row, ...]:
    """Everything that has a key, in the order of the table, in the words of an app that only looks; movement last."""
    found = [
        Row(k.id, TITLES[k.screen], tuple(k.keys.split(",")), k.label, k.does(looking=looking))
        for k in KEYS
        if not (looking and k.changes)
    ]
    for place, title, table in (("move", MOVING, MOVES), ("read", READS, READING)):
        for name, keys in table.items():
            words = name.replace("_", " ")
            found.append(Row(f"{place}.{name}", title, tuple(keys.split(",")), words.capitalize(), words))
    return tuple(found)


def key_label(keys: str) -> str:
    """Keys as people write them."""
    return " ".join(key_names.label(key) for key in keys.split(",") if key)
