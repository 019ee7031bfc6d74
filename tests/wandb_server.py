"""A server of Weights & Biases, as far as a run needs one: what it was sent is there to be looked at."""

import gzip
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef01234567"


class WandbServer:
    """Runs by id: history by line, config, summary. `refusing`: an HTTP status that every request is answered with."""

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.refusing = 0
        self.questions: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args: object) -> None:
                pass

            def do_GET(self) -> None:
                self.answer({})

            def do_PUT(self) -> None:
                self.body()
                self.answer({})

            def body(self) -> bytes:
                data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

            def answer(self, found: object, status: int = 200) -> None:
                data = json.dumps(found).encode()
                self.close_connection = status != 200
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                body = json.loads(self.body() or b"{}")
                if server.refusing:
                    self.answer({"errors": [{"message": "refused"}]}, server.refusing)
                elif self.path.endswith("/file_stream"):
                    server.streamed(self.path.split("/")[-2], body)
                    self.answer({})
                else:
                    self.answer({"data": server.asked(body.get("query", ""), body.get("variables") or {})})

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                # A sender that is killed leaves its connections as they are.
                pass

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()

    def streamed(self, run_id: str, body: dict[str, Any]) -> None:
        run = self.runs[run_id]
        for name, chunk in (body.get("files") or {}).items():
            lines = run["files"].setdefault(name, [])
            lines[chunk["offset"] :] = chunk["content"]
        if body.get("complete"):
            run["exitcode"] = body.get("exitcode")

    def history(self, run_id: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.runs[run_id]["files"].get("wandb-history.jsonl", [])]

    def config(self, run_id: str) -> dict[str, Any]:
        return {k: v["value"] for k, v in json.loads(self.runs[run_id]["config"]).items() if k != "_wandb"}

    def asked(self, query: str, given: dict[str, Any]) -> dict[str, Any]:
        self.questions.append(query.split("(")[0].strip())
        project = {"id": "p", "name": given.get("project") or "nanochat", "entity": {"id": "e", "name": "someone"}}
        if "upsertBucket" in query:
            run = self.runs.setdefault(given["name"], {"files": {}, "config": "{}"})
            run |= {k: v for k, v in given.items() if v is not None}
            bucket = {"id": "b", "name": given["name"], "displayName": run.get("displayName"), "project": project}
            bucket |= {"config": run["config"], "historyLineCount": len(self.history(given["name"]))}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "RunResumeStatus" in query or "bucket(name:" in query:
            return {"model": {**project, "bucket": self.resumable(given["name"])}}
        if "features" in query:
            return {"serverInfo": {"features": []}}
        if "serverInfo" in query:
            return {"serverInfo": {"cliVersionInfo": {"max_cli_version": "9.0.0"}, "latestLocalVersionInfo": None}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": "someone", "username": "someone", "flags": "{}", "email": "a@b.c"}}
        if "createRunFiles" in query:
            files = [{"name": name, "uploadUrl": f"{self.url}/put/{name}"} for name in given["files"]]
            return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": files}}
        return {}

    def resumable(self, run_id: str) -> dict[str, Any] | None:
        run = self.runs.get(run_id)
        if run is None:
            return None
        history = run["files"].get("wandb-history.jsonl", [])
        found: dict[str, Any] = {
            "id": "b",
            "name": run_id,
            "summaryMetrics": "{}",
            "displayName": run.get("displayName"),
            "tags": [],
        }
        found |= {"logLineCount": 0, "historyLineCount": len(history), "eventsLineCount": 0, "notes": None}
        found |= {"historyTail": json.dumps(history[-1:]), "eventsTail": "[]", "config": run["config"]}
        return found | {"wandbConfig": json.dumps({"t": 1})}
