"""What kind of thing a file is, by its name, and text by its bytes. Pure."""

from enum import StrEnum

from runner.model import identifiers
from runner.nanochat import layout


class Kind(StrEnum):
    """The form in which a file is shown."""

    MARKDOWN = "markdown"
    JSON = "json"
    TABLE = "table"
    TEXT = "text"
    TENSORS = "tensors"
    PICKLE = "pickle"
    PARQUET = "parquet"
    IMAGE = "image"
    CURVE = "curve"
    BINARY = "binary"


_ENDINGS = {
    Kind.MARKDOWN: (".md", ".markdown"),
    Kind.JSON: (".json",),
    Kind.TABLE: (".csv", ".tsv"),
    Kind.TENSORS: (".pt", ".pth"),
    Kind.PICKLE: (".pkl", ".pickle"),
    Kind.PARQUET: (".parquet",),
    Kind.IMAGE: (".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp"),
    Kind.BINARY: (".bin", ".zip", ".gz", ".zst", ".tar", ".npy", ".npz", ".safetensors", ".times"),
}


def kind_of(path: str) -> Kind:
    """By the name alone; whatever is not known is text until its bytes say otherwise."""
    name = path.rpartition("/")[2].lower()
    if name == layout.CURVE_FILE and path.startswith(f"{identifiers.RUNS}/"):
        return Kind.CURVE
    return next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), Kind.TEXT)


def is_text(data: bytes) -> bool:
    """Whether the beginning of a file is text: no NUL, and few bytes that are no UTF-8."""
    if b"\0" in data:
        return False
    return data.decode("utf-8", "replace").count("\ufffd") <= 1 + len(data) // 50
