"""All tables, the account `default`, and the deployment's identity.

Frozen: what stands here is what was released as 0001; schema.py goes on.
"""

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _create(name: str, *items: sa.schema.SchemaItem) -> sa.Table:
    return op.create_table(name, *items, mysql_engine="InnoDB", mysql_charset="utf8mb4", mysql_collate="utf8mb4_bin")


def upgrade() -> None:
    accounts = _create(
        "accounts",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("partition", sa.String(32)),
        sa.Column("region", sa.String(32)),
        sa.Column("profile", sa.String(64)),
        sa.Column("role_arn", sa.String(2048)),
        sa.Column("external_id", sa.String(1224)),
        sa.Column("endpoint_url", sa.String(255)),
        sa.Column("sts_endpoint_url", sa.String(255)),
        sa.Column("data_endpoint", sa.String(255)),
        sa.Column("root_ca", sa.String(255)),
        sa.Column("creates_per_s", sa.Integer(), server_default="10", nullable=False),
        sa.Column("exclusive", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_accounts_name"),
    )
    deployment = _create(
        "deployment",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("deployment_id", sa.VARBINARY(16), nullable=False),
        sa.Column("key_check", sa.VARBINARY(255)),
        sa.Column("serves_from", sa.String(16), nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _create(
        "nodes",
        sa.Column("id", sa.VARBINARY(16), nullable=False),
        sa.Column("host", sa.String(255), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.String(32), nullable=False),
        sa.Column("started_us", sa.BigInteger(), nullable=False),
        sa.Column("seen_us", sa.BigInteger(), nullable=False),
        sa.Column("stopped_us", sa.BigInteger()),
        sa.PrimaryKeyConstraint("id"),
    )
    _create(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.VARBINARY(16)),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    pace = _create(
        "pace",
        sa.Column("account_id", BIG, autoincrement=False, nullable=False),
        sa.Column("operation", sa.String(32), nullable=False),
        sa.Column("tat_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_pace_account_id"),
        sa.PrimaryKeyConstraint("account_id", "operation"),
    )
    _create(
        "breakers",
        sa.Column("account_id", BIG, nullable=False, autoincrement=False),
        sa.Column("policy", sa.String(128), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("until_us", sa.BigInteger(), nullable=False),
        sa.Column("trial_until_us", sa.BigInteger()),
        sa.Column("fault", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(255), nullable=False),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_breakers_account_id"),
        sa.PrimaryKeyConstraint("account_id", "policy"),
    )
    _create(
        "products",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("account_id", BIG, nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("auth", sa.String(16), nullable=False),
        sa.Column("key_source", sa.String(16), nullable=False),
        sa.Column("sealed_auth", sa.VARBINARY(255)),
        sa.Column("reissue_limit", sa.Integer()),
        sa.Column("offer_lifetime_s", sa.Integer(), nullable=False),
        sa.Column("grace_s", sa.Integer(), nullable=False),
        sa.Column("connect_after_s", sa.Integer(), nullable=False),
        sa.Column("share_things", sa.Boolean(), nullable=False),
        sa.Column("allow_server_keys", sa.Boolean(), nullable=False),
        sa.Column("source_networks", sa.String(1024)),
        sa.Column("window_until_us", sa.BigInteger()),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_products_account_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name", name="uq_products_name"),
    )
    _create(
        "devices",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("product_id", BIG, nullable=False),
        sa.Column("serial", sa.VARBINARY(64), nullable=False),
        sa.Column("sealed_token", sa.VARBINARY(255), nullable=False),
        sa.Column("thing", sa.String(128), nullable=False),
        sa.Column("policy", sa.String(128), nullable=False),
        sa.Column("disabled", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("activations", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reissue_until_us", sa.BigInteger()),
        sa.Column("audit_seq", sa.Integer(), server_default="0", nullable=False),
        sa.Column("audit_head", sa.VARBINARY(32)),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["product_id"], ["products.id"], name="fk_devices_product_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("serial", name="uq_devices_serial"),
    )
    op.create_index("ix_devices_thing", "devices", ["thing"])
    op.create_index("ix_devices_policy", "devices", ["policy"])
    _create(
        "audit",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("device_id", BIG, nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.Column("at_us", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("event", sa.String(32), nullable=False),
        sa.Column("detail", sa.String(255)),
        sa.Column("mac", sa.VARBINARY(32), nullable=False),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_audit_device_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device_id", "seq", name="uq_audit_device_id_seq"),
    )
    _create(
        "issuances",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("device_id", BIG, nullable=False),
        sa.Column("account_id", BIG, nullable=False),
        sa.Column("uid", sa.VARBINARY(16), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("key_source", sa.String(16), nullable=False),
        sa.Column("claim", sa.VARBINARY(16)),
        sa.Column("lease_until_us", sa.BigInteger()),
        sa.Column("not_before_us", sa.BigInteger()),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("unknown_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("attempt_open", sa.Boolean(), server_default="0", nullable=False),
        sa.Column("resume_state", sa.String(16)),
        sa.Column("fault", sa.String(32)),
        sa.Column("fault_detail", sa.String(255)),
        sa.Column("reason", sa.String(16)),
        sa.Column("public_key_id", sa.VARBINARY(32)),
        sa.Column("sealed_csr", sa.VARBINARY(2081)),
        sa.Column("sealed_escrow", sa.VARBINARY(2048)),
        sa.Column("certificate_id", sa.VARBINARY(32)),
        sa.Column("endpoint", sa.String(255)),
        sa.Column("root_ca_der", sa.VARBINARY(4096)),
        sa.Column("expires_us", sa.BigInteger()),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("updated_us", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "sealed_escrow IS NULL OR state IN ('intent', 'created', 'offered', 'failed')",
            name=op.f("ck_issuances_escrow_wiped"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_issuances_account_id"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_issuances_device_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("device_id", "generation", name="uq_issuances_device_id_generation"),
        sa.UniqueConstraint("uid", name="uq_issuances_uid"),
    )
    op.create_index("ix_issuances_account_id_state", "issuances", ["account_id", "state"])
    op.create_index("ix_issuances_public_key_id", "issuances", ["public_key_id"])
    op.create_index(
        "ix_issuances_state_not_before_us_account_id", "issuances", ["state", "not_before_us", "account_id"]
    )
    _create(
        "attempts",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("issuance_id", BIG, nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("node", sa.VARBINARY(16), nullable=False),
        sa.Column("claim", sa.VARBINARY(16), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("detail", sa.String(255)),
        sa.Column("opened_us", sa.BigInteger(), nullable=False),
        sa.Column("closed_us", sa.BigInteger()),
        sa.ForeignKeyConstraint(["issuance_id"], ["issuances.id"], name="fk_attempts_issuance_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("issuance_id", "number", name="uq_attempts_issuance_id_number"),
    )
    op.create_index("ix_attempts_outcome_opened_us", "attempts", ["outcome", "opened_us"])
    _create(
        "certificates",
        sa.Column("id", BIG, autoincrement=True),
        sa.Column("certificate_id", sa.VARBINARY(32), nullable=False),
        sa.Column("account_id", BIG, nullable=False),
        sa.Column("issuance_id", BIG),
        sa.Column("device_id", BIG),
        sa.Column("arn", sa.String(255), nullable=False),
        sa.Column("cert_der", sa.VARBINARY(4096), nullable=False),
        sa.Column("thing", sa.String(128)),
        sa.Column("policy", sa.String(128)),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(16)),
        sa.Column("live_device_id", BIG),
        sa.Column("claim", sa.VARBINARY(16)),
        sa.Column("lease_until_us", sa.BigInteger()),
        sa.Column("not_before_us", sa.BigInteger()),
        sa.Column("keep_until_us", sa.BigInteger()),
        sa.Column("disposal_attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_us", sa.BigInteger(), nullable=False),
        sa.Column("activated_us", sa.BigInteger()),
        sa.Column("retired_us", sa.BigInteger()),
        sa.Column("deleted_us", sa.BigInteger()),
        sa.CheckConstraint(
            "(status = 'active') = (live_device_id IS NOT NULL)", name=op.f("ck_certificates_live_while_active")
        ),
        sa.CheckConstraint(
            "live_device_id IS NULL OR live_device_id = device_id", name=op.f("ck_certificates_live_for_its_device")
        ),
        sa.CheckConstraint(
            "status <> 'retiring' OR (reason IS NOT NULL AND not_before_us IS NOT NULL)",
            name=op.f("ck_certificates_retiring_is_due"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["accounts.id"], name="fk_certificates_account_id"),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name="fk_certificates_device_id"),
        sa.ForeignKeyConstraint(["issuance_id"], ["issuances.id"], name="fk_certificates_issuance_id"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("certificate_id", name="uq_certificates_certificate_id"),
        sa.UniqueConstraint("live_device_id", name="uq_certificates_live_device_id"),
    )
    op.create_index("ix_certificates_status_not_before_us", "certificates", ["status", "not_before_us"])
    op.create_index("ix_certificates_created_us", "certificates", ["created_us"])
    op.create_index("ix_certificates_activated_us", "certificates", ["activated_us"])

    now_us = time.time_ns() // 1000
    op.bulk_insert(accounts, [{"id": 1, "name": "default", "created_us": now_us}])
    op.bulk_insert(pace, [{"account_id": 1, "operation": "create", "tat_us": 0}])
    op.bulk_insert(
        deployment, [{"id": 1, "deployment_id": secrets.token_bytes(16), "serves_from": revision, "created_us": now_us}]
    )
