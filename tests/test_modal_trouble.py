"""What stands between this machine and Modal: networks, proxies, tokens, volumes of another kind."""

import asyncio
import base64
import contextlib
import errno
import http.server
import os
import socketserver
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import h2.exceptions
import modal
import pytest
from grpclib.exceptions import StreamTerminatedError

from runner import paths
from runner.backends.modal import block_http, proxy, token
from runner.backends.modal.deploy import Deployments
from runner.backends.modal.errors import redact_credentials, translating_errors
from runner.backends.modal.logs import LogStream
from runner.backends.modal.proxy import Reachability
from runner.backends.modal.volume import ModalVolume
from runner.errors import CredentialsError, NanochatError, Unreachable
from tests.conftest import Cli, wait_until
from tests.modal_cloud import Cloud

SECRET = "as-VERYSECRET0123456789"


@pytest.fixture
def here(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> Cloud:
    """The test server for Modal, for the client in this process."""
    for name, value in cloud.env.items():
        monkeypatch.setenv(name, value)
    return cloud


@contextlib.contextmanager
def listening(handle: Callable[[Any], None]) -> Iterator[int]:
    """A port of this machine that does that with each connection."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                handle(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


PROXIED = ImportError("A proxy is configured (http://user:pa55@proxy:3128) but python-socks is not installed")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (StreamTerminatedError("Connection lost"), "Connection lost"),
        (h2.exceptions.ProtocolError("Invalid HTTP version"), "Invalid HTTP version"),
        (ValueError(f"Invalid header value b'{SECRET}\\n'"), "Invalid header value"),
        (aiohttp.ClientPayloadError("Response payload is not completed"), "payload"),
        (asyncio.IncompleteReadError(b"", 5), "0 bytes read"),
        (KeyError("x"), "KeyError"),
        (OSError(errno.EPERM, "Connect call failed"), "Connect call failed"),
        (caused(modal.exception.ConnectionError("Could not connect to the Modal server."), PROXIED), "python-socks"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_whatever_the_client_raises_is_one_line_that_tells_the_innermost_cause_and_no_secret(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_TOKEN_SECRET", SECRET + "\n")
    with pytest.raises(Unreachable, match=said) as told, translating_errors():
        raise error
    assert "\n" not in str(told.value) and SECRET not in str(told.value) and "pa55" not in str(told.value)


@pytest.mark.parametrize(
    "error", [FileNotFoundError(errno.ENOENT, "no", "x"), PermissionError(13, "no", "x"), OSError(errno.ENOSPC, "full")]
)
def test_an_error_of_a_file_is_not_taken_for_one_of_the_network(error: OSError) -> None:
    with pytest.raises(OSError) as told, translating_errors():
        raise error
    assert told.value is error


def test_a_network_that_answers_with_its_sign_in_page_is_told_in_a_line_by_every_command(
    cli: Cli, cloud: Cloud
) -> None:
    def sign_in(connection: Any) -> None:
        connection.recv(1000)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://login/\r\nContent-Length: 0\r\n\r\n")

    with listening(sign_in) as port:
        cli.env |= {**cloud.env, "MODAL_SERVER_URL": f"http://127.0.0.1:{port}"}
        launched = cli("launch", "--backend", "modal", "--task", "test", code=5)
        assert launched.stderr.splitlines()[-1].startswith("nanochat-tui: Modal cannot be reached (")
        doctor = cli("doctor", code=None)
    assert "cannot be reached" in doctor.stdout
    assert "Traceback" not in launched.stderr + doctor.stderr


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_takes_connections_and_says_nothing_is_told_after_seconds_not_after_minutes(scheme: str) -> None:
    gone = threading.Event()

    def says_nothing(connection: Any) -> None:
        gone.wait(60)

    with listening(says_nothing) as port:
        with pytest.raises(ConnectionError, match="timed out"):
            Reachability(timeout=0.2).check(f"{scheme}://127.0.0.1:{port}")
        gone.set()


def test_where_nobody_answers_is_said_at_once_and_asked_again_a_moment_later(monkeypatch: pytest.MonkeyPatch) -> None:
    def speaks(connection: Any) -> None:
        connection.sendall(bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        connection.recv(1000)

    with listening(speaks) as port:
        door, nobody = Reachability(timeout=1.0), f"http://127.0.0.1:{port}"
        monkeypatch.setattr("runner.backends.modal.proxy.socket.create_connection", no_way := Refusing())
        for _ in range(5):
            with pytest.raises(OSError, match=r"127\.0\.0\.1: No route"):
                door.check(nobody)
        assert no_way.asked == 1
        monkeypatch.undo()
        monkeypatch.setattr("runner.backends.modal.proxy.REFUSED_S", 0.0)
        door.check(nobody)
        door.check(f"http://127.0.0.1:1, {nobody}")
    door.check(nobody)


class Refusing:
    asked = 0

    def __call__(self, *args: object) -> Any:
        self.asked += 1
        raise OSError(errno.EHOSTUNREACH, "No route to host")


def test_a_command_without_a_network_says_so_before_the_client_tries_for_a_minute(cli: Cli, cloud: Cloud) -> None:
    with listening(lambda connection: None) as port:
        pass
    cli.env |= {**cloud.env, "MODAL_SERVER_URL": f"http://127.0.0.1:{port}", "HTTP_PROXY": "http://u:pa55@127.0.0.1:9"}
    pytest.importorskip("python_socks")
    said = cli("launch", "--backend", "modal", "--task", "test", code=5).stderr
    assert "cannot be reached" in said and "Could not connect to the Modal server" not in said
    assert "proxy 127.0.0.1:9" in said and "pa55" not in said


@pytest.mark.parametrize("setting", ["MODAL_CONFIG_PATH", "MODAL_LOGLEVEL", "MODAL_SERVER_URL"])
def test_settings_that_the_client_does_not_take_are_one_line_and_a_row_of_doctor(
    cli: Cli, cloud: Cloud, tmp_path: Path, setting: str
) -> None:
    (tmp_path / "modal.toml").write_text("[garbage")
    cli.env |= {**cloud.env, setting: str(tmp_path / "modal.toml")}
    launched = cli("launch", "--backend", "modal", "--task", "test", code=None)
    assert launched.returncode in (4, 5) and launched.stdout == "" and launched.stderr.count("\n") == 1
    assert "Modal" in launched.stderr and "unexpected" not in launched.stderr
    assert "✗ modal" in cli("doctor", code=1).stdout


def test_a_secret_that_was_pasted_with_its_newline_is_good_without_it(modal_cli: Cli) -> None:
    modal_cli.env["MODAL_TOKEN_SECRET"] += "\n"
    assert "workspace emu" in modal_cli("doctor", code=None).stdout


@pytest.mark.parametrize("odd", ["é", "\x1b", "in\nside"])
def test_a_secret_that_cannot_be_sent_is_refused_without_being_shown(
    odd: str, here: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_TOKEN_SECRET", f"{SECRET}{odd}x")
    with pytest.raises(CredentialsError, match="token secret holds a character that cannot be sent") as told:
        token.require_token()
    assert SECRET not in str(told.value)


@pytest.mark.parametrize(
    ("given", "is_enough"),
    [
        ({}, False),
        ({"MODAL_TOKEN_ID": "ak-1"}, False),
        ({"MODAL_TOKEN_ID": "", "MODAL_TOKEN_SECRET": ""}, False),
        ({"MODAL_TOKEN_ID": "ak-1", "MODAL_TOKEN_SECRET": "as-1"}, True),
        ({"MODAL_OAUTH_REFRESH_TOKEN": "rt-1", "MODAL_OAUTH_CLIENT_ID": "c", "MODAL_OAUTH_CLIENT_SECRET": "s"}, True),
    ],
)
def test_who_has_credentials_is_decided_as_the_client_decides_it(
    given: dict[str, str], is_enough: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [n for n in os.environ if n.startswith("MODAL_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("MODAL_CONFIG_PATH", str(tmp_path / "none"))
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    assert token.has_credentials() is is_enough
    assert paths.has_modal_token() >= is_enough and paths.has_modal_token() is any(given.values())


def test_a_deployment_does_not_depend_on_what_this_terminal_can_show(
    here: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    name = f"app{os.urandom(3).hex()}"
    assert Deployments(tmp_path, print)._deploy("rehearsal", name) == name


def test_a_deployment_that_fails_leaves_no_secret_in_its_log(
    here: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODAL_TOKEN_SECRET", SECRET)
    monkeypatch.setenv("MODAL_LOGLEVEL", f"nonsense-{SECRET}")
    with pytest.raises(NanochatError, match="could not be deployed") as told:
        Deployments(tmp_path, print)._deploy("rehearsal", "x")
    log = (tmp_path / "deploy-rehearsal.log").read_text()
    assert log and SECRET not in log + str(told.value)


def test_a_volume_of_version_1_is_refused_with_two_ways_out_and_another_can_be_used(here: Cloud) -> None:
    name = f"v{os.urandom(4).hex()}"
    modal.Volume.from_name(name, create_if_missing=True, version=1).hydrate()
    for act in (ModalVolume(name).make, ModalVolume(name).check_exists, lambda: ModalVolume(name).list("")):
        with pytest.raises(Unreachable, match="version 1") as told:
            act()
        assert "--volume" in told.value.hint and "modal volume rename" in told.value.hint
    other = ModalVolume(f"{name}-2")
    other.make()
    other.check_exists()
    assert other.list("") == []


def test_a_volume_handle_that_another_thread_lets_go_of_is_never_none(here: Cloud) -> None:
    class Racy(ModalVolume):
        reads = 0

        @property
        def _volume(self) -> Any:
            # Each time it is looked at, it has changed: as when a thread sees that the volume was made anew.
            Racy.reads += 1
            return handle if Racy.reads % 2 else None

        @_volume.setter
        def _volume(self, value: object) -> None:
            pass

    handle = object()
    assert Racy("v")._found() is handle


def test_a_log_stream_survives_every_error_and_begins_again_when_its_thread_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tries: list[str] = []

    class App:
        class lookup:
            @staticmethod
            async def aio(name: str) -> Any:
                tries.append(name)
                raise RuntimeError("Attempted to use a closed client")

    monkeypatch.setattr(modal, "App", App)
    monkeypatch.setattr("runner.backends.modal.logs.PAUSE_S", 0.01)
    stream = LogStream("app")
    stream.subscribe(["fc-1"])
    wait_until(lambda: len(tries) > 2, what="tries")
    assert stream._thread and stream._thread.is_alive()
    stream.close()
    assert not stream._thread.is_alive()
    again = LogStream("app")
    again._thread = stream._thread
    again.subscribe(["fc-1"])
    assert again._thread is not stream._thread
    again.close()


def test_blocks_come_from_a_store_that_only_the_authorities_of_the_client_vouch_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pem = tmp_path / "store.pem"
    words = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *words.split(), "-keyout", pem, "-out", tmp_path / "crt"], check=True, capture_output=True
    )
    pem.write_bytes(pem.read_bytes() + (tmp_path / "crt").read_bytes())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    class Store(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"block")

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Store) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        url = f"https://127.0.0.1:{server.server_address[1]}/b"
        with pytest.raises(ConnectionError, match="certificate"):
            block_http.get_block(url)
        # A sign-in page answers at Modal's address, too: the client would try for a minute.
        with pytest.raises(ConnectionError, match="somebody else answers"):
            Reachability(timeout=10.0).check(url)
        monkeypatch.setattr("certifi.where", lambda: str(tmp_path / "crt"))
        proxy.trusted_authorities.cache_clear()
        assert bytes(block_http.get_block(url)[0]) == b"block"
        with pytest.raises(ConnectionError, match="what answers there is not Modal"):
            Reachability(timeout=10.0).check(url)
        proxy.trusted_authorities.cache_clear()
        server.shutdown()


def test_blocks_come_through_the_proxy_that_the_client_takes_with_its_password_and_its_refusal_is_told(
    here: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("python_socks")
    asked: list[bytes] = []

    def refusing_proxy(connection: Any) -> None:
        head = connection.recv(2000)
        asked.append(head)
        if base64.b64encode(b"user:pa55") not in head:
            connection.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        connection.recv(2000)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nblock")

    with listening(refusing_proxy) as port:
        monkeypatch.setenv("HTTP_PROXY", f"http://user:pa55@127.0.0.1:{port}")
        assert bytes(block_http.get_block("http://store.example/b?x=1")[0]) == b"block"
        assert asked[0].startswith(b"CONNECT store.example:80 ")
        monkeypatch.setenv("HTTP_PROXY", f"http://user:wrong@127.0.0.1:{port}")
        with pytest.raises(ConnectionError, match="proxy refused"):
            block_http.get_block("http://other.example/b")
    assert redact_credentials("http://user:pa55@127.0.0.1:3") == "http://…@127.0.0.1:3"
