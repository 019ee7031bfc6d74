"""What is in a file that `torch.save` wrote: names, shapes and types of its tensors. Nothing in it is executed."""

import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import IO

from msgspec import Struct

from runner.preview.pickles import Called, Named, NotAPickle, Persistent, trace_pickle

MOST_PICKLE = 4 << 20
MOST_TENSORS, MOST_DEPTH = 100_000, 16
_TYPES = {
    "Float": ("float32", 4),
    "Double": ("float64", 8),
    "Half": ("float16", 2),
    "BFloat16": ("bfloat16", 2),
    "Long": ("int64", 8),
    "Int": ("int32", 4),
    "Short": ("int16", 2),
    "Char": ("int8", 1),
    "Byte": ("uint8", 1),
    "Bool": ("bool", 1),
    "Float8_e4m3fn": ("float8_e4m3fn", 1),
    "Float8_e5m2": ("float8_e5m2", 1),
}
_SIZES = dict(_TYPES.values())


class Tensor(Struct, frozen=True):
    """One tensor: its name in the file, its shape, its type; `bytes` as its shape says."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int


class Group(Struct, frozen=True):
    """Tensors of the same name but for numbers in it, as one for each layer: how many, of which shape, how large."""

    name: str
    count: int
    shape: str
    dtype: str
    bytes: int


class NoTensors(ValueError):
    """Not a file of `torch.save`, or one that is damaged; says why."""


def read_tensors(file: IO[bytes]) -> list[Tensor]:
    """The tensors of a file, in its order. Reads the directory at its end and one pickle. Raises NoTensors, OSError."""
    try:
        with zipfile.ZipFile(file) as archive:
            inner = next((i for i in archive.infolist() if i.filename.rpartition("/")[2] == "data.pkl"), None)
            if inner is None:
                raise NoTensors("it is a zip, but not of torch")
            if inner.file_size > MOST_PICKLE:
                raise NoTensors("its index is too large")
            with archive.open(inner) as stream:
                data = stream.read(MOST_PICKLE)
        found = trace_pickle(data)
    except NotAPickle as error:
        raise NoTensors(f"its index cannot be followed: {error}") from error
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
        if isinstance(error, NoTensors):
            raise
        raise NoTensors("it is not whole, or not of torch.save") from error
    left = [MOST_TENSORS]
    return list(_tensors("", found, MOST_DEPTH, left))


def _tensors(name: str, value: object, depth: int, left: list[int]) -> Iterator[Tensor]:
    left[0] -= 1
    if depth == 0 or left[0] < 0:
        return
    if isinstance(value, Called):
        tensor = _tensor(name, value)
        if tensor:
            yield tensor
        elif value.name.endswith("_rebuild_parameter") and value.args:
            yield from _tensors(name, value.args[0], depth - 1, left)
    elif isinstance(value, dict):
        for key, inside in value.items():
            yield from _tensors(f"{name}.{key}"[-200:] if name else key, inside, depth - 1, left)
    elif isinstance(value, list | tuple):
        for number, inside in enumerate(value):
            yield from _tensors(f"{name}.{number}"[-200:] if name else str(number), inside, depth - 1, left)


def _tensor(name: str, called: Called) -> Tensor | None:
    if not called.name.startswith("torch._utils._rebuild_tensor") or len(called.args) < 3:
        return None
    storage, _, shape = called.args[:3]
    if not isinstance(storage, Persistent) or not isinstance(shape, tuple):
        return None
    if not all(isinstance(n, int) and 0 <= n < 1 << 48 for n in shape) or len(shape) > 16:
        return None
    id_ = storage.id if isinstance(storage.id, tuple) else ()
    kind = id_[1].name if len(id_) > 1 and isinstance(id_[1], Named) else ""
    dtype, size = _TYPES.get(kind.rpartition(".")[2].removesuffix("Storage"), ("", 1))
    told = next((a.name.removeprefix("torch.") for a in called.args[3:] if isinstance(a, Named)), "")
    if told in _SIZES:
        dtype, size = told, _SIZES[told]
    count = 1
    for n in shape:
        count *= n
    return Tensor(name or "tensor", shape, dtype or "unknown", count * size)


def groups(tensors: list[Tensor]) -> list[Group]:
    """Tensors with the same name but for its numbers, the largest group first."""
    found: dict[tuple[str, str], list[Tensor]] = {}
    number = re.compile(r"(?:(?<=\.)|^)\d+(?=\.|$)")
    for tensor in tensors:
        found.setdefault((number.sub("*", tensor.name), tensor.dtype), []).append(tensor)
    made = []
    for (name, dtype), several in found.items():
        shapes = {t.shape for t in several}
        shape = "×".join(f"{n:,}" for n in several[0].shape) or "one number"
        made.append(
            Group(name, len(several), shape if len(shapes) == 1 else "several", dtype, sum(t.bytes for t in several))
        )
    return sorted(made, key=lambda g: (-g.bytes, g.name))
