"""An API that answers what a test says, and remembers what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

KEY = "ak_test"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request."""

    method: str
    path: str
    query: dict[str, str]
    headers: Message
    content: bytes

    @property
    def body(self) -> Any:
        return json.loads(self.content or b"{}")


@dataclass(frozen=True, slots=True)
class Answer:
    """What is answered: JSON, or *content* as it is."""

    value: Any = None
    status: int = 200
    content: bytes | None = None


Rule = Callable[[Asked], Answer | None]


@dataclass
class FakeApi:
    """Answers by the first of its rules that has an answer."""

    rules: list[Rule] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)

    def __post_init__(self) -> None:
        api = self

        class Handler(BaseHTTPRequestHandler):
            """Hands each request to the rules."""

            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                split = urlsplit(self.path)
                query = {key: v[-1] for key, v in parse_qs(split.query).items()}
                length = int(self.headers.get("Content-Length") or 0)
                content = (
                    self._chunks() if self._is_chunked() else self.rfile.read(length)
                )
                asked = Asked(self.command, split.path, query, self.headers, content)
                api.asked.append(asked)
                answer = api.answer(asked)
                body = answer.content
                if body is None:
                    body = json.dumps(answer.value).encode()
                self.send_response(answer.status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815 - as the server asks for it

            def _is_chunked(self) -> bool:
                return self.headers.get("Transfer-Encoding") == "chunked"

            def _chunks(self) -> bytes:
                content = b""
                while size := int(self.rfile.readline(), 16):
                    content += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return content

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, asked: Asked) -> Answer:
        if asked.headers["Authorization"] != f"Bearer {KEY}":
            return Answer({"code": "unauthenticated", "message": "no key"}, 401)
        for rule in self.rules:
            answer = rule(asked)
            if answer is not None:
                return answer
        return Answer({"code": "not_found", "message": f"no {asked.path}"}, 404)

    def on(self, method: str, path: str, *answers: Answer) -> None:
        """Answer so; with several answers, one after the other, the last for ever."""
        left = list(answers)

        def rule(asked: Asked) -> Answer | None:
            if (asked.method, asked.path) != (method, path):
                return None
            return left.pop(0) if len(left) > 1 else left[0]

        self.rules.append(rule)

    def bodies(self, path: str) -> list[Any]:
        """What was posted there."""
        return [
            asked.body
            for asked in self.asked
            if (asked.method, asked.path) == ("POST", path)
        ]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
