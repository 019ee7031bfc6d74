"""Packages of nobody, an index that has them, and projects that ask for them: what uv works on in tests."""

import contextlib
import functools
import http.server
import os
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

UV = (sys.executable, "-m", "uv")
# Packages that the index has, each in two releases.
NAMES = ("nt-alpha", "nt-beta")
BACKEND = """
import os, pathlib, sys, time, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    {before}
    name = "{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder, name), "w") as wheel:
        wheel.write("{module}.py", "{module}.py")
        info = "{module}-{version}.dist-info"
        wheel.writestr(info + "/METADATA", "Metadata-Version: 2.1\\nName: {name}\\nVersion: {version}\\n")
        wheel.writestr(info + "/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        names = ["{module}.py", *(info + name for name in ("/METADATA", "/WHEEL", "/RECORD"))]
        wheel.writestr(info + "/RECORD", "".join(name + ",,\\n" for name in names))
    return name

build_editable = build_wheel
"""


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        return


@contextlib.contextmanager
def index(folder: Path) -> Iterator[str]:
    """The address of an index with two releases of each package; a lock would have one on the disk by its path."""
    for name in NAMES:
        (folder / name).mkdir(parents=True)
        wheels = [wheel(folder / name, name, version) for version in ("1.0", "2.0")]
        links = "".join(f'<a href="{path.name}">{path.name}</a>\n' for path in wheels)
        (folder / name / "index.html").write_text(f"<!DOCTYPE html><html><body>{links}</body></html>")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=folder)) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def wheel(folder: Path, name: str, version: str) -> Path:
    """A package of one module, which says its version."""
    module = name.replace("-", "_")
    path, info = folder / f"{module}-{version}-py3-none-any.whl", f"{module}-{version}.dist-info"
    files = {
        f"{module}/__init__.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{file},,\n" for file in (*files, f"{info}/RECORD"))
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(file, text)
    return path


def project(folder: Path, index: str, *wanted: str, more: str = "", lock: bool = True) -> Path:
    """Files of a project that asks for these packages, two of them by the extra that a GPU's image has."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pyproject.toml").write_text(
        f"""[project]
name = "nanochat"
version = "0.1.0"
requires-python = ">=3.10"
dependencies = {[w for w in wanted if not w.startswith("gpu:")]}

[project.optional-dependencies]
gpu = {[w.removeprefix("gpu:") for w in wanted if w.startswith("gpu:")]}

[[tool.uv.index]]
url = "{index}"
default = true

{more}
"""
    )
    if lock:
        uv(folder, "lock", "--quiet", "--python", sys.executable)
    return folder


def folder_package(folder: Path, name: str, version: str, *, before: str = "pass") -> None:
    """A package that is built from a folder by a backend of its own, which does something `before`."""
    module = name.replace("-", "_")
    folder.mkdir(parents=True)
    (folder / f"{module}.py").write_text(f"VERSION = {version!r}\n")
    (folder / "build_it.py").write_text(BACKEND.format(name=name, module=module, version=version, before=before))
    (folder / "pyproject.toml").write_text(
        f'[project]\nname = "{name}"\nversion = "{version}"\nrequires-python = ">=3.10"\n'
        '[build-system]\nrequires = []\nbuild-backend = "build_it"\nbackend-path = ["."]\n'
    )


def python_with(folder: Path, index: str, *packages: str) -> Path:
    """A Python of its own that has these packages, as an image has."""
    uv(folder.parent, "venv", "--quiet", "--no-project", "--python", sys.executable, str(folder))
    python = folder / "bin" / "python"
    uv(
        folder.parent,
        "pip",
        "install",
        "--quiet",
        "--python",
        str(python),
        "--default-index",
        index,
        *packages,
    )
    return python


def uv(folder: Path, *words: str) -> None:
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    subprocess.run([*UV, *words], cwd=folder, env=kept, check=True)
