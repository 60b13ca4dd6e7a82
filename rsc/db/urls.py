"""Parse database URLs, and keep their passwords out of messages.

Accepted are SQLAlchemy's URLs of SQLite and PostgreSQL, and libpq's: ``postgres://``, several hosts, and
``key=value`` strings. No function here connects to a database.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

from sqlalchemy import make_url
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError

from rsc.db.errors import DatabaseError

EXPECTED = "expected sqlite:///FILE or postgresql://USER@HOST/NAME"
HIDDEN = "***"
_POSTGRES_DRIVERS = ("", "psycopg", "psycopg2")
_SECRET_KEY = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
_PUBLIC_KEYS = ("passfile",)
_PAIR = re.compile(r"(?P<key>[\w%-]+)(?P<equals>\s*=\s*)(?P<value>'(?:[^'\\]|\\.)*'?|[^&\s]*)")
_KEY_VALUE_STRING = re.compile(r"\s*[a-z_]+\s*=")


def parse_url(text: str) -> URL:
    """Parse the URL of a SQLite file or of a PostgreSQL database.

    Returns:
        The URL, with driver ``sqlite`` or ``postgresql+psycopg``. A password of the query is moved to ``password``.
        Several hosts are stored in the query, as ``host`` and ``port``.

    Raises:
        DatabaseError: ``text`` is not such a URL. The message shows it without its password.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator:
        if _KEY_VALUE_STRING.match(text):
            return _of_pairs(text)
        _refuse(text, f"is no database URL, {EXPECTED}")
    backend, _, driver = scheme.partition("+")
    if backend == "sqlite":
        return _sqlite(text.strip(), driver)
    if backend in ("postgres", "postgresql"):
        if driver not in _POSTGRES_DRIVERS:
            _refuse(text, f"names the driver {driver!r}, which is not supported; write postgresql:// without a driver")
        return _postgresql(text, rest)
    _refuse(text, f"is of no supported database, {EXPECTED}")


def masked(text: str) -> str:
    """Return a database URL for messages: without passwords, even if it is mistyped.

    In an invalid URL this hides every part that could be a password.
    """
    try:
        return shown(parse_url(text))
    except DatabaseError:
        return _mask_unparsed(text)


def shown(url: URL) -> str:
    """Return a parsed URL for messages: without passwords."""
    hidden = {key: HIDDEN for key in url.query if _is_secret(key)}
    return _rendered(url.update_query_dict(hidden), hide_password=True).replace("%2A%2A%2A", HIDDEN)


def without_password(text: str) -> tuple[str, str | None]:
    """Split a database URL into a part that may be stored and a secret. `with_password` joins them.

    Returns:
        The URL without passwords, and the whole URL or None if it has no password.

    Raises:
        DatabaseError: ``text`` is not a database URL.
    """
    url = parse_url(text)
    query = {key: value for key, value in url.query.items() if not _is_secret(key)}
    bare = URL.create(url.drivername, url.username, None, url.host, url.port, url.database, query)
    return (text, None) if bare == url else (_rendered(bare, hide_password=False), text)


def with_password(text: str, secret: str | None) -> str:
    """Return the whole URL that `without_password` split."""
    return text if secret is None else secret


def file_of(url: URL) -> Path | None:
    """Return the file of a SQLite URL; None for a server, for a database in memory, and for SQLite's own file URIs."""
    name = url.database if url.get_backend_name() == "sqlite" else None
    if name in (None, "", ":memory:") or str(name).startswith("file:"):
        return None
    return Path(str(name))


def is_file(text: str) -> bool:
    """Return whether this is the URL of a SQLite database, which other machines cannot reach.

    Raises:
        DatabaseError: ``text`` is not a database URL.
    """
    return parse_url(text).get_backend_name() == "sqlite"


def is_missing_file(text: str) -> bool:
    """Return whether this is the URL of a SQLite file that does not exist.

    Raises:
        DatabaseError: ``text`` is not a database URL.
    """
    file = file_of(parse_url(text))
    return file is not None and not file.exists()


