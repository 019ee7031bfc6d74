"""One call of argparse's `add_argument` -> a flag, as far as the text tells. Pure."""

import ast
from collections.abc import Callable

from msgspec.structs import replace

from runner.nanochat.flags import Flag, Kind
from runner.nanochat.python_source import UNKNOWN, Constants, Scope, Unknown, is_builtin
from runner.text.sanitize import sanitize_line

MOST_FLAGS = 500
_MOST_CHOICES = 200
_MOST_NAMES = 20
_LONGEST_HELP = 500
_LONGEST_WORD = 200
_SWITCHES = ("store_true", "store_false", "store_const", "append_const", "count", "help", "version")
_ONE_BY_ONE = ("append", "extend")
_CHECKED: dict[str, Kind] = {"int": "int", "float": "float", "str": "str"}


def shown(text: str, longest: int) -> str:
    """Text of a stranger as one line without controls, cut."""
    line = " ".join(sanitize_line(text[: 4 * longest]).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def typed(value: object) -> str | None:
    """How a constant is typed, "" for None; None where it could not be shown as it stands."""
    text = "" if value is None else str(value)
    return text if len(text) <= _LONGEST_WORD and sanitize_line(text) == text else None


class Arguments:
    """Calls of `add_argument`, one after the other, as flags."""

    def __init__(self, is_argparse: Callable[[ast.expr | None, str], bool]) -> None:
        self._constants = Constants()
        self._is_argparse = is_argparse
        self.found: list[Flag] = []
        self._dests: dict[str, list[int]] = {}
        self._said: set[int] = set()

    def add(self, call: ast.Call, scope: Scope) -> bool:
        """Note one flag; False where it is not said which that is."""
        names = [self._value(arg, scope) for arg in call.args]
        if not 0 < len(names) <= _MOST_NAMES or not all(isinstance(n, str) and _is_name(n) for n in names):
            return False
        spelled = tuple(str(n) for n in names)
        if not spelled[0].startswith("-"):
            return True
        said = {k.arg: k.value for k in call.keywords if k.arg}
        flag = self._flag(spelled, said, scope, complete=len(said) == len(call.keywords))
        before = next((i for i, f in enumerate(self.found) if set(f.names) & set(spelled)), None)
        if before is not None:
            if self.found[before] != flag:
                self.found[before] = replace(
                    self.found[before], kind="other", default="", default_known=False, choices=()
                )
            return True
        dest = self._value(said.get("dest"), scope)
        index = len(self.found)
        self._dests.setdefault(dest if isinstance(dest, str) else flag.name.replace("-", "_"), []).append(index)
        self._said |= {index} if "default" in said else set()
        self.found.append(flag)
        return True

    def set_defaults(self, call: ast.Call, scope: Scope) -> None:
        """Take defaults that are given to the parser itself."""
        for keyword in call.keywords:
            if keyword.arg is None:
                self.forget_defaults()
            for index in self._dests.get(keyword.arg or "", ()):
                flag = self.found[index]
                text = None if flag.kind == "switch" else self._default(keyword.value, scope, flag.kind, flag.many)
                if flag.kind != "switch":
                    self.found[index] = replace(flag, default=text or "", default_known=text is not None)

    def forget_defaults(self, *, unless_said: bool = False) -> None:
        """Defaults come from elsewhere."""
        for index, flag in enumerate(self.found):
            if flag.kind != "switch" and not (unless_said and index in self._said):
                self.found[index] = replace(flag, default="", default_known=False)

    def _value(self, node: ast.expr | None, scope: Scope) -> object:
        return self._constants.value(node, scope)

    def _flag(self, names: tuple[str, ...], said: dict[str, ast.expr], scope: Scope, *, complete: bool) -> Flag:
        long = next((n for n in names if n.startswith("--")), names[0])
        kind, repeats = self._kind(said, scope)
        nargs = self._nargs(said.get("nargs"), scope)
        if nargs is None or not complete:
            kind, nargs = "other", nargs or ""
        many = repeats or nargs not in ("", "?")
        default = "false" if kind == "switch" else self._default(said.get("default"), scope, kind, many)
        help_text = self._value(said.get("help"), scope)
        return Flag(
            name=long.lstrip("-"),
            names=names,
            kind=kind,
            default=default or "",
            default_known=default is not None and (complete or "default" in said),
            choices=() if kind == "switch" or not complete else self._choices(said.get("choices"), scope, kind),
            help=_help(help_text, default or "") if isinstance(help_text, str) else "",
            required=self._value(said.get("required"), scope) is True,
            nargs="" if kind in ("switch", "onoff") else nargs,
            repeats=repeats,
        )

    def _kind(self, said: dict[str, ast.expr], scope: Scope) -> tuple[Kind, bool]:
        """What its values are, and whether it is given once for each."""
        action = self._value(said["action"], scope) if "action" in said else "store"
        if action in _SWITCHES:
            return "switch", False
        if self._is_argparse(said.get("action"), "BooleanOptionalAction"):
            return "onoff", False
        repeats = action in _ONE_BY_ONE
        if action != "store" and not repeats:
            return "other", False
        converted = is_builtin(said["type"], scope) if "type" in said else "str"
        if "type" in said and self._value(said["type"], scope) is None:
            converted = "str"
        return _CHECKED.get(converted, "other"), repeats

    def _nargs(self, node: ast.expr | None, scope: Scope) -> str | None:
        if node is None:
            return ""
        if self._is_argparse(node, "REMAINDER"):
            return "..."
        if self._is_argparse(node, "OPTIONAL"):
            return "?"
        value = self._value(node, scope)
        if value is None:
            return ""
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value < MOST_FLAGS:
            return str(value)
        return value if isinstance(value, str) and value in ("?", "*", "+", "...") else None

    def _default(self, node: ast.expr | None, scope: Scope, kind: Kind, many: bool) -> str | None:
        """How one would type the default; None where the text does not tell."""
        if node is None or self._is_argparse(node, "SUPPRESS"):
            return ""
        value = self._value(node, scope)
        if isinstance(value, Unknown):
            return None
        if isinstance(value, bool):
            return str(value).lower() if kind == "onoff" else None if kind in ("int", "float") else str(value)
        if kind == "int" and isinstance(value, float):
            return str(int(value)) if value.is_integer() else None
        if not isinstance(value, tuple):
            return typed(value)
        words = [typed(v) for v in value]
        if kind in ("int", "float") and not many:
            return None
        return _joined([w for w in words if w is not None], many) if None not in words else None

    def _choices(self, node: ast.expr | None, scope: Scope, kind: Kind) -> tuple[str, ...]:
        if isinstance(node, ast.Dict) and None not in node.keys:
            node = ast.Tuple([key for key in node.keys if key], ast.Load())
        if isinstance(node, ast.Call) and is_builtin(node.func, scope) == "range" and not node.keywords:
            values = self._range([self._value(arg, scope) for arg in node.args])
        else:
            values = self._value(node, scope)
        if isinstance(values, str):
            return ()
        words = [typed(v) for v in values] if isinstance(values, tuple) and len(values) <= _MOST_CHOICES else []
        return () if kind == "other" or None in words else tuple(w for w in words if w is not None)

    def _range(self, of: list[object]) -> object:
        ends = [n for n in of if isinstance(n, int)]
        if len(ends) != len(of) or not 1 <= len(ends) <= 3 or (len(ends) == 3 and not ends[2]):
            return UNKNOWN
        return tuple(range(*ends)[: _MOST_CHOICES + 1])


def _is_name(text: str) -> bool:
    """Whether a flag may be called so here: it can be shown, and typed with a value behind it."""
    plain = bool(text.strip("-")) and len(text) <= _LONGEST_WORD and sanitize_line(text) == text
    return plain and not any(c == "=" or c.isspace() for c in text)


def _joined(words: list[str], many: bool) -> str:
    import shlex

    return shlex.join(words) if many else ",".join(words)


def _help(text: str, default: str) -> str:
    """A flag's help as argparse would show it."""
    if text == "==SUPPRESS==":
        return ""
    return shown(text[: 8 * _LONGEST_HELP].replace("%(default)s", default or "None").replace("%%", "%"), _LONGEST_HELP)
