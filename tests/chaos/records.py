"""What this machine remembers, damaged: the registry cut, overwritten, locked or gone; settings that are nonsense."""

import json
import shutil
import sqlite3
from pathlib import Path

from tests.chaos.bench import Bench
from tests.conftest import Cli

SETTINGS = (b"", b"{", b"[]", b'{"volume": 3}', b'{"keep_logs_gb": "nan"}', b"[" * 100_000, b'{"volume":"\\ud800"}')
TOML = (
    b"{",
    b"volume = 3",
    b"gpus = 3",
    b"bell = true\nbell = 1",
    b"[backend]",
    b"\xff",
    b"a = " + b"[" * 100_000,
    b"gpu = '\0'",
)
RECORDS = (b"{}", b"[]", b"null", b"\xff", b"[" * 100_000)
COMMANDS = (("ls",), ("show", "a"), ("cost",), ("checkpoints",))
CALM = "commands go on over damaged records"


def strike(bench: Bench) -> None:
    template = bench.once("template", lambda: _template(bench))
    cli = bench.copy_of(template.home)
    how = bench.rng.choice((_overwrite, _cut, _hostile_record, _drop_table, _remove, _hostile_settings, _version))
    told = how(bench, cli.home / "registry.db")
    for look in COMMANDS:
        bench.say(cli, CALM, *look)
    listed = bench.say(cli, CALM, "ls", "--json", codes=(0,))
    states = {r["tag"]: r["state"] for r in json.loads(listed)} if listed else {}
    want = {"a": "done", "b": "failed"}
    bench.claim("every run is there as before", states == want, (how.__name__, told, states))
    if bench.rng.random() < 0.3:
        words = ("launch", "--tag", "c", "--step-ms", "0", "--watch")
        bench.say(cli, "a launch works afterwards", *words, codes=(0,))


def _template(bench: Bench) -> Cli:
    cli = bench.cli("template")
    cli("launch", "--tag", "a", "--step-ms", "0", "--watch")
    cli("launch", "--tag", "b", "--step-ms", "0", "--fault", "crash@3", "--watch", code=1)
    return cli


def _overwrite(bench: Bench, registry: Path) -> object:
    data, rng = bytearray(registry.read_bytes()), bench.rng
    at, count = rng.randrange(len(data)), rng.choice((1, 64, 512, 4096))
    data[at : at + count] = rng.randbytes(len(data[at : at + count]))
    registry.write_bytes(data)
    return at, count


def _cut(bench: Bench, registry: Path) -> object:
    size = bench.rng.choice((0, 1, 15, 100, 4096, bench.rng.randrange(registry.stat().st_size)))
    with registry.open("r+b") as file:
        file.truncate(size)
    return size


def _remove(bench: Bench, registry: Path) -> object:
    for file in registry.parent.glob("registry.db*"):
        file.unlink()
    return "removed"


def _execute(registry: Path, *statement: object) -> None:
    database = sqlite3.connect(registry)
    database.execute(str(statement[0]), statement[1:])
    database.commit()
    database.close()


def _hostile_record(bench: Bench, registry: Path) -> object:
    record = bench.rng.choice(RECORDS)
    _execute(registry, "UPDATE runs SET record = ? WHERE tag = 'a'", record)
    return record[:20]


def _drop_table(bench: Bench, registry: Path) -> object:
    database = sqlite3.connect(registry)
    tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    database.close()
    table = bench.rng.choice([name for name in tables if not name.startswith("sqlite_")])
    _execute(registry, f'DROP TABLE "{table}"')
    return table


def _version(bench: Bench, registry: Path) -> object:
    version = bench.rng.choice((0, -5))
    _execute(registry, f"PRAGMA user_version = {version}")
    return version


def _hostile_settings(bench: Bench, registry: Path) -> object:
    name = bench.rng.choice(("settings.json", "settings.toml"))
    settings = bench.rng.choice(SETTINGS if name == "settings.json" else TOML)
    registry.with_name(name).write_bytes(settings)
    shutil.copymode(registry, registry.with_name(name))
    return settings[:20]
