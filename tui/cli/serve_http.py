"""The server under `serve`: textual-serve's pages and protocol, guarded, and an app process for each browser tab."""

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp_jinja2
import jinja2
from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server

from runner.errors import UsageError
from runner.exit_codes import Exit
from runner.system.client_log import LOG
from tui.cli.main import BROWSER
from tui.cli.serve_guard import COOKIE, QUERY, Guard, hostname

# What a tab may ask for: no cells beyond any screen, no message beyond any paste.
MOST_COLUMNS, MOST_LINES, MOST_MESSAGE = 1000, 500, 4 << 20
MOST_APPS = 8
# So long an app may take to leave before it is ended.
LEAVE_S, END_S = 8.0, 3.0
# Of the terminal that serves: a browser is another one.
NOT_THEIRS = ("TMUX", "TMUX_PANE", "STY", "COLUMNS", "LINES", "COLORFGBG", "WT_SESSION", "KITTY_WINDOW_ID", "NO_COLOR")
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class BrowserApp(AppService):
    """The app process of one tab; it goes when the tab goes."""

    def __init__(self, argv: Sequence[str], websocket: web.WebSocketResponse, server: "GuardedServer") -> None:
        super().__init__(
            "nanochat-tui",
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=self._close,
            download_manager=server.download_manager,
        )
        self._argv, self._websocket = argv, websocket

    async def _close(self) -> None:
        await self._websocket.close()

    def _build_environment(self, width: int = 80, height: int = 24) -> dict[str, str]:
        found = super()._build_environment(*_bounded(width, height))
        own = {"TEXTUAL_DRIVER": BROWSER, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
        return {name: value for name, value in found.items() if name not in NOT_THEIRS} | own | _size(width, height)

    async def _open_app_process(self, width: int = 80, height: int = 24) -> Process:
        """Without a shell, and in a session of its own: a Ctrl-C is for the server, which then ends it."""
        self._process = await asyncio.create_subprocess_exec(
            *self._argv,
            stdin=PIPE,
            stdout=PIPE,
            stderr=PIPE,
            env=self._build_environment(width, height),
            start_new_session=True,
        )
        self._stdin = self._process.stdin
        return self._process

    async def run(self) -> None:
        """Until it has ended: a tab without its app is closed, too."""
        await super().run()
        await self._close()

    async def set_terminal_size(self, width: int, height: int) -> None:
        await super().set_terminal_size(*_bounded(width, height))

    async def stop(self) -> None:
        """Ask it to leave, then end it."""
        try:
            with contextlib.suppress(TimeoutError, OSError):
                async with asyncio.timeout(LEAVE_S):
                    await super().stop()
        finally:
            await self._end()

    async def _end(self) -> None:
        process = self._process
        if process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    process.send_signal(number)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(END_S):
                    await process.wait()
                    return


def _bounded(width: object, height: object) -> tuple[int, int]:
    """A size that a terminal may have, whatever was sent for one."""
    if not (isinstance(width, int) and isinstance(height, int)):
        return 80, 24
    return min(max(width, 1), MOST_COLUMNS), min(max(height, 1), MOST_LINES)


def _size(width: int, height: int) -> dict[str, str]:
    columns, lines = _bounded(width, height)
    return {"COLUMNS": str(columns), "ROWS": str(lines)}


class GuardedServer(Server):
    """textual-serve's server: every request is guarded, every app ends with its tab or with the server."""

    def __init__(self, guard: Guard, argv: Sequence[str]) -> None:
        super().__init__("nanochat-tui", title="nanochat-tui", public_url="")
        self.guard, self._argv = guard, argv
        self._open: set[web.WebSocketResponse] = set()

    async def _make_app(self) -> web.Application:
        app = web.Application(middlewares=[self._guarded])
        aiohttp_jinja2.setup(app, loader=jinja2.FileSystemLoader(self.templates_path))
        app.add_routes(
            [
                web.get("/", self.handle_index, name="index"),
                web.get("/ws", self.handle_websocket, name="websocket"),
                # What the app itself hands over, by a key of its own making: no path is ever taken from who asks.
                web.get("/download/{key}", self.handle_download, name="download"),
                web.static("/static", self.statics_path, show_index=False, follow_symlinks=False, name="static"),
            ]
        )
        app.on_shutdown.append(self.on_shutdown)
        return app

    @web.middleware
    async def _guarded(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        token = request.query.get(QUERY)
        if token is not None and request.path == "/" and self.guard.token and self.guard.knows(token):
            if refusal := self.guard.refusal(request.headers, {COOKIE: self.guard.cookie}, socket=False):
                return _harmless(web.Response(status=403, text=refusal))
            # The address that stays in the history has no token in it.
            answer: web.StreamResponse = web.Response(status=303, headers={"Location": "/"})
            answer.set_cookie(COOKIE, self.guard.cookie, httponly=True, samesite="Lax", path="/")
            return _harmless(answer)
        if refusal := self.guard.refusal(request.headers, request.cookies, socket=request.path == "/ws"):
            return _harmless(web.Response(status=403, text=refusal))
        try:
            answer = await handler(request)
        except web.HTTPException as error:
            answer = error
        return answer if answer.prepared else _harmless(answer, request.host)

    async def handle_index(self, request: web.Request) -> web.Response:
        """The page, with the addresses by which the browser itself has come."""
        size = request.query.get("fontsize", "16")
        context = {
            "font_size": min(max(int(size), 6), 40) if size.isascii() and size.isdigit() and len(size) < 4 else 16,
            "app_websocket_url": f"ws://{request.host}/ws",
            "config": {"static": {"url": "/static/"}},
            "application": {"name": self.title},
        }
        return aiohttp_jinja2.render_template("app_index.html", request, context)

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """An app for as long as the tab is there."""
        if len(self._open) >= MOST_APPS:
            raise web.HTTPServiceUnavailable(text=f"{MOST_APPS} apps are open here: close one")
        websocket = web.WebSocketResponse(heartbeat=15, max_msg_size=MOST_MESSAGE)
        self._open.add(websocket)
        app = BrowserApp(self._argv, websocket, self)
        try:
            await websocket.prepare(request)
            await app.start(_number(request.query.get("width", ""), 80), _number(request.query.get("height", ""), 24))
            await self._process_messages(websocket, app)
        except (AssertionError, LookupError, TypeError, ValueError, AttributeError, ConnectionError) as error:
            LOG.warning("a browser was let go: %s: %s", type(error).__name__, error)
        finally:
            await app.stop()
            self._open.discard(websocket)
            with contextlib.suppress(ConnectionError, RuntimeError):
                await websocket.close()
        return websocket

    async def on_shutdown(self, app: web.Application) -> None:
        """Every tab is told; its handler then ends its app."""
        for websocket in list(self._open):
            with contextlib.suppress(ConnectionError, RuntimeError):
                await websocket.close()


def _number(text: str, otherwise: int) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 6 else otherwise


def _harmless(answer: web.StreamResponse, host: str = "") -> web.StreamResponse:
    """Nothing of it is kept, framed or told on; nothing is fetched from elsewhere."""
    socket = f" ws://{host}" if hostname(host) else ""
    policy = {
        "default-src": "'self'",
        "script-src": "'self' 'unsafe-inline' 'wasm-unsafe-eval'",
        "style-src": "'self' 'unsafe-inline'",
        "img-src": "'self' data: blob:",
        "font-src": "'self' data:",
        "connect-src": f"'self'{socket}",
        "frame-ancestors": "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    answer.headers["Content-Security-Policy"] = "; ".join(f"{name} {value}" for name, value in policy.items())
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["X-Content-Type-Options"] = "nosniff"
    return answer


def run(host: str, port: int, token: str, argv: Sequence[str], say: Callable[[str, bool], Any]) -> int:
    """Serve until a signal; `say` is given the address that a browser opens. Raises UsageError for one taken."""
    return asyncio.run(_run(host, port, token, argv, say))


async def _run(host: str, port: int, token: str, argv: Sequence[str], say: Callable[[str, bool], Any]) -> int:
    ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    def end(number: int) -> None:
        if not ended.done():
            ended.set_result(number)

    for which in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(which, end, int(which))
    # Its log would have the token in it.
    server = web.AppRunner(await GuardedServer(Guard(host, token), argv)._make_app(), access_log=None)
    await server.setup()
    try:
        site = web.TCPSite(server, host, port, shutdown_timeout=3 * LEAVE_S)
        try:
            await site.start()
        except OSError as error:
            said = f"nothing can listen on port {port} of {host[:60]} ({os.strerror(error.errno or 0)})"
            raise UsageError(said, "give another --port, or 0 for one that is free") from error
        shown = f"[{host}]" if ":" in host else host
        query = f"?{QUERY}={token}" if token else ""
        say(f"http://{shown}:{server.addresses[0][1]}/{query}", bool(token))
        number = await ended
    finally:
        await server.cleanup()
    return int(Exit.OK) if number == signal.SIGINT else 128 + number
