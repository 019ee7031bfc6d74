"""Flags of a script that uses argparse: what it adds to its parsers, and whether others may add more. Pure."""

import ast
from collections.abc import Iterator

from runner.nanochat.argument_calls import MOST_FLAGS, Arguments
from runner.nanochat.flags import ScriptFlags
from runner.nanochat.python_source import Scope, scoped

_GROUPS = ("add_argument_group", "add_mutually_exclusive_group")
_PARSES = ("parse_args", "parse_intermixed_args")
# Where the script itself lets flags through that its parser does not know, or has others for each command.
_LETS_MORE = (
    "parse_known_args",
    "parse_known_intermixed_args",
    "add_subparsers",
    "_add_action",
    "_add_container_actions",
)
# How often a parser may go on to another name, or a function be defined anew.
_MOST_PASSES = 12

Place = tuple[Scope, str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def read(tree: ast.Module) -> ScriptFlags:
    """The flags that a file adds to parsers of argparse; style "none" and open where it has nothing to do with any."""
    return _File(tree).flags()


_NOTED = frozenset({
    ast.Name, ast.Attribute, ast.Call, ast.Assign, ast.AnnAssign, ast.NamedExpr, ast.Return, ast.arguments,
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom,
})  # fmt: skip


class _File:
    """What of a file has to do with argparse, found in one walk."""

    def __init__(self, tree: ast.Module) -> None:
        self.calls: list[tuple[ast.Call, Scope]] = []
        self.given: list[tuple[ast.expr, ast.expr, Scope]] = []
        self.returned: list[tuple[ast.expr, Scope]] = []
        self.functions: dict[str, list[Function]] = {}
        self.inside: dict[ast.AST, Scope] = {}
        self.classes: list[tuple[ast.ClassDef, Scope]] = []
        self.names: list[tuple[ast.Name | ast.Attribute, Scope]] = []
        self.imported: dict[str, str] = {}
        # Nodes whose attribute is taken: `parser` in `parser.add_argument`.
        self.asked: set[ast.expr] = set()
        for node, scope in scoped(tree):
            if type(node) in _NOTED:
                self._note(node, scope)
        self.parsers: set[Place] = set()
        self.adders: set[Place] = set()
        self.makers: set[str] = set()
        self.parser_classes: set[str] = {"ArgumentParser"}

    def _note(self, node: ast.AST, scope: Scope) -> None:
        self.inside[scope.node] = scope
        if isinstance(node, ast.Name):
            if isinstance(node.ctx, ast.Load):
                self.names.append((node, scope))
        elif isinstance(node, ast.Attribute):
            self.asked.add(node.value)
            self.names.append((node, scope))
        elif isinstance(node, ast.Call):
            self.calls.append((node, scope))
        elif isinstance(node, ast.Assign):
            self.given += [(target, node.value, scope) for target in node.targets]
        elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and node.value:
            self.given.append((node.target, node.value, scope))
        elif isinstance(node, ast.Return) and node.value:
            self.returned.append((node.value, scope))
        elif isinstance(node, Function):
            self.functions.setdefault(node.name, []).append(node)
        elif isinstance(node, ast.ClassDef):
            self.classes.append((node, scope))
        elif isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if isinstance(node, ast.Import) and alias.name == "argparse":
                    self.imported[alias.asname or alias.name] = "argparse"
                elif isinstance(node, ast.ImportFrom) and node.module == "argparse":
                    self.imported[alias.asname or alias.name] = f"argparse.{alias.name}"

    def flags(self) -> ScriptFlags:
        """All that is added, in the order of the text."""
        followed = self._follow_parsers()
        methods = [(call, call.func, scope) for call, scope in self.calls if isinstance(call.func, ast.Attribute)]
        adding = [
            (call, scope, self._is_parser(of.value, scope)) for call, of, scope in methods if of.attr == "add_argument"
        ]
        adding += [(call, scope, True) for call, scope in self.calls if self._place(call.func, scope) in self.adders]
        adding.sort(key=lambda found: (found[0].lineno, found[0].col_offset))
        made = [call for call, scope in self.calls if self._makes_parser(call, scope)]
        parses = [self._is_parser(of.value, scope) for _, of, scope in methods if of.attr in _PARSES]
        if not adding and not made and not parses:
            return ScriptFlags(open=True, style="none")
        is_open = (
            not (made and followed)
            or not all(parses)
            or not all(known for _, _, known in adding)
            or any(of.attr in _LETS_MORE for _, of, _ in methods)
            or any(k.arg in (None, "prefix_chars") for call in made for k in call.keywords)
            or self._handed_on()
            or len(adding) > MOST_FLAGS
        )
        reader = Arguments(self.is_argparse)
        for call, scope, _ in adding[:MOST_FLAGS]:
            is_open |= not reader.add(call, scope)
        if any(k.arg == "argument_default" for call in made for k in call.keywords):
            reader.forget_defaults(unless_said=True)
        for call, of, scope in methods:
            if of.attr == "set_defaults" and self._is_parser(of.value, scope):
                reader.set_defaults(call, scope)
        return ScriptFlags(tuple(reader.found), is_open)

    def _follow_parsers(self) -> bool:
        """Find names of parsers: assigned, returned by functions here, given to them; False where that goes too far."""
        for node, _ in self.classes:
            if any(isinstance(b, ast.Name | ast.Attribute) and _last(b) == "ArgumentParser" for b in node.bases):
                self.parser_classes.add(node.name)
        for _ in range(_MOST_PASSES):
            known = len(self.parsers), len(self.makers), len(self.adders)
            for target, value, scope in self.given:
                place = self._place(target, scope)
                if place and self._is_parser(value, scope):
                    self.parsers.add(place)
                elif place and self._is_adding(value, scope):
                    self.adders.add(place)
            for value, scope in self.returned:
                if isinstance(scope.node, Function) and self._is_parser(value, scope):
                    self.makers.add(scope.node.name)
            for call, scope in self.calls:
                self.parsers.update(place for _, place in self._given_to_functions(call, scope))
            if known == (len(self.parsers), len(self.makers), len(self.adders)):
                return True
        return False

    def _given_to_functions(self, call: ast.Call, scope: Scope) -> Iterator[tuple[ast.expr, Place]]:
        """Parsers that a call gives to a function of this file, each with the name that it has in there."""
        functions = self.functions.get(call.func.id, ()) if isinstance(call.func, ast.Name) else ()
        for function in functions if len(functions) <= _MOST_PASSES else ():
            inner = self.inside.get(function)
            names = [arg.arg for arg in (*function.args.posonlyargs, *function.args.args)]
            by_place = (
                [] if any(isinstance(a, ast.Starred) for a in call.args) else list(zip(names, call.args, strict=False))
            )
            keywords = [arg.arg for arg in (*function.args.args, *function.args.kwonlyargs)]
            by_name = [(k.arg, k.value) for k in call.keywords if k.arg in keywords]
            for name, value in (*by_place, *by_name):
                if inner and name and self._is_parser(value, scope):
                    yield value, (inner, name)

    def _place(self, node: ast.expr, scope: Scope) -> Place | None:
        """The name that a value has, with the scope it belongs to; attributes of names by their path."""
        path: list[str] = []
        while isinstance(node, ast.Attribute) and len(path) < 5:
            path.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return scope.owner(node.id), ".".join((node.id, *reversed(path)))

    def _makes_parser(self, node: ast.expr, scope: Scope) -> bool:
        if not isinstance(node, ast.Call):
            return False
        if isinstance(node.func, ast.Name):
            name = self.imported.get(node.func.id, "" if node.func.id == "ArgumentParser" else node.func.id)
            return name == "argparse.ArgumentParser" or name in self.parser_classes
        return self.is_argparse(node.func, "ArgumentParser")

    def is_argparse(self, node: ast.expr | None, name: str) -> bool:
        """Whether an expression is that name of argparse."""
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            return node.attr == name and self.imported.get(node.value.id) == "argparse"
        return isinstance(node, ast.Name) and self.imported.get(node.id) == f"argparse.{name}"

    def _is_parser(self, node: ast.expr, scope: Scope) -> bool:
        """Whether a value is a parser that this file has made, or a group of one."""
        while isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _GROUPS:
            node = node.func.value
        if isinstance(node, ast.Call):
            local = isinstance(node.func, ast.Name) and node.func.id in self.makers
            return local or self._makes_parser(node, scope)
        return self._place(node, scope) in self.parsers

    def _is_adding(self, node: ast.expr, scope: Scope) -> bool:
        """Whether a value is the method that adds to a parser."""
        return isinstance(node, ast.Attribute) and node.attr == "add_argument" and self._is_parser(node.value, scope)

    def _handed_on(self) -> bool:
        """Whether a parser goes where it is not seen what becomes of it: to code of others, into a list."""
        seen = {value for target, value, scope in self.given if self._place(target, scope)}
        seen |= {value for value, _ in self.returned}
        for call, scope in self.calls:
            seen.update(value for value, _ in self._given_to_functions(call, scope))
            if self._place(call.func, scope) in self.adders or self._is_adding(call.func, scope):
                seen.add(call.func)
            if self._makes_parser(call, scope):
                for parents in [k.value for k in call.keywords if k.arg == "parents"]:
                    parts = parents.elts if isinstance(parents, ast.List | ast.Tuple) else [parents]
                    if not all(self._is_parser(part, scope) for part in parts):
                        return True
                    seen.update(parts)
        for call, scope in self.calls:
            values = [*call.args, *(k.value for k in call.keywords)]
            if any(isinstance(v, ast.Call) and v not in seen and self._is_parser(v, scope) for v in values):
                return True
        ours = self.parsers | self.adders
        last = {name.rpartition(".")[2] for _, name in ours} | {"add_argument"}
        for node, scope in self.names:
            if _last(node) not in last or node in seen or (node in self.asked and not isinstance(node, ast.Attribute)):
                continue
            if self._is_adding(node, scope):
                return True
            if node not in self.asked and isinstance(node.ctx, ast.Load) and self._place(node, scope) in ours:
                return True
        return False


def _last(node: ast.Name | ast.Attribute) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr
