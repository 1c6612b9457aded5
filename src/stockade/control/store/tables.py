"""All tables: `METADATA` is complete when this module is imported."""

from __future__ import annotations

from typing import Final

from stockade.control.store import (
    accounts,
    configs,
    devboxes,
    executions,
    idempotency,
    objects,
    policies,
    secrets,
    snapshots,
)
from stockade.control.store.base import Base

MODULES: Final = (
    accounts,
    configs,
    devboxes,
    executions,
    idempotency,
    objects,
    policies,
    secrets,
    snapshots,
)
METADATA: Final = Base.metadata
