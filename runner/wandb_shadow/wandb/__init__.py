"""Stands in front of the real wandb: whatever a training logs is a line in a file, which another process sends.

Pure standard library, Python 3.10 or newer, as it runs inside nanochat's Python. The real package is loaded in its
place, and only what would start a run is ours. Nothing here opens a connection, starts a process or a thread, touches a
signal or the console, or raises: a training never waits for Weights & Biases.
"""

import atexit
import contextlib
import importlib
import json
import os
import sys
import time

_FOLDER = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
# Of lists and texts that are logged; a longer one is not a number of a training.
_LONGEST = 1000


def _is_master():
    return os.environ.get("RANK", "0") in ("", "0")


def _say(text):
    """One line for the log of the run, from one rank alone."""
    if _is_master():
        with contextlib.suppress(Exception):
            print(f"[WANDB] {text}", flush=True)


class _Nothing:
    """Takes whatever is done with it, and does nothing."""

    def __call__(self, *args, **kwargs):
        return self

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __setattr__(self, name, value):
        pass

    def __getitem__(self, key):
        return self

    def __setitem__(self, key, value):
        pass

    def __iter__(self):
        return iter(())

    def __len__(self):
        return 0

    def __str__(self):
        return ""

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        return None


def _plain(value, depth=0):
    """A value as JSON has it. Raises TypeError for what is none: a picture, a table, a tensor of many numbers."""
    if value is None or isinstance(value, bool):
        return value
    for kind in (int, float):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, str):
        return str(value)[: _LONGEST * 10]
    if depth < 8 and isinstance(value, dict):
        return {str(key): _plain(one, depth + 1) for key, one in value.items()}
    if depth < 8 and isinstance(value, (list, tuple)) and len(value) <= _LONGEST:
        return [_plain(one, depth + 1) for one in value]
    if getattr(value, "ndim", None) == 0 and hasattr(value, "item"):
        return _plain(value.item(), depth + 1) if depth < 8 else None
    raise TypeError(type(value).__name__)


def _settings(config):
    """A config of any shape as a dict; what has no plain value is its text."""
    found = {}
    given = config if isinstance(config, dict) else getattr(config, "__dict__", {})
    for key, value in given.items():
        try:
            found[str(key)] = _plain(value)
        except Exception:
            with contextlib.suppress(Exception):
                found[str(key)] = str(value)[:200]
    return found


class _Recorded(dict):
    """`run.config` and `run.summary`: keys as items or as attributes, each change a line."""

    def __init__(self, write):
        super().__init__()
        object.__setattr__(self, "_write", write)

    def __setitem__(self, key, value):
        self.update({key: value})

    def __setattr__(self, name, value):
        self.update({name: value})

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def update(self, *given, **more):
        more.pop("allow_val_change", None)
        with contextlib.suppress(Exception):
            changed = {}
            for one in given[:1]:
                changed.update(one if isinstance(one, dict) else vars(one))
            changed.update(more)
            for key, value in changed.items():
                dict.__setitem__(self, key, value)
            self._write(_settings(changed))

    def setdefault(self, key, default=None):
        if key not in self:
            self[key] = default
        return self[key]


