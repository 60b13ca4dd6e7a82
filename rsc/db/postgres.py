"""Engines on PostgreSQL. Needs psycopg, which is an extra."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import psycopg
from psycopg.types.string import TextLoader
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL

from rsc.db.models import IMPROVABLE, IMPROVABLE_INDEX
from rsc.db.patience import PatientConnection

IMPROVABLE_INDEX.dialect_kwargs["postgresql_where"] = IMPROVABLE

# Keep a timeout that the user set in `options` of the URL, for the role, or for the database. 'true' means until the
# end of the transaction: poolers such as pgbouncer give each transaction another session, and refuse start settings.
_SET_TIMEOUTS = " SELECT " + ", ".join(
    f"set_config('{name}', CASE current_setting('{name}') WHEN '0' THEN '{{{name}}}' ELSE current_setting('{name}') END,"
    " true)"
    for name in ("lock_timeout", "statement_timeout")
)
_SET_DATES = ", set_config('datestyle', 'ISO', true)"  # the driver reads only this style
_SLACK_S = 1.0  # longer than the server's own timeout, which does not close the connection


class _ReplacingLoader(TextLoader):
    """Decode text of a database without an encoding (SQL_ASCII), where bytes may be anything."""

    def load(self, data: Any) -> str:
        return bytes(data).decode("utf-8", "replace")


def postgres_engine(url: URL, timeout_s: float, statement_s: float, to_json: Callable[[Any], str]) -> Engine:
    """Return an engine on a PostgreSQL database, also behind a pooler in transaction mode.

    Args:
        url: From `rsc.db.urls.parse_url`. All its settings are kept.
        timeout_s: Bound in seconds for connecting to each host, and for waiting for a lock.
        statement_s: Bound in seconds for each statement.
        to_json: Serialises JSON columns.
    """
    # No prepared statements: a pooler runs each transaction in another session, which does not have them.
    arguments: dict[str, Any] = {"prepare_threshold": None}
    if "connect_timeout" not in url.query and "PGCONNECT_TIMEOUT" not in os.environ:
        arguments["connect_timeout"] = max(2, math.ceil(timeout_s))  # libpq takes whole seconds, at least 2
    secret = url.query.get("sslpassword")
    if secret is not None:  # engines show their URL in messages, and hide only its password
        arguments["sslpassword"] = secret
    engine = create_engine(
        url.difference_update_query(["sslpassword"]),
        pool_pre_ping=True,
        pool_timeout=timeout_s,
        json_serializer=to_json,
        connect_args=arguments,
    )
    timeouts = {"lock_timeout": int(timeout_s * 1000), "statement_timeout": int(statement_s * 1000)}
    settings = _SET_TIMEOUTS.format(**timeouts) + _SET_DATES

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: Any, args: Any, kwargs: Any) -> PatientConnection:
        connection = PatientConnection.connect_within(*args, **kwargs)
        connection.patience_s = statement_s
        dialect.rsc_encoding = _agree_on_encoding(connection)
        own_s = _own_statement_timeout_s(connection)
        if own_s:
            connection.patience_s = own_s + _SLACK_S
        return connection

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(settings)

    return engine


def _agree_on_encoding(connection: psycopg.Connection[Any]) -> str:
    """Use the database's own encoding, and return Python's name of it. `Words` needs it to replace other characters."""
    server = connection.info.parameter_status("server_encoding") or "UTF8"
    if connection.info.parameter_status("client_encoding") != server:
        connection.execute(f"SET client_encoding TO '{server}'")
        connection.commit()
    if server != "SQL_ASCII":
        return connection.info.encoding
    for kind in ("text", "varchar", "bpchar", "name"):
        connection.adapters.register_loader(kind, _ReplacingLoader)
    return "utf-8"  # psycopg sends UTF-8, and such a database stores any bytes


def _own_statement_timeout_s(connection: psycopg.Connection[Any]) -> float:
    """Return the statement timeout that the user, the role or the database set; 0 if there is none."""
    connection.autocommit = True
    row = connection.execute("SELECT extract(epoch FROM current_setting('statement_timeout')::interval)::float8")
    own_s = float(row.fetchall()[0][0])
    connection.autocommit = False
    return own_s
