"""The app in a browser: who is let in, what is refused, and that no app outlives its tab or its server."""

import asyncio
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession, CookieJar, WSServerHandshakeError

from tests.conftest import CLI, Cli
from tui.cli import serve_guard
from tui.cli.serve_guard import COOKIE, Guard, hostname, is_loopback

TOKEN = "a-token-that-nobody-guesses"
PATHS = ("/", "/ws", "/static/js/textual.js", "/download/x", "/nothing", "/static/../server.py")


class Served:
    """`nanochat-tui serve` on a free port, in a data folder of its own."""

    def __init__(self, home: Path, *words: str, **env: str) -> None:
        home.mkdir(exist_ok=True)
        self.env = {**Cli(home).env, **env}
        argv = [*CLI, "serve", "--port", "0", *words]
        self.process = subprocess.Popen(argv, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise AssertionError(self.end())
        self.origin = re.sub(r"/(\?.*)?$", "", self.address)

    def apps(self) -> list[int]:
        """The app processes that the server has started and that live."""
        found = subprocess.run(
            ["ps", "-o", "pid=,stat=", "--ppid", str(self.process.pid)], capture_output=True, text=True, check=False
        )
        rows = (line.split() for line in found.stdout.splitlines())
        return [int(pid) for pid, state in rows if not state.startswith("Z")]

    def end(self, number: int = signal.SIGINT) -> str:
        """Both outputs together."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        said = self.process.communicate(timeout=60)
        return "".join(said)


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    # Cookies of numbers, too: 127.0.0.1 has no name.
    async with ClientSession(cookie_jar=CookieJar(unsafe=True)) as session:
        yield session


async def until(true: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        await asyncio.sleep(0.05)


async def shown(socket: aiohttp.ClientWebSocketResponse, words: str) -> str:
    """Read what the app draws until it has these words."""
    seen = ""
    async with asyncio.timeout(60):
        async for message in socket:
            seen += message.data.decode("utf-8", "replace") if message.type is aiohttp.WSMsgType.BINARY else ""
            if words in re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", seen):
                return seen
    raise AssertionError(f"{words!r} was not drawn: {seen[-500:]!r}")


async def test_a_tab_has_an_app_of_its_own_that_ends_with_it_and_ctrl_c_ends_all(
    tmp_path: Path, session: ClientSession
) -> None:
    served = Served(tmp_path / "home")
    try:
        page = await (await session.get(served.address)).text()
        address = re.search(r'data-session-websocket-url="([^"]*)"', page)
        assert address and address[1] == f"{served.origin.replace('http', 'ws')}/ws"
        headers = {"Origin": served.origin}
        tab = await session.ws_connect(f"{address[1]}?width=100&height=30", headers=headers)
        other = await session.ws_connect(f"{address[1]}?width=80&height=24", headers=headers)
        await shown(tab, "nanochat")
        await shown(other, "nanochat")
        assert len(served.apps()) == 2
        await tab.close()
        await until(lambda: len(served.apps()) == 1, "the app of the tab that was closed has ended")
        await other.send_json(["stdin", "?"])
        await shown(other, "letters of a key")
        (app,) = served.apps()
        served.process.send_signal(signal.SIGINT)
        await until(lambda: served.process.poll() is not None, "the server has ended")
        assert served.process.returncode == 0 and not _lives(app)
    finally:
        said = served.end()
    assert "Traceback" not in said and "Unknown child" not in said


async def test_an_app_whose_server_was_killed_leaves_by_itself(tmp_path: Path, session: ClientSession) -> None:
    served = Served(tmp_path / "home")
    try:
        tab = await session.ws_connect(f"{served.origin}/ws", headers={"Origin": served.origin})
        await shown(tab, "nanochat")
        (app,) = served.apps()
        served.process.kill()
        await until(lambda: not _lives(app), "the app has left")
    finally:
        served.end()


async def test_the_app_that_is_left_closes_its_tab_and_one_that_cannot_begin_does_too(
    tmp_path: Path, session: ClientSession
) -> None:
    served = Served(tmp_path / "home")
    try:
        tab = await session.ws_connect(f"{served.origin}/ws", headers={"Origin": served.origin})
        await shown(tab, "nanochat")
        await tab.send_json(["stdin", "q"])
        async with asyncio.timeout(60):
            assert [m async for m in tab if m.type is aiohttp.WSMsgType.ERROR] == [] and tab.closed
        (tmp_path / "home" / "registry.db").unlink()
        (tmp_path / "home" / "registry.db").mkdir()
        tab = await session.ws_connect(f"{served.origin}/ws", headers={"Origin": served.origin})
        async with asyncio.timeout(60):
            assert [m async for m in tab] == [] and tab.closed
        assert served.apps() == []
    finally:
        served.end()


async def test_pages_of_elsewhere_get_nothing_and_start_nothing(tmp_path: Path, session: ClientSession) -> None:
    served = Served(tmp_path / "home")
    try:
        for host in ("evil.example", "evil.example:80", "localhost.evil.example", "["):
            for path in PATHS:
                async with session.get(served.origin + path, headers={"Host": host}) as answer:
                    assert answer.status in (400, 403), (host, path)
        for origin in ("http://evil.example", "null", "http://localhost:1", "http://[", ""):
            with pytest.raises(WSServerHandshakeError, match="403"):
                await session.ws_connect(f"{served.origin}/ws", headers={"Origin": origin} if origin else {})
        assert served.apps() == []
        for path in ("/static/", "/static/../server.py", "/static/%2e%2e/server.py", "/download/%2fetc%2fpasswd"):
            async with session.get(served.origin + path) as answer:
                assert answer.status in (403, 404), path
        async with session.get(served.origin) as answer:
            policy = answer.headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy and answer.headers["Cache-Control"] == "no-store"
    finally:
        served.end()


async def test_with_a_token_every_request_needs_it_and_no_address_or_process_shows_it_again(
    tmp_path: Path, session: ClientSession
) -> None:
    served = Served(tmp_path / "home", "--host", "0.0.0.0", "--read-only", NANOCHAT_TUI_SERVE_TOKEN=TOKEN)
    here = served.origin.replace("0.0.0.0", "127.0.0.1")
    try:
        for path in (*PATHS, "/?token=", "/?token=wrong", "/static/js/textual.js?token=" + TOKEN):
            async with session.get(here + path, cookies={COOKIE: "wrong"}) as answer:
                assert answer.status == 403, path
        session.cookie_jar.clear()
        async with session.get(f"{here}/?token={TOKEN}") as answer:
            assert answer.status == 200 and "token" not in str(answer.url)
            (first,) = answer.history
            cookie = first.headers["Set-Cookie"]
            assert "HttpOnly" in cookie and "SameSite=Lax" in cookie and TOKEN not in cookie
        async with session.get(f"{here}/static/js/textual.js") as answer:
            assert answer.status == 200
        with pytest.raises(WSServerHandshakeError, match="403"):
            await session.ws_connect(f"{here}/ws", headers={"Origin": "http://evil.example"})
        tab = await session.ws_connect(f"{here}/ws?width=100&height=30", headers={"Origin": here})
        await shown(tab, "read-only")
        (app,) = served.apps()
        for pid in (served.process.pid, app):
            assert TOKEN.encode() not in Path(f"/proc/{pid}/cmdline").read_bytes()
        assert TOKEN.encode() not in Path(f"/proc/{app}/environ").read_bytes()
        await tab.close()
    finally:
        said = served.end()
    assert TOKEN not in said
    assert not any(TOKEN.encode() in f.read_bytes() for f in (tmp_path / "home").rglob("*") if f.is_file())


async def test_what_a_tab_sends_is_bounded_and_nonsense_ends_that_tab_alone(
    tmp_path: Path, session: ClientSession
) -> None:
    served = Served(tmp_path / "home")
    headers = {"Origin": served.origin}
    try:
        good = await session.ws_connect(f"{served.origin}/ws", headers=headers)
        await shown(good, "nanochat")
        for sent in ("no json", "{}", "[]", json.dumps(["resize", {}]), json.dumps(["stdin", 5]), "5"):
            tab = await session.ws_connect(f"{served.origin}/ws?width=99999999999&height=x", headers=headers)
            await tab.send_str(sent)
            async with asyncio.timeout(60):
                async for _ in tab:
                    pass
            assert tab.closed, sent
        await good.send_json(["resize", {"width": 10**9, "height": -5}])
        await good.send_json(["resize", {"width": "wide", "height": None}])
        await good.send_json(["resize", {"width": 90, "height": 20}])
        await good.send_json(["stdin", "?"])
        await shown(good, "letters of a key")
        await good.close()
    finally:
        said = served.end()
    assert "Traceback" not in said


def _lives(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text().replace(")", ") ", 1)
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.parametrize(
    ("words", "env", "says"),
    [
        (("--host", "0.0.0.0"), {}, "others reach 0.0.0.0, and it would do what they say: add --token"),
        (("--host", "::"), {}, "add --token"),
        (("--host", "example.org"), {}, "add --token"),
        (("--port", "70000"), {}, "there is no port 70000"),
        ((), {"NANOCHAT_TUI_SERVE_TOKEN": "short"}, "short enough to be guessed"),
    ],
)
def test_what_would_let_anybody_in_is_refused_in_words(
    cli: Cli, words: tuple[str, ...], env: dict[str, str], says: str
) -> None:
    cli.env |= env
    said = cli("serve", *words, code=2).stderr
    assert says in said and said.count("\n") == 1


async def test_a_port_that_is_taken_is_told_in_a_line(tmp_path: Path, cli: Cli) -> None:
    served = Served(tmp_path / "home")
    try:
        port = served.origin.rpartition(":")[2]
        said = cli("serve", "--port", port, code=2).stderr
        assert f"nothing can listen on port {port}" in said and said.count("\n") == 1
    finally:
        served.end()


def test_without_the_extra_one_line_says_the_command_that_installs_it(cli: Cli, tmp_path: Path) -> None:
    program = (
        "import sys; sys.modules['textual_serve'] = None\nfrom tui.cli.main import main\nsys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", program], env=cli.env, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert f"{sys.executable} -m pip install 'textual-serve>=" in done.stderr


@pytest.mark.parametrize(
    ("host", "alone"),
    [("localhost", True), ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("0.0.0.0", False), ("::", False)],
)
def test_loopback_is_what_this_machine_alone_reaches(host: str, alone: bool) -> None:
    assert is_loopback(host) is alone


def test_the_guard_of_a_token_takes_no_other_and_no_nonsense() -> None:
    guard = Guard("0.0.0.0", TOKEN)
    assert guard.knows(TOKEN) and not guard.knows("") and not guard.knows(TOKEN + "x") and not guard.knows("é\ud800")
    asked = {"Host": "a.example:1", "Origin": "http://a.example:1"}
    assert guard.refusal(asked, {COOKIE: guard.cookie}, socket=True) == ""
    assert guard.refusal(asked, {COOKIE: TOKEN}, socket=True) and guard.refusal(asked, {}, socket=False)
    assert Guard("0.0.0.0", TOKEN + "x").cookie != guard.cookie
    assert hostname("[::1]:80") == "::1" and hostname("[") == "" and hostname("LocalHost:1") == "localhost"
    assert serve_guard.SHORTEST >= 16


CHROMIUM = next(
    (p for p in ("/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome") if Path(p).exists()), ""
)


@pytest.mark.skipif(not CHROMIUM, reason="there is no Chromium here")
def test_chromium_shows_the_app(tmp_path: Path) -> None:
    served = Served(tmp_path / "home", "--token", "--read-only")
    picture = tmp_path / "shown.png"
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--window-size=1000,600"]
    words += [f"--user-data-dir={tmp_path / 'profile'}", "--timeout=15000", f"--screenshot={picture}", served.address]
    try:
        done = subprocess.run([CHROMIUM, *words], capture_output=True, text=True, timeout=120, check=False)
        assert picture.exists(), done.stderr[-2000:]
    finally:
        served.end()
    from PIL import Image

    with Image.open(picture) as image:
        shades = {image.getpixel((x, y)) for x in range(0, 1000, 2) for y in range(0, 600, 2)}
    # A page without the app has its background, the logo and a few letters.
    assert image.size == (1000, 600) and len(shades) > 100
