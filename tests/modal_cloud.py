"""A test server for Modal in a process of its own, and what tests do to it."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tests.conftest import wait_until
from tests.gate import Gate

ROOT = Path(__file__).parent.parent

HUB = """
import os
from pathlib import Path

def snapshot_download(name, *, revision, allow_patterns):
    at = Path(os.environ["HF_HOME"], "hub", "models--" + name.replace("/", "--"), "snapshots", revision)
    build = at / allow_patterns[0].rpartition("/")[0]
    build.mkdir(parents=True, exist_ok=True)
    (build / "__init__.py").write_text("")
    print(f"fetched {name}")
    return str(at)
"""

# A rehearsal's files in the form that nanochat's own have.
DATASET = """
from pathlib import Path
from runner.rehearsal import common, dataset

if __name__ == "__main__":
    dataset.main()
    for shard in (common.base_dir() / "base_data_climbmix").glob("*.parquet"):
        if shard.read_bytes()[:4] != b"PAR1":
            footer = bytes(8) + (8).to_bytes(4, "little")
            shard.write_bytes(b"PAR1" + shard.read_bytes() + footer + b"PAR1")
"""
TOKENIZER = """
import json, pickle, zipfile
from runner.rehearsal import common, tok_train

if __name__ == "__main__":
    tok_train.main()
    folder = common.base_dir() / "tokenizer"
    (folder / "tokenizer.pkl").write_bytes(pickle.dumps(json.loads((folder / "tokenizer.pkl").read_bytes())))
    with zipfile.ZipFile(folder / "token_bytes.pt", "w") as archive:
        archive.writestr("token_bytes/data/0", bytes(4 * 32768))
"""


class Cloud:
    """One server; `env` is what the real client needs to talk to it instead of Modal."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self._told = root / "stderr"
        self._stderr = self._told.open("w")
        self._stand_in(root / "nanochat")
        self.gate = Gate(root / "gate")
        inside = {**self.gate.env, "NANOCHAT_DIR": str(root / "nanochat"), "NANOCHAT_PYTHON": sys.executable}
        command = [sys.executable, "-m", "tests.modal_server", "--root", str(root)]
        self._process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **inside},
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            text=True,
        )
        assert self._process.stdout
        told = json.loads(self._process.stdout.readline())
        self._control = told.pop("MODAL_TEST_CONTROL")
        # With a token the app would ask where runs start.
        here = {"NANOCHAT_TUI_BACKEND": "local"}
        self.env = {**told, **here, "MODAL_CONFIG_PATH": str(root / "no-config.toml")}

    @staticmethod
    def _stand_in(checkout: Path) -> None:
        """What containers find where the real image has nanochat."""
        shutil.copytree(ROOT / "runner" / "rehearsal" / "stand_in", checkout)
        (checkout / "huggingface_hub.py").write_text(HUB)
        (checkout / "nanochat" / "dataset.py").write_text(DATASET)
        (checkout / "scripts" / "tok_train.py").write_text(TOKENIZER)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(20)
        assert self._process.stdout
        self._process.stdout.close()
        self._stderr.close()

    def post(self, path: str, **body: Any) -> Any:
        request = urllib.request.Request(
            self._control + path, json.dumps(body).encode(), {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as trouble:
            said = self._told.read_text(errors="replace")[-3000:]
            raise AssertionError(f"{path}: {trouble.read().decode(errors='replace')}\n{said}") from None

    def state(self) -> Any:
        with urllib.request.urlopen(self._control + "/state") as answer:
            return json.load(answer)

    def knobs(self, **values: Any) -> None:
        self.post("/knobs", **values)

    def well(self) -> None:
        """Back to good behaviour."""
        self.gate.open()
        self.post("/well")

    def fault(self, rpc: str, status: str, **more: Any) -> None:
        """Let an RPC fail, as `Knobs.faults` says; those from before stay."""
        self.knobs(faults=[*self.post("/knobs")["faults"], {"rpc": rpc, "status": status, **more}])

    @property
    def elsewhere(self) -> dict[str, str]:
        """`env` of somebody in another workspace, who sees nothing of this one."""
        return {**self.env, "MODAL_TOKEN_ID": "ak-other", "MODAL_TOKEN_SECRET": "as-other"}

    def clean(self) -> None:
        """End all that runs and forget it, so that no test sees the runs of another; deployed apps stay."""
        self.post("/clean")

    def outage(self, seconds: float) -> None:
        self.knobs(outage_until=time.time() + seconds)

    def containers(self, calls: list[str], function: str) -> list[str]:
        """Containers that run a function for one of these calls now."""
        return [
            name
            for name, task in self.state()["tasks"].items()
            if task["rc"] is None and task["call"] in calls and task["function"] == function
        ]

    def all_containers(self, function: str, *, alive: bool = False) -> list[str]:
        return [
            name
            for name, task in self.state()["tasks"].items()
            if task["function"] == function and not (alive and task["rc"] is not None)
        ]

    def idle(self) -> None:
        """Wait until no container is left."""
        wait_until(lambda: all(t["rc"] is not None for t in self.state()["tasks"].values()), what="no containers")

    def preempt(self, container: str, *, grace: float = 10.0) -> None:
        self.post(f"/preempt/{container}?grace={grace}")

    def kill(self, container: str) -> None:
        self.post(f"/kill/{container}")

    def folder(self, volume: str) -> Path:
        """Where the server keeps what is committed to a volume; one of another workspace is "other/NAME"."""
        return Path(self.root, "volumes", self.state()["volumes"][volume])
