"""The shape of a pickle without loading it: its operations are followed, and everything that would be called is a name.

A class or function is only ever a `Named`; what it would be called with is kept beside it. Nothing is imported.
"""

import pickletools
from typing import Any

MOST_OPS, MOST_NAME = 300_000, 200
_MARK = object()


class NotAPickle(ValueError):
    """The bytes are no pickle, or one that does things that are not followed here."""


class Named:
    """A class or function by its name."""

    def __init__(self, name: str) -> None:
        self.name = name


class Called:
    """A call that a pickle asks for, and that is not made: the name of the function, and its arguments."""

    def __init__(self, name: str, args: tuple[Any, ...]) -> None:
        self.name, self.args = name, args


class Persistent:
    """Something that is kept outside the pickle: a storage of a tensor."""

    def __init__(self, id_: object) -> None:
        self.id = id_


_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_TUPLE": tuple}
_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_LITERAL = frozenset(
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE "
    "SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8".split()
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def since_mark(self) -> list[Any]:
        found = []
        while (top := self.stack.pop()) is not _MARK:
            found.append(top)
        return found[::-1]

    def step(self, name: str, arg: Any) -> None:
        stack = self.stack
        if name in _LITERAL:
            stack.append(arg)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name == "MARK":
            stack.append(_MARK)
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(arg)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(arg)])
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(stack[-count:])]
        elif name in ("TUPLE", "LIST"):
            items = self.since_mark()
            stack.append(tuple(items) if name == "TUPLE" else items)
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("POP", "POP_MARK"):
            self.since_mark() if name == "POP_MARK" else stack.pop()
        else:
            self.fill_or_call(name, arg)

    def fill_or_call(self, name: str, arg: Any) -> None:
        stack = self.stack
        if name == "APPEND":
            self.extend([stack.pop()])
        elif name in ("APPENDS", "ADDITEMS"):
            self.extend(self.since_mark())
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self.set_items([key, value])
        elif name == "SETITEMS":
            self.set_items(self.since_mark())
        elif name == "DICT":
            items = self.since_mark()
            stack.append({})
            self.set_items(items)
        elif name == "GLOBAL":
            stack.append(Named(str(arg)[:MOST_NAME].replace(" ", ".")))
        elif name == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            if not isinstance(module, str) or not isinstance(attribute, str):
                raise NotAPickle("a name in it is no text")
            stack.append(Named(f"{module[:MOST_NAME]}.{attribute[:MOST_NAME]}"))
        elif name in ("REDUCE", "NEWOBJ"):
            args, called = stack.pop(), stack.pop()
            stack.append(_called(called, args))
        elif name == "NEWOBJ_EX":
            _, args, called = stack.pop(), stack.pop(), stack.pop()
            stack.append(_called(called, args))
        elif name == "BUILD":
            stack.pop()
        elif name == "BINPERSID":
            stack.append(Persistent(stack.pop()))
        elif name == "PERSID":
            stack.append(Persistent(arg))
        elif name not in _IGNORED:
            raise NotAPickle(f"it uses {name}")

    def extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)

    def set_items(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            for key, value in zip(items[::2], items[1::2], strict=True):
                # Keys as text: numbers could be chosen so that all fall together.
                if isinstance(key, str):
                    target[key[:MOST_NAME]] = value
                elif isinstance(key, int | float | None) and not (isinstance(key, int) and key.bit_length() > 64):
                    target[str(key)] = value


def _called(called: object, args: object) -> object:
    name = called.name if isinstance(called, Named) else "something"
    if name == "collections.OrderedDict":
        return {}
    return Called(name, args if isinstance(args, tuple) else ())


def trace_pickle(data: bytes) -> object:
    """What a pickle would build, with `Called` in the place of everything that is not plain data. Raises NotAPickle."""
    machine = _Machine()
    try:
        for count, (op, arg, _) in enumerate(pickletools.genops(data)):
            if count > MOST_OPS:
                raise NotAPickle("it is too long")
            machine.step(op.name, arg)
        return machine.stack[-1]
    except NotAPickle:
        raise
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError) as error:
        raise NotAPickle(f"it is damaged ({type(error).__name__})") from error
