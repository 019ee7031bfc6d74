"""`python -m tests.modal_server --root DIR`: prints the settings that a client needs, then serves."""

import asyncio
import json
import signal

from tests.modal_server.server import ModalServer


def main():
    import argparse

    ap = argparse.ArgumentParser()
    ap.add_argument("--root", required=True)
    ap.add_argument("--port", type=int, default=0)
    ap.add_argument("--http-port", type=int, default=0)
    a = ap.parse_args()

    async def run():
        emu = ModalServer(a.root, a.port, a.http_port)
        await emu.serve()
        print(
            json.dumps(
                {
                    "MODAL_SERVER_URL": emu.url,
                    "MODAL_TEST_CONTROL": emu.http,
                    "MODAL_TOKEN_ID": "ak-emu",
                    "MODAL_TOKEN_SECRET": "as-emu",
                }
            ),
            flush=True,
        )
        stop = asyncio.Event()
        for s in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(s, stop.set)
        await stop.wait()
        await emu.aclose()

    asyncio.run(run())


if __name__ == "__main__":
    main()
