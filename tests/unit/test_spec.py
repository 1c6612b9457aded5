"""What is asked of a host: defaults, and pushes that arrive whole or not at all."""

from __future__ import annotations

import json
from typing import Any

import pytest

from stockade.errors import InvalidRequest
from stockade.policy.model import NetworkPolicy
from stockade.spec import DEFAULT_PIDS, DevboxId, DevboxSpec, PolicyPush

POLICY = NetworkPolicy.from_mapping({"name": "p", "allowed_hostnames": ["a.test"]})
PUSH = PolicyPush("npol_1", 3, POLICY)


def test_a_spec_has_modest_defaults() -> None:
    spec = DevboxSpec(DevboxId("dbx_1"), ("true",))
    assert (spec.image, spec.user, spec.pids) == ("default", "root", DEFAULT_PIDS)
    assert not spec.allow_sudo
    assert not spec.terminal
    assert (spec.memory, spec.cpus, spec.mounts) == (None, None, ())


def test_a_push_survives_the_wire() -> None:
    line = json.dumps(PUSH.to_mapping())
    assert PolicyPush.from_mapping(json.loads(line)) == PUSH


def test_equal_policies_have_equal_digests_whatever_the_generation() -> None:
    assert PolicyPush("npol_2", 9, POLICY).digest == PUSH.digest
    assert len(PUSH.digest) == 64


def changed(**values: Any) -> dict[str, Any]:
    mapping = json.loads(json.dumps(PUSH.to_mapping()))
    for key, value in values.items():
        if value is None:
            del mapping[key]
        else:
            mapping[key] = value
    return mapping


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        pytest.param(changed(digest="0" * 64), "digest", id="another digest"),
        pytest.param(changed(digest=None), "not a policy push", id="no digest"),
        pytest.param(changed(generation=None), "not a policy push", id="no generation"),
        pytest.param(changed(generation="3"), "a generation", id="a text for a number"),
        pytest.param(
            changed(generation=True), "a generation", id="a flag for a number"
        ),
        pytest.param(changed(policy_id=7), "an id", id="a number for an id"),
        pytest.param(changed(policy=None), "not a policy push", id="no policy"),
        pytest.param(changed(policy=[]), "expected fields", id="not a policy"),
        pytest.param(changed(policy={"name": "p"}), "digest", id="a list was lost"),
        pytest.param(
            changed(policy={**PUSH.to_mapping()["policy"], "allow_al": True}),
            "unknown field",
            id="an unknown field",
        ),
        pytest.param(
            changed(policy={**PUSH.to_mapping()["policy"], "allow_all": True}),
            "digest",
            id="another flag",
        ),
    ],
)
def test_a_push_that_is_not_whole_is_refused(
    mapping: dict[str, Any], said: str
) -> None:
    with pytest.raises(InvalidRequest, match=said):
        PolicyPush.from_mapping(mapping)
