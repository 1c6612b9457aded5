"""Bring the tables of a database into the present shape."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.util.exc import CommandError as AlembicError
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from stockade.control.store.base import Store
from stockade.errors import InvalidRequest, Unavailable

_REVISIONS: Final = Path(__file__).with_name("migrations")


async def migrate(store: Store) -> None:
    """Make what tables are missing, and change those of an earlier version.

    Only one server may do that at a time. Raises `InvalidRequest` for a database of a
    later version, `Unavailable` if it cannot be reached.
    """
    try:
        async with store.engine.begin() as connection:
            await connection.run_sync(upgrade)
    except AlembicError as error:
        raise InvalidRequest(
            f"the database is not one that this version can use: {error}"
        ) from None
    except (SQLAlchemyError, OSError) as error:
        raise Unavailable(f"the database cannot be used: {error}") from None


def upgrade(connection: Connection) -> None:
    """Apply the revisions that *connection* does not have."""
    config = Config()
    config.set_main_option("script_location", str(_REVISIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
