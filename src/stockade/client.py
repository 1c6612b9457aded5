"""The official client with the names that the documentation of network policies uses.

    from stockade.client import AsyncRunloopSDK

    runloop = AsyncRunloopSDK()
    for policy in await runloop.network_policies.list():
        print(policy.name)

The documentation writes `runloop.network_policies`, `runloop.blueprints` and
`runloop.devbox` on one object, and reads the name of a listed policy. No published
client has those names, and what its lists hold knows nothing but its id. So: thin
subclasses, with those aliases, and with listed objects that carry what the list said of
them. Everything else is the official client. Needs the package `runloop_api_client`,
which the extra `stockade[sdk]` installs.
"""

from __future__ import annotations

from typing import Self

try:
    from runloop_api_client import AsyncRunloop, Runloop
    from runloop_api_client import AsyncRunloopSDK as _OfficialAsyncSDK
    from runloop_api_client import RunloopSDK as _OfficialSDK
    from runloop_api_client.sdk import (
        AsyncBlueprint,
        AsyncDevbox,
        AsyncNetworkPolicy,
        Blueprint,
        Devbox,
        NetworkPolicy,
    )
    from runloop_api_client.sdk._types import (
        SDKBlueprintListParams,
        SDKDevboxListParams,
        SDKNetworkPolicyListParams,
    )
    from runloop_api_client.sdk.async_ import (
        AsyncBlueprintOps,
        AsyncDevboxOps,
        AsyncNetworkPolicyOps,
    )
    from runloop_api_client.sdk.sync import BlueprintOps, DevboxOps, NetworkPolicyOps
    from runloop_api_client.types import BlueprintView, DevboxView, NetworkPolicyView
    from runloop_api_client.types.network_policy_view import Egress
except ImportError as error:
    raise ImportError(
        "stockade.client needs the official client: pip install 'stockade[sdk]'"
    ) from error

from typing_extensions import Unpack


class _PolicyData:
    """What a list said of a network policy, when it was asked."""

    info: NetworkPolicyView

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def description(self) -> str | None:
        """Its description."""
        return self.info.description

    @property
    def egress(self) -> Egress:
        """Its rules."""
        return self.info.egress

    @property
    def create_time_ms(self) -> int:
        """When it was made."""
        return self.info.create_time_ms

    @property
    def update_time_ms(self) -> int:
        """When it was changed last."""
        return self.info.update_time_ms


class _DevboxData:
    """What a list said of a devbox, when it was asked."""

    info: DevboxView

    @property
    def name(self) -> str | None:
        """Its name."""
        return self.info.name

    @property
    def status(self) -> str:
        """The state it was in."""
        return self.info.status

    @property
    def metadata(self) -> dict[str, str]:
        """Its metadata."""
        return self.info.metadata

    @property
    def network_policy_id(self) -> str | None:
        """The network policy that it is under."""
        return self.info.launch_parameters.network_policy_id


class _BlueprintData:
    """What a list said of a blueprint, when it was asked."""

    info: BlueprintView

    @property
    def name(self) -> str:
        """Its name."""
        return self.info.name

    @property
    def status(self) -> str:
        """How far its build was."""
        return self.info.status


class ListedNetworkPolicy(_PolicyData, NetworkPolicy):
    """A network policy from a list."""

    def __init__(self, client: Runloop, info: NetworkPolicyView) -> None:
        super().__init__(client, info.id)
        self.info = info


class ListedDevbox(_DevboxData, Devbox):
    """A devbox from a list."""

    def __init__(self, client: Runloop, info: DevboxView) -> None:
        super().__init__(client, info.id)
        self.info = info


class ListedBlueprint(_BlueprintData, Blueprint):
    """A blueprint from a list."""

    def __init__(self, client: Runloop, info: BlueprintView) -> None:
        super().__init__(client, info.id)
        self.info = info


class AsyncListedNetworkPolicy(_PolicyData, AsyncNetworkPolicy):
    """A network policy from a list."""

    def __init__(self, client: AsyncRunloop, info: NetworkPolicyView) -> None:
        super().__init__(client, info.id)
        self.info = info


