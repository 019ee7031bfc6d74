"""Python that somebody wrote, as a tree: read, with its plain constants worked out, and never run. Pure."""

import ast
import operator
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

# A script of nanochat has 40 thousand characters; each becomes up to a kilobyte of tree.
LONGEST_SOURCE = 300_000
_LONGEST_TEXT = 10_000
_LONGEST_LIST = 1000
_MOST_BITS = 1024
_DEEPEST = 60
# Warnings are muted for the whole process, so one at a time.
_PARSING = threading.Lock()


class Unparsable(SyntaxError):
    """Text that cannot be read for another reason than its grammar: too long, nested too deep, with NUL in it."""


class Unknown:
    """A value that only running the script would tell."""


UNKNOWN: Final = Unknown()


def parse(source: str) -> ast.Module:
    """The tree of a script. SyntaxError where it does not compile, `Unparsable` where it cannot even be tried."""
    source = source.removeprefix("\ufeff")
    if len(source) > LONGEST_SOURCE:
        raise Unparsable(f"is longer than {LONGEST_SOURCE} characters")
    if "\0" in source:
        raise Unparsable("has a NUL character in it")
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(source)
    except (RecursionError, MemoryError):
        raise Unparsable("is nested too deep") from None
    except UnicodeEncodeError:
        raise Unparsable("has half of a character in it") from None


def is_literal(text: str) -> bool:
    """Whether Python's literal reader makes something of a text, be it too much for it."""
    try:
        with _PARSING, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return False
    except (RecursionError, MemoryError, TypeError):
        return True
    return True


class Scope:
    """A module, function, class, lambda or comprehension: what it binds how often, and to what if plainly assigned."""

    def __init__(self, node: ast.AST, parent: "Scope | None") -> None:
        self.node, self.parent = node, parent
        self.bound: Counter[str] = Counter()
        self.values: dict[str, ast.expr] = {}
        self.elsewhere: set[str] = set()

    def owner(self, name: str) -> "Scope":
        """The scope that a name here belongs to; the module for what nobody binds."""
        scope = self
        while scope.parent and (name in scope.elsewhere or not scope.bound[name]):
            scope = scope.parent
        return scope


_SCOPES = frozenset({
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda,
    ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp,
})  # fmt: skip
_BINDING = frozenset({
    ast.Name, ast.arg, ast.alias, ast.ExceptHandler, ast.MatchAs, ast.MatchStar,
    ast.Global, ast.Nonlocal, ast.Assign, ast.AnnAssign, ast.NamedExpr,
})  # fmt: skip
# Fields whose nodes say nothing by themselves.
_BARE = ("ctx", "op")


def scoped(tree: ast.Module) -> Iterator[tuple[ast.AST, Scope]]:
    """Every node but constants with its scope, in no order; what scopes bind is complete after the last."""
    module = Scope(tree, None)
    left: list[tuple[ast.AST, Scope]] = [(tree, module)]
    while left:
        node, scope = left.pop()
        inner, kind = scope, type(node)
        if kind is ast.Constant:
            continue
        yield node, scope
        if kind in _SCOPES:
            inner = Scope(node, scope)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                scope.bound[node.name] += 1
        elif kind in _BINDING:
            _bind(node, scope, module)
            if kind is ast.Name:
                continue
        for name in kind._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                left += [(v, inner) for v in value if isinstance(v, ast.AST)]
            elif isinstance(value, ast.AST) and name not in _BARE:
                left.append((value, inner))


def _bind(node: ast.AST, scope: Scope, module: Scope) -> None:
    if isinstance(node, ast.Name):
        if not isinstance(node.ctx, ast.Load):
            scope.bound[node.id] += 1
    elif isinstance(node, ast.arg):
        scope.bound[node.arg] += 1
    elif isinstance(node, ast.alias):
        scope.bound[(node.asname or node.name).partition(".")[0]] += 1
    elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
        scope.bound[node.name] += 1
    elif isinstance(node, ast.Global | ast.Nonlocal):
        scope.elsewhere.update(node.names)
        # Who else sets it is not followed, so it is nobody's constant.
        for name in node.names:
            module.bound[name] += 2
    elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
        scope.values[node.targets[0].id] = node.value
    elif isinstance(node, ast.AnnAssign | ast.NamedExpr) and isinstance(node.target, ast.Name) and node.value:
        scope.values[node.target.id] = node.value


