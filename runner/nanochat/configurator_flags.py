"""Flags of a script from before argparse: constants of its module, which `nanochat/configurator.py` sets. Pure."""

import ast
from collections.abc import Iterator
from typing import Any

from runner.nanochat.argparse_flags import read as read_argparse
from runner.nanochat.argument_calls import shown, typed
from runner.nanochat.flags import Flag, Kind, ScriptFlags
from runner.nanochat.python_source import Constants, Scope, Unknown, scoped

_LONGEST_HELP = 500
_KINDS: dict[type, Kind] = {bool: "onoff", int: "int", float: "float", str: "str"}
# Names that a stranger may set by hand, and no setting: what the settings are called, what was set.
_NO_VALUES = (ast.ListComp, ast.DictComp, ast.SetComp, ast.GeneratorExp, ast.Lambda)


def read(source: str, tree: ast.Module) -> ScriptFlags | None:
    """What may be set before the configurator runs; None where the module runs none."""
    at = next((i for i, statement in enumerate(tree.body) if _runs_configurator(statement)), None)
    if at is None:
        return None
    before = tree.body[:at]
    lines = source.removeprefix("\ufeff").splitlines()
    # A name counts as what it is at that moment, so each value is worked out from those before it.
    scope, constants, found, is_open = Scope(tree, None), Constants(), dict[str, Flag](), False
    for statement in before:
        pairs = list(_assigned(statement))
        is_open |= not pairs and _binds_in_a_block(statement)
        for name, node in pairs:
            value = constants.value(node, scope)
            found.pop(name, None)
            constants = Constants()
            known: Any = ... if isinstance(value, Unknown) else value
            scope.bound[name], scope.values[name] = 1, ast.Constant(known)
            flag = None if name.startswith("_") else _flag(name, value, _comment(lines, statement))
            if flag:
                found[name] = flag
            is_open |= isinstance(value, Unknown) and not isinstance(node, _NO_VALUES)
    return ScriptFlags(tuple(found.values()), is_open or read_argparse(tree).style != "none", "configurator")


def _runs_configurator(statement: ast.stmt) -> bool:
    call = statement.value if isinstance(statement, ast.Expr) else None
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.func.id != "exec":
        return False
    texts = [n.value for n in ast.walk(call) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    return any(text.endswith("configurator.py") for text in texts)


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr | None]]:
    """Names that a statement gives a value, and the value; None for one that the text does not tell."""
    if isinstance(statement, ast.AnnAssign | ast.AugAssign):
        if isinstance(statement.target, ast.Name) and statement.value:
            yield statement.target.id, statement.value if isinstance(statement, ast.AnnAssign) else None
    elif isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, statement.value
            elif isinstance(target, ast.Tuple | ast.List):
                values = statement.value.elts if isinstance(statement.value, ast.Tuple | ast.List) else []
                same = len(values) == len(target.elts)
                for i, part in enumerate(target.elts):
                    if isinstance(part, ast.Name):
                        yield part.id, values[i] if same else None


def _binds_in_a_block(statement: ast.stmt) -> bool:
    """Whether a block, as of `if`, gives values to names of the module."""
    if not isinstance(statement, ast.If | ast.For | ast.While | ast.With | ast.Try | ast.Match):
        return False
    module = ast.Module([statement], [])
    return any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store) and scope.parent is None
        for node, scope in scoped(module)
    )


def _flag(name: str, value: object, comment: str) -> Flag | None:
    if isinstance(value, Unknown):
        return None
    kind = _KINDS.get(type(value), "other")
    text = typed(repr(value) if isinstance(value, tuple) else value)
    default = (text or "").lower() if kind == "onoff" else text or ""
    return Flag(name, (f"--{name}",), kind, default, text is not None, help=comment, literal=True)


def _comment(lines: list[str], statement: ast.stmt) -> str:
    """What is remarked behind a statement, on its last line."""
    line = lines[(statement.end_lineno or 1) - 1 : statement.end_lineno]
    rest = line[0].encode()[statement.end_col_offset :].decode("utf-8", "replace").strip() if line else ""
    return shown(rest.lstrip("# "), _LONGEST_HELP) if rest.startswith("#") else ""
