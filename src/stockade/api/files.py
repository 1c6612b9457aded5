"""Files in devboxes, read and written through the API."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from stockade.api.devboxes import EmptyView, Writer
from stockade.api.routing import router
from stockade.api.services import TheServices
from stockade.api.uploads import read_upload

routes = router("files")


class ReadParams(BaseModel):
    """Which file to read."""

    file_path: str


class WriteParams(BaseModel):
    """Which file to write, and what."""

    file_path: str
    contents: str


class DownloadParams(BaseModel):
    """Which file to download."""

    path: str


class WriteView(BaseModel):
    """How the writing ended."""

    devbox_id: str
    exit_status: int = 0
    stdout: str = ""
    stderr: str = ""


@routes.post("/v1/devboxes/{devbox_id}/read_file_contents")
async def read_file(
    devbox_id: str, body: ReadParams, caller: Writer, services: TheServices
) -> Response:
    """The content of a text file."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    content = await plane.files.read(devbox, body.file_path)
    return StreamingResponse(content, media_type="text/plain; charset=utf-8")


@routes.post("/v1/devboxes/{devbox_id}/write_file_contents")
async def write_file(
    devbox_id: str, body: WriteParams, caller: Writer, services: TheServices
) -> WriteView:
    """Write a text file, with its parents."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    await plane.files.write(devbox, body.file_path, _pieces(body.contents.encode()))
    return WriteView(devbox_id=devbox_id)


@routes.post("/v1/devboxes/{devbox_id}/download_file")
async def download_file(
    devbox_id: str, body: DownloadParams, caller: Writer, services: TheServices
) -> Response:
    """The bytes of a file."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    content = await plane.files.read(devbox, body.path)
    return StreamingResponse(content, media_type="application/octet-stream")


@routes.post("/v1/devboxes/{devbox_id}/upload_file")
async def upload_file(
    devbox_id: str, request: Request, caller: Writer, services: TheServices
) -> EmptyView:
    """Write a file from a form: the field `path`, then the part `file`."""
    plane = services.plane
    devbox = await plane.devboxes.get(caller.account, devbox_id)
    path, content = await read_upload(request)
    await plane.files.write(devbox, path, content)
    return EmptyView()


async def _pieces(content: bytes, size: int = 1 << 18) -> AsyncGenerator[bytes, None]:
    for start in range(0, len(content), size):
        yield content[start : start + size]