class AsyncListedDevbox(_DevboxData, AsyncDevbox):
    """A devbox from a list."""

    def __init__(self, client: AsyncRunloop, info: DevboxView) -> None:
        super().__init__(client, info.id)
        self.info = info


class AsyncListedBlueprint(_BlueprintData, AsyncBlueprint):
    """A blueprint from a list."""

    def __init__(self, client: AsyncRunloop, info: BlueprintView) -> None:
        super().__init__(client, info.id)
        self.info = info


# The official lists are `list[Devbox]`, which is invariant; these hold narrower things.
_Policies = list[ListedNetworkPolicy]
_Devboxes = list[ListedDevbox]
_Blueprints = list[ListedBlueprint]
_AsyncPolicies = list[AsyncListedNetworkPolicy]
_AsyncDevboxes = list[AsyncListedDevbox]
_AsyncBlueprints = list[AsyncListedBlueprint]


class _PolicyOps(NetworkPolicyOps):
    """Network policies, whose list carries data."""

    def list(self, **params: Unpack[SDKNetworkPolicyListParams]) -> _Policies:  # type: ignore[override]
        page = self._client.network_policies.list(**params)
        return [ListedNetworkPolicy(self._client, it) for it in page.network_policies]


class _DevboxOps(DevboxOps):
    """Devboxes, whose list carries data."""

    def list(self, **params: Unpack[SDKDevboxListParams]) -> _Devboxes:  # type: ignore[override]
        page = self._client.devboxes.list(**params)
        return [ListedDevbox(self._client, it) for it in page.devboxes]


class _BlueprintOps(BlueprintOps):
    """Blueprints, whose list carries data."""

    def list(self, **params: Unpack[SDKBlueprintListParams]) -> _Blueprints:  # type: ignore[override]
        page = self._client.blueprints.list(**params)
        return [ListedBlueprint(self._client, it) for it in page.blueprints]


class _AsyncPolicyOps(AsyncNetworkPolicyOps):
    """Network policies, whose list carries data."""

    async def list(  # type: ignore[override]
        self, **params: Unpack[SDKNetworkPolicyListParams]
    ) -> _AsyncPolicies:
        page = await self._client.network_policies.list(**params)
        items = page.network_policies
        return [AsyncListedNetworkPolicy(self._client, it) for it in items]


class _AsyncDevboxOps(AsyncDevboxOps):
    """Devboxes, whose list carries data."""

    async def list(self, **params: Unpack[SDKDevboxListParams]) -> _AsyncDevboxes:  # type: ignore[override]
        page = await self._client.devboxes.list(**params)
        return [AsyncListedDevbox(self._client, it) for it in page.devboxes]


class _AsyncBlueprintOps(AsyncBlueprintOps):
    """Blueprints, whose list carries data."""

    async def list(  # type: ignore[override]
        self, **params: Unpack[SDKBlueprintListParams]
    ) -> _AsyncBlueprints:
        page = await self._client.blueprints.list(**params)
        return [AsyncListedBlueprint(self._client, it) for it in page.blueprints]


class RunloopSDK(_OfficialSDK):
    """The official client, with the names of the documentation."""

    def __enter__(self) -> Self:
        """Close the client at the end of the block."""
        return self

    @property
    def network_policies(self) -> _PolicyOps:
        """Network policies."""
        return _PolicyOps(self.api)

    @property
    def devboxes(self) -> _DevboxOps:
        """Devboxes."""
        return _DevboxOps(self.api)

    @property
    def blueprints(self) -> _BlueprintOps:
        """Blueprints."""
        return _BlueprintOps(self.api)


class AsyncRunloopSDK(_OfficialAsyncSDK):
    """The official asynchronous client, with the names of the documentation."""

    async def __aenter__(self) -> Self:
        """Close the client at the end of the block."""
        return self

    @property
    def network_policies(self) -> _AsyncPolicyOps:
        """Network policies."""
        return _AsyncPolicyOps(self.api)

    @property
    def devboxes(self) -> _AsyncDevboxOps:
        """Devboxes."""
        return _AsyncDevboxOps(self.api)

    @property
    def blueprints(self) -> _AsyncBlueprintOps:
        """Blueprints."""
        return _AsyncBlueprintOps(self.api)
