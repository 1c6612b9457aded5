"""Requests generated from our own OpenAPI document: no 5xx, no undocumented status."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation import GenerationMode
from schemathesis.transport.requests import REQUESTS_TRANSPORT

from tests.unit.api.in_process import KEY, Api, open_api

# Sockets that the official client of an earlier test has left open are none of these.
pytestmark = pytest.mark.filterwarnings(
    "ignore::pytest.PytestUnraisableExceptionWarning"
)

EXAMPLES = 6
# Deliberate: these routes say that they are not there.
MAY_BE_501 = "/v1/axons"
# A stream that does not end.
ENDLESS = "/v1/devboxes/evictions/watch"


class Served:
    """The application, served by a loop in a thread of its own."""

    def __init__(self, directory: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._opened = open_api(f"sqlite:///{directory}/state.db", directory)
        self.api: Api = self._run(self._opened.__aenter__())

    def close(self) -> None:
        """End it."""
        self._run(self._opened.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, prepared: requests.PreparedRequest) -> Any:
        """What the application answers."""
        body: Any = prepared.body
        headers: Any = {**prepared.headers, "authorization": f"Bearer {KEY}"}
        return self._run(
            self.api.http.request(
                str(prepared.method),
                str(prepared.url),
                content=body.encode() if isinstance(body, str) else body,
                headers=headers,
            )
        )

    def _run(self, work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("api"))
    yield server
    server.close()


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_no_generated_request_is_too_much(served: Served, mode: GenerationMode) -> None:
    document = served.api.app.openapi()
    schema = schemathesis.openapi.from_dict(document)
    count = 0
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]
        if operation.path == ENDLESS:
            continue
        try:
            statuses = exercise(served, operation, mode)
        except Unsatisfiable:
            continue  # Nothing can be wrong with a request without parameters.
        except Exception as error:
            raise AssertionError(f"{operation.method} {operation.path}") from error
        count += 1
        assert statuses
    assert count > 15


def exercise(served: Served, operation: Any, mode: GenerationMode) -> set[int]:
    """Send requests to one operation; the statuses of the answers."""
    documented = set(operation.definition.raw["responses"])
    statuses: set[int] = set()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Any) -> None:
        fields = REQUESTS_TRANSPORT.serialize_case(case, base_url="http://api.test")
        response = served.send(requests.Request(**fields).prepare())
        statuses.add(response.status_code)
        assert str(response.status_code) in documented, response.text
        if operation.path != MAY_BE_501:
            assert response.status_code < 500, response.text

    check()
    return statuses
