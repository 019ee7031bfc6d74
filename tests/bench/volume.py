"""The volume: a folder of 100,000 files in the app, sizes of 50,000 files beside `du`, 4 GB brought home beside
`modal volume get` from the same test server.

python -m tests.bench.volume [folder] [sizes] [download]
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tracemalloc
from pathlib import Path

from runner.volumes.disk_usage import DiskUsage
from runner.volumes.folder import FolderVolume
from tests.bench.log_view import keys, rss_mib, say, spread
from tests.conftest import CLI
from tests.modal_cloud import Cloud
from tests.terminal import Terminal

MANY, FOLDERS, EACH = 100_000, 2_000, 25
FILES, SIZE = 16, 256 << 20


def folder() -> None:
    """Rows of a large folder: how soon, how smooth, how much memory."""
    with tempfile.TemporaryDirectory() as place:
        volume = Path(place) / "v"
        (volume / "many").mkdir(parents=True)
        for n in range(MANY):
            (volume / "many" / f"file_{n:06d}").touch()
        began = time.perf_counter()
        count = sum(len(batch) for batch in FolderVolume(str(volume)).scan("many"))
        say("folder", f"{count:,} entries read in {time.perf_counter() - began:.2f} s with no screen")
        env = {**os.environ, "NANOCHAT_TUI_HOME": f"{place}/home"}
        terminal = Terminal([*CLI, "--volume", str(volume)], env, 120, 40)
        terminal.wait_for("No runs yet")
        terminal.press("4")
        terminal.wait_for("many/")
        time.sleep(1)
        before = rss_mib(terminal.pid)
        began = time.perf_counter()
        os.write(terminal._fd, b"\r")
        while "file_0" not in terminal.screen:
            time.sleep(0.002)
        first = time.perf_counter() - began
        terminal.wait_for("looked at", seconds=60)
        terminal.wait_for("100,000", seconds=60)
        say(
            "", f"first rows {first * 1000:.0f} ms after Enter, all sorted {time.perf_counter() - began:.2f} s after it"
        )
        time.sleep(2)
        say("", f"memory: {rss_mib(terminal.pid) - before:.0f} MiB added to {before:.0f}")
        say("scroll", f"key to first byte: {spread(keys(terminal, 200))}")
        began = time.perf_counter()
        terminal.press("G")
        terminal.wait_for("file_099999")
        say("", f"to the last row {time.perf_counter() - began:.2f} s")
        terminal.press("f", *"99")
        began = time.perf_counter()
        terminal.wait_for("only '99'")
        say("filter", f"{time.perf_counter() - began:.2f} s")
        terminal.kill()


def added_up(place: str) -> DiskUsage:
    found = DiskUsage()
    for batch in FolderVolume(place).scan("", deep=True):
        found.add(batch)
    return found


def sizes() -> None:
    """All sizes of a tree, beside `du`."""
    with tempfile.TemporaryDirectory() as place:
        for f in range(FOLDERS):
            inner = Path(place) / f"runs/run{f // 40:02d}/part{f:04d}"
            inner.mkdir(parents=True)
            for n in range(EACH):
                (inner / f"shard_{n:05d}").write_bytes(b"x" * (n + 1))
        began = time.perf_counter()
        subprocess.run(["du", "-s", "--apparent-size", place], check=True, stdout=subprocess.DEVNULL)
        peer = time.perf_counter() - began
        began = time.perf_counter()
        found = added_up(place)
        took = time.perf_counter() - began
        tracemalloc.start()
        kept = added_up(place)
        now, most = (n / 2**20 for n in tracemalloc.get_traced_memory())
        tracemalloc.stop()
        del kept
        whole = found.folders[""]
        assert (whole.files, whole.bytes) == (FOLDERS * EACH, FOLDERS * EACH * (EACH + 1) // 2)
        say("sizes", f"{whole.files:,} files in {len(found.folders):,} folders: {took:.2f} s, `du` {peer:.2f} s")
        say("", f"memory: {now:.1f} MiB kept, {most:.1f} at most; {whole.bytes:,} bytes, all of them")


def download() -> None:
    """16 files of 256 MiB from the test server, by us and by `modal volume get`, then killed and gone on with."""
    with tempfile.TemporaryDirectory() as place:
        cloud = Cloud(Path(place) / "cloud")
        env = {**os.environ, **cloud.env, "NANOCHAT_TUI_HOME": f"{place}/home"}
        modal = [sys.executable, "-m", "modal"]
        try:
            subprocess.run(
                [*modal, "volume", "create", "--version", "2", "big"], env=env, check=True, capture_output=True
            )
            store = cloud.folder("big") / "data"
            store.mkdir(parents=True)
            for n in range(FILES):
                with (store / f"part{n:02d}").open("wb") as file:
                    for _ in range(SIZE >> 20):
                        file.write(os.urandom(1 << 20))
            ours = [*CLI, "volume", "get", "--backend", "modal", "--volume", "big", "data", f"{place}/out"]
            theirs = [*modal, "volume", "get", "big", "data", f"{place}/out"]
            for digests in (False, True):
                cloud.knobs(digests=digests)
                times: dict[str, list[float]] = {"ours": [], "modal": []}
                for _ in range(3):
                    for name, argv in (("ours", ours), ("modal", theirs)):
                        shutil.rmtree(f"{place}/out", ignore_errors=True)
                        Path(f"{place}/out").mkdir()
                        began = time.perf_counter()
                        subprocess.run(argv, env=env, check=True, capture_output=True)
                        times[name].append(time.perf_counter() - began)
                mine, peer = min(times["ours"]), min(times["modal"])
                with_ = "with digests" if digests else "without digests"
                rate = FILES * SIZE / 1e6 / mine
                say("download", f"{with_}: {mine:.1f} s ({rate:.0f} MB/s), modal {peer:.1f} s: {mine / peer:.2f} of it")
            cloud.knobs(digests=False)
            shutil.rmtree(f"{place}/out")
            for share in (0.3, 0.7):
                process = subprocess.Popen(ours, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while cloud.state()["blocks_given"] < share * FILES * SIZE / (8 << 20):
                    time.sleep(0.02)
                process.kill()
                process.wait()
            subprocess.run(ours, env=env, check=True, capture_output=True)
            given = cloud.state()["blocks_given"] * (8 << 20)
            same = all((store / f.name).read_bytes() == f.read_bytes() for f in Path(f"{place}/out/data").iterdir())
            say("killed", f"twice, and gone on with: {given / FILES / SIZE - 1:.1%} read again, same bytes: {same}")
        finally:
            cloud.close()


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ("folder", "sizes", "download"):
        {"folder": folder, "sizes": sizes, "download": download}[wanted]()
