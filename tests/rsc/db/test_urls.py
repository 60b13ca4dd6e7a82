"""Database URLs: what is accepted, what is refused in one line, and that no message shows a password."""

from __future__ import annotations

import pytest
from sqlalchemy import create_engine

from rsc.db.errors import DatabaseError
from rsc.db.urls import is_file, masked, parse_url, shown, with_password, without_password

SECRET = "hush"
ACCEPTED = [
    ("sqlite:///a.db", {}),
    ("sqlite:////tmp/a.db?timeout=3", {"timeout": 3.0}),
    ("sqlite:///file:a.db?uri=true&cache=shared&timeout=3", {"timeout": 3.0}),
    ("postgres://u:hush@h/db", {"user": "u", "password": "hush", "host": "h", "dbname": "db"}),
    ("postgresql+psycopg2://u@h/db", {"user": "u", "host": "h"}),
    ("postgresql://u:hush@h1:1,h2:2/db", {"host": "h1,h2", "port": "1,2", "password": "hush"}),
    ("postgresql://h1,h2:2/db?target_session_attrs=read-write", {"host": "h1,h2", "port": ",2"}),
    ("postgresql://u@/db?host=h1:1&host=h2:2", {"host": "h1,h2", "port": "1,2"}),
    ("postgresql://h/db?user=u&password=hush", {"user": "u", "password": "hush"}),
    ("postgresql:///db?host=/run/pg&port=5433", {"host": "/run/pg", "port": "5433", "dbname": "db"}),
    ("postgresql://%2Frun%2Fpg:5433/db", {"host": "/run/pg", "port": "5433"}),
    ("postgresql://[::1]:5432/db", {"host": "::1", "port": 5432}),
    ("postgresql://?service=mine", {"service": "mine"}),
    ("postgresql:///?service=mine&passfile=/p", {"service": "mine", "passfile": "/p"}),
    ("postgresql://h/db?options=-csearch_path%3Dtrading", {"options": "-csearch_path=trading"}),
    ("postgresql://h/db?connect_timeout=9&sslmode=verify-full", {"connect_timeout": "9", "sslmode": "verify-full"}),
    ("postgresql://h/db?ssl=true", {"sslmode": "require"}),
    ("postgresql://u:a%40b%2Fc%25:d@h/db", {"password": "a@b/c%:d"}),
    ("host=h dbname=db user=u password='hush hush'", {"host": "h", "dbname": "db", "password": "hush hush"}),
]


@pytest.mark.parametrize(("text", "arguments"), ACCEPTED)
def test_parse__as_libpq_and_sqlalchemy_read_it(text, arguments):
    url = parse_url(text)
    passed = create_engine(url).dialect.create_connect_args(url)[1]
    assert arguments.items() <= passed.items()
    assert SECRET not in shown(url)
    assert SECRET not in masked(text)


@pytest.mark.parametrize("text", [*(text for text, _ in ACCEPTED), "postgresql://h/d?sslpassword=hush&user=u"])
def test_without_password__the_part_to_store_has_none_and_both_make_the_whole(text):
    bare, secret = without_password(text)
    assert SECRET not in bare
    assert (secret is None) == (SECRET not in text and "a%40b" not in text)
    assert parse_url(with_password(bare, secret)) == parse_url(text)
    assert parse_url(bare).password is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected sqlite"),
        ("nonsense", "expected sqlite"),
        ("mysql://u:hush@h/x", "expected sqlite"),
        ("postgresql:/u:hush@h/db", "expected sqlite"),
        ("postgres//u:hush@h/db", "expected sqlite"),
        ("postgresql//u:hush", "expected sqlite"),
        ("u:hush@h/db", "expected sqlite"),
        ("postgresql:u:hush:h", "expected sqlite"),
        ("jdbc:postgresql://h/db?user=u&password=hush", "expected sqlite"),
        ("postgresql://u:hu@hush@h/db", "%40"),
        ("postgresql://u:hu/hush@h/db", "%2F"),
        ("postgresql://u:12?hush@h/db", "%3F"),
        ("postgresql://u:hush", "port"),
        ("postgresql://h:54x2/db", "port"),
        ("postgresql://h:99999/db", "port"),
        ("postgresql://u:hush@h:1,h2:x/db", "port"),
        ("postgresql://::1/db", "brackets"),
        ("postgresql+asyncpg://u:hush@h/d", "without a driver"),
        ("sqlite+aiosqlite:///a.db", "write sqlite:///FILE"),
        ("sqlite://rsc.db", "four slashes"),
        ("sqlite:////tmp/what?/rsc.db", "must not contain '?'"),
        ("sqlite:///a.db?foo=bar", "has the option 'foo', which SQLite does not have: timeout"),
        ("sqlite:///a.db?timeout=abc", "has a value of 'timeout' that is not accepted"),
        ("sqlite:///a.db?timeout=nan", "has a value of 'timeout' that is not accepted"),
        ("sqlite:///a.db?timeout=1&timeout=2", "has a value of 'timeout' that is not accepted"),
        ("postgresql://u:hush@h/d?pwd=hush", "option 'pwd'"),
        ("postgresql://h/d?passwrd=hush", "option 'passwrd'"),
        ("postgresql://h/d?connect_timeout=soon", "connect_timeout"),
        ("hostt=h password=hush", "expected sqlite"),
        ("host=h password='hush hush' x", "expected sqlite"),
    ],
)
def test_parse__anything_else__is_refused_in_one_line_without_its_password(text, why):
    with pytest.raises(DatabaseError) as refused:
        parse_url(text)
    message = str(refused.value)
    assert why in message
    assert SECRET not in message + masked(text)
    assert "\n" not in message


def test_is_file__tells_files_from_servers():
    assert is_file("sqlite:///a.db")
    assert not is_file("postgres://h/db")
