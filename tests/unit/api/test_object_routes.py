"""Storage objects over HTTP: signed URLs do what they are signed for, for some time."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import pytest

from stockade.errors import InvalidRequest
from tests.unit.api.in_process import OBJECT_LIMIT, Api, refusal

PATH = "/v1/objects"


def local(url: str) -> str:
    """The path and query of a URL that the server made."""
    parts = urlsplit(url)
    assert (parts.scheme, parts.netloc) == ("http", "api.test")
    return f"{parts.path}?{parts.query}"


async def create(api: Api, **fields: Any) -> dict[str, Any]:
    body = {"name": "o", "content_type": "text", **fields}
    made: dict[str, Any] = await api.call("POST", PATH, body)
    return made


async def upload(api: Api, content: bytes, **fields: Any) -> dict[str, Any]:
    made = await create(api, **fields)
    async with api.client(None) as http:
        put = await http.put(local(made["upload_url"]), content=content)
    assert put.status_code == 200, put.text
    done: dict[str, Any] = await api.call("POST", f"{PATH}/{made['id']}/complete")
    return done


def test_what_is_uploaded_comes_back(play: Any) -> None:
    async def scene(api: Api) -> None:
        for size in (0, 5, (1 << 20) + 1, OBJECT_LIMIT):
            content = (b"0123456789abcdef\n" * (size // 17 + 1))[:size]
            done = await upload(api, content, metadata={"team": "x"})
            assert done["state"] == "READ_ONLY"
            assert done["size_bytes"] == size
            assert done["metadata"] == {"team": "x"}
            assert done["upload_url"] is None
            path = f"{PATH}/{done['id']}/download?duration_seconds=9"
            url = local((await api.call("GET", path))["download_url"])
            async with api.client(None) as http:
                got = await http.get(url)
                assert got.content == content
                assert got.headers["x-content-type-options"] == "nosniff"
                api.clock.ahead += 10_000
                refusal(await http.get(url), 401)

    play(scene)


def test_a_permit_is_for_one_thing(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await create(api)
        other = await create(api)
        url = local(made["upload_url"])
        async with api.client(None) as http:
            for bad in (
                url.replace(made["id"], other["id"]),
                url[:-1] + ("0" if url[-1] != "0" else "1"),
                url.replace("expires=1", "expires=2"),
            ):
                assert bad != url
                refusal(await http.put(bad, content=b"x"), 401)
            refusal(await http.get(url), 401)
            refusal(await http.put(url.partition("?")[0], content=b"x"), 400)
            assert (await http.put(url, content=b"x")).status_code == 200
            await api.call("POST", f"{PATH}/{made['id']}/complete")
            # What is complete does not change any more.
            refusal(await http.put(url, content=b"y"), 409)
        await api.refused(409, "POST", f"{PATH}/{made['id']}/complete")
        await api.refused(400, "GET", f"{PATH}/{other['id']}/download")

    play(scene)


def test_what_is_too_large_leaves_nothing(play: Any) -> None:
    async def scene(api: Api) -> None:
        made = await create(api)
        async with api.client(None) as http:
            content = b"x" * (OBJECT_LIMIT + 1)
            refused = await http.put(local(made["upload_url"]), content=content)
        assert refusal(refused, 400)["limit"] == OBJECT_LIMIT
        assert list((api.directory / "objects").iterdir()) == []

    play(scene)


def test_deleted_objects_say_so_and_have_no_content(play: Any) -> None:
    async def scene(api: Api) -> None:
        account = (await api.call("GET", "/v1/accounts/me"))["id"]
        done = await upload(api, b"content")
        content = await api.services.objects.content(account, done["id"])
        assert b"".join([piece async for piece in content]) == b"content"
        found = await api.call("GET", f"{PATH}/{done['id']}/download")
        gone = await api.call("POST", f"{PATH}/{done['id']}/delete")
        assert gone["state"] == "DELETED"
        assert (await api.call("GET", f"{PATH}/{done['id']}"))["state"] == "DELETED"
        await api.refused(400, "GET", f"{PATH}/{done['id']}/download")
        refusal(await api.http.get(local(found["download_url"])), 400)
        with pytest.raises(InvalidRequest):
            await api.services.objects.content(account, done["id"])
        assert list((api.directory / "objects").iterdir()) == []
        assert (await api.call("GET", PATH))["objects"] == []
        deleted = await api.call("GET", f"{PATH}?state=DELETED")
        assert [item["id"] for item in deleted["objects"]] == [done["id"]]

    play(scene)


def test_an_object_ends_with_its_time(play: Any) -> None:
    async def scene(api: Api) -> None:
        done = await upload(api, b"content", ttl_ms=60_000)
        kept = await upload(api, b"kept")
        assert done["delete_after_time_ms"] == done["create_time_ms"] + 60_000
        api.clock.ahead = 61_000
        assert (await api.call("GET", f"{PATH}/{done['id']}"))["state"] == "DELETED"
        await api.services.objects.sweep()
        files = [path.name for path in (api.directory / "objects").iterdir()]
        assert files == [kept["id"]]
        listed = (await api.call("GET", PATH))["objects"]
        assert [item["id"] for item in listed] == [kept["id"]]

    play(scene)


def test_lists_are_filtered(play: Any) -> None:
    async def scene(api: Api) -> None:
        await create(api, name="alpha.txt")
        await upload(api, b"", name="beta.bin", content_type="binary")
        for query, names in (
            ("", ["beta.bin", "alpha.txt"]),
            ("?name=alpha", ["alpha.txt"]),
            ("?search=beta", ["beta.bin"]),
            ("?state=UPLOADING", ["alpha.txt"]),
            ("?content_type=binary", ["beta.bin"]),
        ):
            found = (await api.call("GET", PATH + query))["objects"]
            assert [item["name"] for item in found] == names
        assert (await api.call("GET", f"{PATH}/list_public"))["objects"] == []
        await api.refused(400, "GET", f"{PATH}?state=NONE")
        body = {"name": "x", "content_type": "exe"}
        await api.refused(400, "POST", PATH, body)

    play(scene)