def _sqlite(text: str, driver: str) -> URL:
    if driver not in ("", "pysqlite"):
        _refuse(text, f"names the driver {driver!r}, which is not supported; write sqlite:///FILE")
    _, mark, query = text.partition("?")
    if mark and not all("=" in pair for pair in query.split("&")):  # SQLAlchemy would ignore the text after it
        _refuse(text, "is not a database URL: the path of a SQLite file must not contain '?'; give --database-url")
    try:
        url = make_url(text).set(drivername="sqlite")
    except (ArgumentError, ValueError):
        _refuse(text, f"is no database URL, {EXPECTED}")
    if url.host or url.username or url.port:
        _refuse(text, "names a host, but SQLite has none; write sqlite:///FILE, with four slashes for an absolute path")
    _check_sqlite_options(text, url)
    return url


def _check_sqlite_options(text: str, url: URL) -> None:
    """Refuse an option that would be ignored, or a value of the wrong type. Options of a URI are passed to SQLite."""
    is_uri = str(url.query.get("uri", "")).lower() in _TRUE
    for key, value in url.query.items():
        if key not in _SQLITE_OPTIONS:
            if is_uri:
                continue
            _refuse(text, f"has the option {key!r}, which SQLite does not have: {', '.join(_SQLITE_OPTIONS)}")
        try:
            if not isinstance(value, str) or not _SQLITE_OPTIONS[key](value):
                raise ValueError
        except ValueError:
            _refuse(text, f"has a value of {key!r} that is not accepted")


def _is_flag(value: str) -> bool:
    return value.lower() in (*_TRUE, "false", "no", "off", "f", "n", "0")


def _is_seconds(value: str) -> bool:
    return 0 <= float(value) < float("inf")


_TRUE = ("true", "yes", "on", "y", "t", "1")
_SQLITE_OPTIONS: dict[str, Callable[[str], bool]] = {
    "timeout": _is_seconds,
    "isolation_level": lambda value: value.upper() in ("DEFERRED", "IMMEDIATE", "EXCLUSIVE"),
    "detect_types": str.isdecimal,
    "check_same_thread": _is_flag,
    "cached_statements": str.isdecimal,
    "uri": _is_flag,
}
"""Options of `sqlite3.connect` that a URL may set, with a function that checks the value."""


def _postgresql(text: str, rest: str) -> URL:
    authority, path, query = _split(rest)
    if "@" in path or authority.count("@") > 1 or (query and "=" not in query):
        _refuse(text, "cannot be read: write '@', '/', '?' and '%' in a user name or password as %40, %2F, %3F and %25")
    credentials, _, servers = authority.rpartition("@")
    hosts, ports = zip(*(_host_and_port(text, server) for server in servers.split(",")), strict=True)
    url = make_url(f"postgresql+psycopg://{credentials}{'@' if credentials else ''}/")
    url = url.set(database=make_url(f"postgresql://{path}").database)
    if len(hosts) > 1 or hosts[0].startswith("/"):
        servers_in_query = {"host": ",".join(hosts), "port": ",".join(ports)}
        url = url.update_query_dict({key: value for key, value in servers_in_query.items() if value.strip(",")})
    else:
        url = url.set(host=hosts[0] or None, port=int(ports[0]) if ports[0] else None)
    return _with_options(text, url, parse_qsl(query, keep_blank_values=True))


def _split(rest: str) -> tuple[str, str, str]:
    """Split what follows "://" into authority, path with its slash, and query."""
    before, _, query = rest.partition("?")
    authority, slash, path = before.partition("/")
    return authority, slash + path, query


def _host_and_port(text: str, server: str) -> tuple[str, str]:
    found = re.fullmatch(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>.*))?", server)
    if found is None or ":" in (found["port"] or ""):
        _refuse(text, "has a host that cannot be read; write an IPv6 address in brackets: postgresql://[::1]:5432/NAME")
    port = found["port"] or ""
    _check_port(text, port)
    host = found["v6"] or found["host"] or ""
    return unquote(host), port


