"""The tables of the first version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_ID = sa.String(40).with_variant(sa.String(40, collation="C"), "postgresql")


def upgrade() -> None:
    """Make them, each after those that it refers to."""
    _accounts()
    _idempotent_requests()
    _api_keys()
    _devboxes()
    _network_policies()
    _objects()
    _secrets()
    _upstream_configs()
    _devbox_logs()
    _executions()
    _policy_attachments()
    _snapshots()


def _accounts() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )


def _idempotent_requests() -> None:
    op.create_table(
        "idempotent_requests",
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("route", sa.String(length=255), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("body", sa.String(length=64), nullable=False),
        sa.Column("resource_id", _ID, nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("account_id", "route", "key"),
    )
    op.create_index(
        "ix_idempotent_requests_create_time_ms",
        "idempotent_requests",
        ["create_time_ms"],
    )
    op.create_index(
        "ix_idempotent_requests_resource_id", "idempotent_requests", ["resource_id"]
    )


def _api_keys() -> None:
    op.create_table(
        "api_keys",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("scopes", sa.JSON(), nullable=True),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("digest"),
    )
    op.create_index("ix_api_keys_account_id", "api_keys", ["account_id"])


def _devboxes() -> None:
    op.create_table(
        "devboxes",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("blueprint_id", _ID, nullable=True),
        sa.Column("snapshot_id", _ID, nullable=True),
        sa.Column("launch", sa.JSON(), nullable=False),
        sa.Column("environment", sa.JSON(), nullable=False),
        sa.Column("secrets", sa.JSON(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("entrypoint", sa.Text(), nullable=True),
        sa.Column("transitions", sa.JSON(), nullable=False),
        sa.Column("boots", sa.Integer(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("deadline_ms", sa.BigInteger(), nullable=True),
        sa.Column("failure_reason", sa.String(length=40), nullable=True),
        sa.Column("shutdown_reason", sa.String(length=40), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("devboxes_by_deadline", "devboxes", ["status", "deadline_ms"])
    op.create_index("devboxes_by_time", "devboxes", ["account_id", "created_ms", "id"])


def _network_policies() -> None:
    op.create_table(
        "network_policies",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rules", sa.JSON(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("update_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_network_policies_name", "network_policies", ["account_id", "name"]
    )


def _objects() -> None:
    op.create_table(
        "objects",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=1024), nullable=False),
        sa.Column("content_type", sa.String(length=20), nullable=False),
        sa.Column("state", sa.String(length=20), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=True),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("delete_after_ms", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_objects_account_id", "objects", ["account_id"])
    op.create_index("ix_objects_delete_after_ms", "objects", ["delete_after_ms"])


def _secrets() -> None:
    op.create_table(
        "secrets",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.Column("update_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("account_id", "name"),
    )


def _upstream_configs() -> None:
    op.create_table(
        "upstream_configs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=True),
        sa.Column("kind", sa.String(length=20), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("endpoint", sa.Text(), nullable=False),
        sa.Column("auth", sa.JSON(), nullable=False),
        sa.Column("headers", sa.JSON(), nullable=False),
        sa.Column("allowed_tools", sa.JSON(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("create_time_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(
        "ix_upstream_configs_account_id", "upstream_configs", ["account_id"]
    )


def _devbox_logs() -> None:
    op.create_table(
        "devbox_logs",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("devbox_id", _ID, nullable=False),
        sa.Column("level", sa.String(length=10), nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["devbox_id"],
            ["devboxes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_devbox_logs_devbox_id", "devbox_logs", ["devbox_id"])


def _executions() -> None:
    op.create_table(
        "executions",
        sa.Column("devbox_id", _ID, nullable=False),
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("source", sa.String(length=20), nullable=False),
        sa.Column("command", sa.Text(), nullable=False),
        sa.Column("attach_stdin", sa.Boolean(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger(), nullable=True),
        sa.Column("exit_status", sa.Integer(), nullable=True),
        sa.Column("stdout", sa.LargeBinary(), nullable=True),
        sa.Column("stderr", sa.LargeBinary(), nullable=True),
        sa.Column("stdout_size", sa.BigInteger(), nullable=False),
        sa.Column("stderr_size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["devbox_id"],
            ["devboxes.id"],
        ),
        sa.PrimaryKeyConstraint("devbox_id", "id"),
    )
    op.create_index("executions_by_time", "executions", ["devbox_id", "created_ms"])


def _policy_attachments() -> None:
    op.create_table(
        "policy_attachments",
        sa.Column("devbox_id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("policy_id", _ID, nullable=False),
        sa.Column("running", sa.Boolean(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("at_ms", sa.BigInteger(), nullable=True),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["policy_id"],
            ["network_policies.id"],
        ),
        sa.PrimaryKeyConstraint("devbox_id"),
    )
    op.create_index(
        "ix_policy_attachments_policy_id", "policy_attachments", ["policy_id"]
    )


def _snapshots() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", _ID, nullable=False),
        sa.Column("account_id", _ID, nullable=False),
        sa.Column("devbox_id", _ID, nullable=False),
        sa.Column("blueprint_id", _ID, nullable=True),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("launch", sa.JSON(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=True),
        sa.Column("commit_message", sa.Text(), nullable=True),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("status", sa.String(length=20), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=True),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["accounts.id"],
        ),
        sa.ForeignKeyConstraint(
            ["devbox_id"],
            ["devboxes.id"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_snapshots_devbox_id", "snapshots", ["devbox_id"])
    op.create_index(
        "snapshots_by_time", "snapshots", ["account_id", "created_ms", "id"]
    )