class Run:
    """What `wandb.init` returns: each call of `log` is one line of JSON, written before it returns."""

    def __init__(self, folder, facts, config):
        self.id, self.name = facts.get("id"), facts.get("name")
        self.project, self.entity, self.group = facts.get("project"), facts.get("entity"), facts.get("group")
        self.dir, self.url, self.resumed, self.disabled = folder, None, False, False
        self.step = 0
        self._file, self._torn, self._told, self._ended = None, False, False, False
        # Whether the code tells its steps; else each call is a step, as with wandb.
        self._has_steps = False
        try:
            if _is_master() and folder:
                os.makedirs(folder, exist_ok=True)
                name = f"{self.id}.{time.time_ns():020}-{os.getpid()}.jsonl"
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0)
                self._file = os.open(os.path.join(folder, name), flags, 0o644)
        except Exception as error:
            self._failed(error)
        self.config = _Recorded(lambda changed: self._write({"config": changed}))
        self.summary = _Recorded(lambda changed: self._write({"summary": changed}))
        started = _settings(config)
        dict.update(self.config, started)
        self._write({"init": facts, "config": started})
        atexit.register(self._leave)

    def log(self, data=None, step=None, commit=None, sync=None):
        """Write down one row; never raises, never waits for anything but the local disk."""
        try:
            row, left_out = {}, []
            for key, value in dict(data or {}).items():
                try:
                    row[str(key)] = _plain(value)
                except Exception as error:
                    left_out.append(f"{str(key)[:40]} ({type(value).__name__ or error})")
            if left_out:
                self._once(f"only numbers and texts are logged: not {', '.join(left_out[:5])}")
            given = step if step is not None else row.get("step")
            number = isinstance(given, (int, float)) and not isinstance(given, bool)
            if number and abs(given) < 2**53 and given == int(given):
                self._has_steps, self.step = True, int(given)
            self._write({"log": row, "step": self.step})
            if not self._has_steps and commit is not False:
                self.step += 1
        except Exception as error:
            self._failed(error)

    def finish(self, exit_code=None, quiet=None):
        """Write down that all is logged."""
        if not self._ended:
            self._ended = True
            self._write({"finish": exit_code if isinstance(exit_code, int) else 0})

    def _leave(self):
        # As wandb does, where the code does not say that it is done.
        if getattr(sys, "last_value", None) is None:
            self.finish()

    def __enter__(self):
        return self

    def __exit__(self, kind, *raised):
        self.finish(0 if kind is None else 1)

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return _Nothing()

    def _write(self, record):
        if self._file is None:
            return
        try:
            line = json.dumps({**record, "time": round(time.time(), 3)}).encode() + b"\n"
            # What a full disk has cut is closed, so that the next line is whole.
            line = b"\n" + line if self._torn else line
            self._torn = True
            self._torn = os.write(self._file, line) != len(line)
            if self._torn:
                raise OSError("the disk is full")
        except Exception as error:
            self._failed(error)

    def _failed(self, error):
        self._once(f"not everything is logged: {type(error).__name__}: {str(error)[:200]}")

    def _once(self, text):
        if not self._told:
            self._told = True
            _say(" ".join(text.split()))


_current = None


def init(
    project=None, entity=None, name=None, config=None, group=None, tags=None, notes=None, job_type=None, *args, **more
):
    """Begin to write down what is logged, in the place of `wandb.init`; never raises."""
    global _current
    if _current is not None and not _current._ended:
        if config:
            _current.config.update(config)
        return _current
    env = os.environ.get
    asked = {
        "id": env("WANDB_RUN_ID") or more.get("id") or "run",
        "project": env("NANOCHAT_TUI_WANDB_PROJECT") or project or env("WANDB_PROJECT"),
        "entity": entity or env("WANDB_ENTITY"),
        "name": env("WANDB_NAME") or name,
        "group": env("WANDB_RUN_GROUP") or group,
        "tags": list(tags) if isinstance(tags, (list, tuple, set)) else None,
        "notes": notes,
        "job_type": job_type,
    }
    facts = {}
    for key, value in asked.items():
        with contextlib.suppress(Exception):
            facts[key] = _plain(value)
    _current = Run(env("NANOCHAT_TUI_WANDB_DIR"), facts, config)
    if not env("NANOCHAT_TUI_WANDB_DIR"):
        _current._once("NANOCHAT_TUI_WANDB_DIR is not set: nothing is logged")
    _lead_here(sys.modules["wandb"], _current)
    return _current


def login(*args, **more):
    """Nobody signs in from a training: what sends has the key."""
    return True


def _lead_here(module, run):
    """What the module itself offers of a run."""
    for name in ("log", "finish", "config", "summary"):
        setattr(module, name, getattr(run, name))
    for name in (
        "watch",
        "unwatch",
        "save",
        "define_metric",
        "log_artifact",
        "use_artifact",
        "alert",
        "mark_preempting",
    ):
        setattr(module, name, _Nothing())
    module.run = run


def _load():
    """The real package in the place of this one; None when this Python has none that can be imported."""
    own = sys.modules.pop("wandb", None)
    sys.path[:] = [place for place in sys.path if os.path.realpath(place or os.curdir) != _FOLDER]
    try:
        real = importlib.import_module("wandb")
        # A folder of that name that is no package, as wandb leaves one in the directory it was run in.
        if not getattr(real, "__file__", None) or not hasattr(real, "init"):
            raise ModuleNotFoundError("No module named 'wandb'", name="wandb")
        real.init, real.login = init, login
        return real
    except Exception as error:
        for name in [name for name in sys.modules if name == "wandb" or name.startswith("wandb.")]:
            del sys.modules[name]
        if own is not None:
            sys.modules["wandb"] = own
        missing = isinstance(error, ModuleNotFoundError) and error.name == "wandb"
        why = "is not installed for this Python" if missing else f"cannot be imported ({type(error).__name__})"
        _say(f"wandb {why}: nothing is logged to it")
        return None


def __getattr__(name):
    """Of the stand-in: any name of wandb, which does nothing."""
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing()


# Names that lead nowhere before `init`, as `wandb.run` is None then.
run = None
config = summary = log = finish = _Nothing()
_load()
