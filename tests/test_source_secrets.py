"""What looks like a secret does not travel with the code, and what only looks a little like one does."""

import random
import string
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from runner.source.secrets import suspicion

ALL = string.ascii_letters + string.digits
HEX = "0123456789abcdef"


def suspects(files: Iterable[tuple[str, bytes]]) -> list[tuple[str, str]]:
    return [(name, why) for name, data in files if (why := suspicion(name, data))]


def drawn(count: int, letters: str = ALL, seed: int = 7) -> str:
    return "".join(random.Random(seed).choices(letters, k=count))


def pem(kind: str) -> str:
    # In two parts, so that no tool takes this file for a key.
    return f"-----BEGIN {kind}" + f"KEY-----\n{drawn(64)}\n{drawn(64)}\n-----END {kind}" + "KEY-----\n"


NAMES = (
    ".env .env.local .env.prod prod.env .envrc .netrc _netrc id_rsa id_ed25519 id_ecdsa_sk keys/id_rsa server.pem "
    "a.key x.p12 x.pfx .npmrc .pypirc credentials credentials.json .aws/credentials .modal.toml token .token token.txt "
    "hf_token x.token secrets.json secrets.toml .secrets.yaml secret.txt kaggle.json client_secret_1.json "
    "service-account.json .ENV"
).split()
NO_NAMES = (
    ".env.example .env.sample .env.template env.py environment.yml tokenizer.py tokenizer.json tokens.txt token.py "
    "special_tokens.txt token_bytes.pt secrets.py secrets.example.json id_rsa.pub keys.py monkey.key.md "
    ".python-version credentials.py key.txt venv.sh tests/test_token.py README.md"
).split()


@pytest.mark.parametrize("name", NAMES)
def test_a_name_tells_a_secret(name: str) -> None:
    [(found, why)] = suspects([(name, b"")])
    assert found == name and why


@pytest.mark.parametrize("name", NO_NAMES)
def test_a_name_of_code_or_of_an_example_tells_none(name: str) -> None:
    assert suspects([(name, b"x = 1\n")]) == []


SECRETS = {
    "hugging face": f"login('hf_{drawn(34, string.ascii_letters)}')",
    "openai": f"key = sk-{drawn(48)}",
    "openai of a project": f'"sk-proj-{drawn(40)}_{drawn(30)}-{drawn(20)}"',
    "anthropic": f"sk-ant-api03-{drawn(60)}-{drawn(20)}",
    "github": f"ghp_{drawn(36)}",
    "github, fine": f"https://github_pat_{drawn(22)}_{drawn(59)}@github.com",
    "aws": f"AKIA{drawn(16, string.ascii_uppercase + string.digits)}",
    "modal": f'token_id = "ak-{drawn(22)}"',
    "modal's other half": f"as-{drawn(22)}",
    "slack": f"xoxb-{drawn(11, string.digits)}-{drawn(24)}",
    "google": f"AIza{drawn(35)}",
    "wandb": f"export WANDB_API_KEY={drawn(40, HEX)}",
    "wandb in python": f'os.environ["WANDB_API_KEY"] = "{drawn(40, HEX)}"',
    "wandb in netrc": f"machine api.wandb.ai\n  login user\n  password {drawn(40, HEX)}\n",
    "wandb, new": f"wandb_v1_{drawn(70)}",
    "pem": pem("PRIVATE "),
    "rsa": pem("RSA PRIVATE ").replace("KEY-----\n", "KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES,0\n\n", 1),
    "openssh": pem("OPENSSH PRIVATE "),
    "in json": pem("PRIVATE ").replace("\n", "\\n"),
    "windows": pem("EC PRIVATE ").replace("\n", "\r\n"),
}


@pytest.mark.parametrize("what", SECRETS)
@pytest.mark.parametrize("around", ["{}", "# é\n\n{}\n", "x" * 5000 + "\n'{}' "])
def test_content_tells_a_secret_wherever_it_stands_and_the_reason_does_not_hold_it(what: str, around: str) -> None:
    data = around.format(SECRETS[what]).encode()
    [(name, why)] = suspects([("train.py", data)])
    assert name == "train.py" and why.startswith("holds a ")
    assert not any(word in why for word in SECRETS[what].split() if len(word) > 10)
    assert suspects([("notes.ipynb", b"\xff\xfe\0" + data)])


NONE = (
    "hf_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "hf_...", "export HF_TOKEN=hf_YourTokenHere", "sk-...",
    "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "sk-your-api-key-goes-here-please-now", "AKIAIOSFODNN7EXAMPLE", "WANDB_API_KEY=", "WANDB_API_KEY=" + "0" * 40,
    "ak-xxxxxxxxxxxxxxxxxxxxxxxx", "as-soon-as-possible-and-as-far-as-it-goes", "ghp_" + "x" * 36,
    "xoxb-your-token-here-please",
    "<style>.sk-estimator-doc-link-with-a-long-name {} .sk-top-container-12 {}</style>",
    "hf_hub_download_with_retries_and_more",
    f"commit {drawn(40, HEX)}", f"sha256:{drawn(64, HEX)}", f"task-{drawn(30)}", pem("PUBLIC "),
    "-----BEGIN CERTIFICATE-----\n" + drawn(64),
    'startswith("-----BEGIN RSA PRIVATE ' + 'KEY-----")', "-----BEGIN PRIVATE " + "KEY-----\n...\n-----END", "",
    f"ssh-ed25519 AAAA{drawn(64)} me@here", "hf_" + "a" * 34, "AIza" + "x" * 35,
)  # fmt: skip


@pytest.mark.parametrize("text", NONE)
def test_placeholders_public_keys_and_words_are_no_secrets(text: str) -> None:
    assert suspects([("README.md", text.encode())]) == []


@pytest.mark.parametrize("name", ["ca.pem", "server.key", "id_ed25519"])
def test_a_file_of_a_key_that_is_public_is_no_secret(name: str) -> None:
    assert suspects([(name, pem("PUBLIC ").encode()), (name, f"ssh-ed25519 AAAA{drawn(64)}".encode())]) == []
    assert suspects([(name, (pem("PUBLIC ") + pem("PRIVATE ")).encode())])


def test_this_project_itself_holds_no_secret() -> None:
    """Its tests are full of what looks like one; of those in tests/ only the made up ones of a fake server are told."""
    root = Path(__file__).parents[1]
    files = [path for folder in ("runner", "tui", "docs") for path in (root / folder).rglob("*") if path.is_file()]
    assert suspects([(str(path), path.read_bytes()) for path in files if path.suffix != ".pyc"]) == []


def test_random_bytes_and_weights_are_no_secret() -> None:
    data = random.Random(2).randbytes(4_000_000)
    assert suspects([("model.bin", data), ("model.b64", data.hex().encode())]) == []


def test_a_large_file_is_looked_through_in_one_pass() -> None:
    import time

    text = b"def f(as_, sk):\n    return task - as_ # as-is, hf_hub\n" * 200_000
    began = time.process_time()
    assert suspects([("a.py", text)]) == []
    assert time.process_time() - began < 5


def test_ssh_makes_keys_that_are_told_apart(tmp_path: Path) -> None:
    try:
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "mine")]
        subprocess.run(words, check=True)
    except FileNotFoundError:
        pytest.skip("ssh-keygen is not installed")
    files = [(path.name, path.read_bytes()) for path in tmp_path.iterdir()]
    assert [name for name, _ in suspects(files)] == ["mine"]