_ON_NUMBERS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv, ast.Mod: operator.mod, ast.Pow: operator.pow, ast.LShift: operator.lshift,
    ast.RShift: operator.rshift, ast.BitOr: operator.or_, ast.BitAnd: operator.and_, ast.BitXor: operator.xor,
}  # fmt: skip
_ON_ONE: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert, ast.Not: operator.not_,
}  # fmt: skip


class Constants:
    """Works out values that are plain in the text: literals, sums of them, names that are given one once."""

    def __init__(self) -> None:
        self._done: dict[tuple[Scope, str], object] = {}

    def value(self, node: ast.expr | None, scope: Scope, depth: int = 0) -> object:
        """None, a bool, number, str, or a tuple of those; UNKNOWN for anything else."""
        if depth > _DEEPEST or node is None:
            return UNKNOWN
        found: object = UNKNOWN
        if isinstance(node, ast.Constant):
            found = node.value
        elif isinstance(node, ast.Name):
            found = self._name(node.id, scope, depth)
        elif isinstance(node, ast.UnaryOp | ast.BinOp):
            found = self._sum(node, scope, depth)
        elif isinstance(node, ast.Tuple | ast.List | ast.Set):
            parts = node.elts if len(node.elts) <= _LONGEST_LIST else [None]
            values = tuple(self.value(part, scope, depth + 1) for part in parts)
            return UNKNOWN if any(isinstance(v, Unknown | tuple) for v in values) else values
        elif isinstance(node, ast.JoinedStr):
            found = self._joined(node, scope, depth)
        elif isinstance(node, ast.Call):
            found = self._made_number(node, scope, depth)
        return found if _is_small(found) else UNKNOWN

    def _name(self, name: str, scope: Scope, depth: int) -> object:
        owner = scope.owner(name)
        if (owner, name) not in self._done:
            self._done[owner, name] = UNKNOWN
            if owner.bound[name] == 1 and not owner.bound["*"]:
                self._done[owner, name] = self.value(owner.values.get(name), owner, depth + 1)
        return self._done[owner, name]

    def _sum(self, node: ast.UnaryOp | ast.BinOp, scope: Scope, depth: int) -> object:
        if isinstance(node, ast.UnaryOp):
            one = self.value(node.operand, scope, depth + 1)
            return _tried(_ON_ONE[type(node.op)], one) if isinstance(one, bool | int | float) else UNKNOWN
        left, right = (self.value(side, scope, depth + 1) for side in (node.left, node.right))
        if isinstance(node.op, ast.Add) and isinstance(left, str) and isinstance(right, str):
            return left + right
        if not isinstance(left, int | float) or not isinstance(right, int | float) or type(node.op) not in _ON_NUMBERS:
            return UNKNOWN
        if isinstance(node.op, ast.Pow | ast.LShift) and abs(right) > _MOST_BITS:
            return UNKNOWN
        return _tried(_ON_NUMBERS[type(node.op)], left, right)

    def _joined(self, node: ast.JoinedStr, scope: Scope, depth: int) -> object:
        parts = []
        for part in node.values:
            plain = isinstance(part, ast.FormattedValue) and part.conversion == -1 and part.format_spec is None
            value = self.value(part.value if isinstance(part, ast.FormattedValue) and plain else part, scope, depth + 1)
            parts.append(value)
            if not isinstance(value, str) or len(parts) > _LONGEST_LIST:
                return UNKNOWN
        return "".join(str(part) for part in parts)

    def _made_number(self, node: ast.Call, scope: Scope, depth: int) -> object:
        made = is_builtin(node.func, scope)
        if made not in ("int", "float") or len(node.args) != 1 or node.keywords:
            return UNKNOWN
        of = self.value(node.args[0], scope, depth + 1)
        return _tried(int if made == "int" else float, of) if isinstance(of, int | float | str) else UNKNOWN


def is_builtin(node: ast.expr, scope: Scope) -> str:
    """The name of a builtin that an expression plainly is, "" for any other."""
    if not isinstance(node, ast.Name):
        return ""
    owner = scope.owner(node.id)
    return "" if owner.bound[node.id] or owner.bound["*"] else node.id


def _tried(make: Callable[..., object], *values: object) -> object:
    try:
        return make(*values)
    except (ArithmeticError, ValueError, TypeError):
        return UNKNOWN


def _is_small(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _LONGEST_TEXT
    if isinstance(value, int):
        return value.bit_length() <= _MOST_BITS
    return value is None or isinstance(value, float | Unknown | tuple)