def _check_port(text: str, port: str) -> None:
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        _refuse(text, "has a port that is not a number from 1 to 65535")


def _with_options(text: str, url: URL, pairs: list[tuple[str, str]]) -> URL:
    """Add the query to a PostgreSQL URL, in libpq's and SQLAlchemy's spelling."""
    options: dict[str, list[str]] = {}
    for key, value in pairs:
        options.setdefault(key, []).append(value)
    if options.pop("ssl", None) == ["true"]:  # JDBC's spelling, which libpq accepts in URLs
        options.setdefault("sslmode", ["require"])
    if "password" in options:
        url = url.set(password=options.pop("password")[-1])
    if "user" in options:
        url = url.set(username=options.pop("user")[-1])
    if "dbname" in options:
        url = url.set(database=options.pop("dbname")[-1])
    known = _known_options()
    for key in options:
        if known and key not in known:
            _refuse(text, f"has the option {key!r}, which PostgreSQL does not have")
    for port in ",".join(options.get("port", ())).split(","):
        _check_port(text, port)
    if not re.fullmatch("-?[0-9]+", options.get("connect_timeout", ["0"])[-1]):
        _refuse(text, "has a connect_timeout that is not a number of seconds")
    # A key may be repeated: SQLAlchemy's form of several hosts is host=NAME:PORT&host=NAME:PORT.
    return url.update_query_dict({key: values if len(values) > 1 else values[0] for key, values in options.items()})


def _known_options() -> frozenset[str]:
    """Return libpq's options; an empty set if no driver is installed."""
    try:
        from psycopg.pq import Conninfo  # an extra: SQLite needs none of it
    except ImportError:
        return frozenset()
    return frozenset(option.keyword.decode() for option in Conninfo.get_defaults())


def _of_pairs(text: str) -> URL:
    """Parse libpq's ``host=... dbname=...``."""
    try:
        from psycopg import ProgrammingError  # an extra: SQLite needs none of it
        from psycopg.conninfo import conninfo_to_dict
    except ImportError:
        _refuse(text, f"is no database URL, {EXPECTED}")
    try:
        pairs = {key: str(value) for key, value in conninfo_to_dict(text).items()}
    except ProgrammingError:
        _refuse(text, f"is neither a URL nor a list of PostgreSQL's options, {EXPECTED}")
    return _with_options(text, make_url("postgresql+psycopg://"), list(pairs.items()))


def _refuse(text: str, why: str) -> NoReturn:
    raise DatabaseError(f"{_mask_unparsed(text)!r} {why}")


def _rendered(url: URL, *, hide_password: bool) -> str:
    """Render a URL without the driver's name. `parse_url` can read it again."""
    text = url.render_as_string(hide_password=hide_password)
    if url.get_backend_name() == "sqlite":
        return unquote(text)
    return text.replace("postgresql+psycopg://", "postgresql://", 1)


def _is_secret(key: str) -> bool:
    return key not in _PUBLIC_KEYS and _SECRET_KEY.search(key) is not None


def _mask_unparsed(text: str) -> str:
    """Hide every part of a text that could be a password: before the last '@', or after a colon."""

    def hide(pair: re.Match[str]) -> str:
        return f"{pair['key']}{pair['equals']}{HIDDEN if _is_secret(pair['key']) else pair['value']}"

    if text.startswith("sqlite") and "@" not in text:
        return _PAIR.sub(hide, text)
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, separator, rest = ("", "", text) if _KEY_VALUE_STRING.match(text) else text.partition(":")
    _, at, rest = rest.rpartition("@")
    if at:
        return f"{scheme}{separator}{HIDDEN}@{_PAIR.sub(hide, rest)}"
    if separator != "://":
        return f"{scheme}:{HIDDEN}" if separator else _PAIR.sub(hide, text)
    server, slash, path = rest.partition("/")
    host, colon, _ = server.partition(":")
    return f"{scheme}://{host}{colon}{HIDDEN if colon else ''}{slash}{_PAIR.sub(hide, path)}"
