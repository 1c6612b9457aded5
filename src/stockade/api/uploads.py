"""A file in a form, taken as it arrives: nothing of it is kept in this process.

The field `path` comes before the part `file`, as the official client sends them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Final

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from stockade.errors import InvalidRequest

_MAX_FIELD: Final = 8_192


class _Form:
    """The parts of a form, in the order in which they come."""

    def __init__(self, boundary: bytes, body: AsyncIterator[bytes]) -> None:
        self._body = body
        self._events: deque[tuple[str, bytes]] = deque()
        self._header = b""
        self._value = b""
        self._name = b""
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._part_begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": lambda: self._events.append(("end", b"")),
            },
        )

    async def events(self) -> AsyncGenerator[tuple[str, bytes], None]:
        """`part` with a name, `data` with bytes, `end`: for each part."""
        async for chunk in self._body:
            try:
                self._parser.write(chunk)
            except FormParserError as error:
                raise InvalidRequest(f"the form cannot be read: {error}") from None
            while self._events:
                yield self._events.popleft()
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise InvalidRequest(f"the form is not complete: {error}") from None

    def _part_begin(self) -> None:
        self._header = self._value = self._name = b""

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._name = options.get(b"name", b"")
        self._header = self._value = b""

    def _headers_finished(self) -> None:
        self._events.append(("part", self._name))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        self._events.append(("data", data[start:end]))


async def read_upload(request: Request) -> tuple[str, AsyncGenerator[bytes, None]]:
    """The path, and the content of the file as it arrives. Raises `InvalidRequest`."""
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary")
    if kind != b"multipart/form-data" or not boundary:
        raise InvalidRequest("the body has to be multipart/form-data")
    try:
        events = _Form(boundary, request.stream()).events()
    except FormParserError as error:
        raise InvalidRequest(f"the form cannot be read: {error}") from None
    name, path = b"", bytearray()
    async for event, data in events:
        if event == "part":
            name = data
            if name == b"file":
                return _path(path), _content(events)
        elif event == "data" and name == b"path":
            path += data
            if len(path) > _MAX_FIELD:
                raise InvalidRequest("path: it is too long")
    raise InvalidRequest("file: the part is missing")


def _path(field: bytearray) -> str:
    if not field:
        raise InvalidRequest("path: the field has to come before the part `file`")
    try:
        return field.decode()
    except UnicodeDecodeError:
        raise InvalidRequest("path: it is not UTF-8") from None


async def _content(
    events: AsyncGenerator[tuple[str, bytes], None],
) -> AsyncGenerator[bytes, None]:
    in_file = True
    async for event, data in events:
        if event == "end":
            in_file = False
        elif in_file and data:
            yield data
