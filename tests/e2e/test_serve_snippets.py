"""The snippets that documentation prints, against a server, as they are written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.lab.serving import Server
from tests.lab.snippets import Snippets

OFFICIAL = """\
from runloop_api_client import AsyncRunloopSDK
runloop = AsyncRunloopSDK()
policy = await runloop.network_policy.create(name="production-policy", allow_all=False,
    allowed_hostnames=["github.com", "*.github.com", "api.openai.com"],
    allow_devbox_to_devbox=False,
    description="Production policy for AI agent workloads")
devbox = await runloop.devbox.create(launch_parameters={"network_policy_id": policy.id})
print((await policy.get_info()).egress.allowed_hostnames)
await policy.update(name="updated-policy-name",
    allowed_hostnames=["github.com", "*.anthropic.com"])
print((await policy.get_info()).name)
"""
DOCUMENTED = """\
from stockade.client import AsyncRunloopSDK

runloop = AsyncRunloopSDK()

policy = await runloop.network_policies.create(
    name="my-restricted-policy",
    allow_all=False,
    allowed_hostnames=["github.com", "*.github.com", "api.openai.com"],
    allow_devbox_to_devbox=False,
    description="Policy for production workloads",
)

policies = await runloop.network_policies.list()
for policy in policies:
    print(policy.name)

policy = runloop.network_policies.from_id(policy.id)
info = await policy.get_info()
print(f"Name: {info.name}")
print(f"Allow all: {info.egress.allow_all}")
print(f"Allowed hostnames: {info.egress.allowed_hostnames}")

devbox = await runloop.devbox.create(
    launch_parameters={
        "network_policy_id": policy.id,
    },
)
"""
REFUSED = """\
import runloop_api_client
try:
    await policy.delete()
except runloop_api_client.BadRequestError as error:
    print(devbox.id in str(error.body))
"""
CLEAN = """\
await devbox.shutdown()
await policy.delete()
await runloop.aclose()
"""
SYNCHRONOUS = """\
from stockade.client import RunloopSDK
with RunloopSDK() as runloop:
    policy = runloop.network_policies.create(name="sync")
    print([policy.name for policy in runloop.network_policies.list()])
    launch = {"network_policy_id": policy.id}
    with runloop.devboxes.create(launch_parameters=launch) as devbox:
        (listed,) = runloop.devboxes.list(status="running")
        print(listed.id == devbox.id, listed.network_policy_id == policy.id)
        print(devbox.cmd.exec("echo hello").stdout())
    policy.delete()
"""


@pytest.fixture(scope="module")
def server(default_image: None) -> Iterator[Server]:
    with Server() as started:
        yield started


@pytest.fixture
def snippets(server: Server) -> Iterator[Snippets]:
    with Snippets(server.variables()) as started:
        yield started


@pytest.mark.root
def test_the_official_client(snippets: Snippets) -> None:
    said = snippets.run(OFFICIAL).splitlines()
    assert said == [
        "['github.com', '*.github.com', 'api.openai.com']",
        "updated-policy-name",
    ]
    assert snippets.run(REFUSED) == "True\n"
    assert snippets.run(CLEAN) == ""


@pytest.mark.root
def test_the_documentation_of_network_policies(snippets: Snippets) -> None:
    said = snippets.run(DOCUMENTED).splitlines()
    assert said == [
        "my-restricted-policy",
        "Name: my-restricted-policy",
        "Allow all: False",
        "Allowed hostnames: ['github.com', '*.github.com', 'api.openai.com']",
    ]
    assert snippets.run(REFUSED) == "True\n"
    assert snippets.run(CLEAN) == ""


@pytest.mark.root
def test_the_synchronous_client(snippets: Snippets) -> None:
    said = snippets.run(SYNCHRONOUS).split()
    assert said == ["['sync']", "True", "True", "hello"]
