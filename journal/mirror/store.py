"""Read and write an object store through obstore. Waits are bounded, and errors are one line."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

from journal.errors import JournalError
from journal.format.header import is_name

ROOT_OBJECT = "journal-mirror"  # the object that marks the root of a mirror; `Store.test` writes it
_ROOT_CONTENT = b'{"format": "journal mirror", "version": 1}\n' + bytes(range(256))
_SCHEMES = ("s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "adl", "file", "http", "https")
_TIMEOUT = timedelta(seconds=10)
_PASSWORD = re.compile(r"//[^/@\s]+@|([?&](?:sig|token|X-Amz-[A-Za-z]+)=)[^&\s]+")


class MirrorError(JournalError):
    """The mirror cannot be written or read. ``hint`` says what to do."""


class ExistsError(MirrorError):
    """An object of this name already exists."""


@dataclass(frozen=True)
class Entry:
    """A stored object: its name below the mirror's root, its size, and when it was written, by the store's clock."""

    name: str
    size: int
    modified: datetime


def is_url(text: str) -> bool:
    """Return True if the text is the URL of a store and not a path."""
    return "://" in text and text.partition("://")[0].lower() in _SCHEMES


def without_secrets(text: str) -> str:
    """Return a URL or message without user names, passwords and signatures."""
    return _PASSWORD.sub(lambda found: f"{found[1]}..." if found[1] else "//", text)


def host_in_mirror(host: str) -> str:
    """Return a host's name as a part of object names."""
    return host if is_name(host) else f"host-{hashlib.sha256(host.encode()).hexdigest()[:16]}"


class Store:
    """The objects under one URL or folder.

    Args:
        url: ``s3://bucket/prefix``, ``gs://``, ``az://``, ``file://``, or a folder.
        make: Create the folder if it does not exist.

    Raises:
        MirrorError: The URL cannot be used, or obstore is not installed.
    """

    def __init__(self, url: str, *, make: bool = False) -> None:
        self.url = without_secrets(url).rstrip("/") or url
        try:
            import obstore  # of the extra `cloud`
        except ImportError:
            raise MirrorError(
                "mirrors need obstore, which is not installed", hint='pip install "reinforce-strategy-creator[cloud]"'
            ) from None
        self._obstore = obstore
        try:
            self._store = _opened(url, make)
        except Exception as error:  # obstore raises ValueError, OSError and its own classes
            self._fail("open", error)

    def put(self, name: str, data: bytes) -> None:
        """Write an object; replace it if it exists. Raises MirrorError."""
        self._call("write", self._obstore.put, name, data)

    def create(self, name: str, data: bytes) -> None:
        """Write an object that must not exist.

        Raises:
            ExistsError: The object exists.
            MirrorError: The write failed, or it is unknown whether it succeeded.
        """
        try:
            self._obstore.put(self._store, name, data, mode="create", use_multipart=False)
        except self._obstore.exceptions.AlreadyExistsError as error:
            raise ExistsError(f"{self.url}/{name} exists") from error
        except Exception as error:
            self._fail("write", error)

    def get(self, name: str) -> bytes | None:
        """Return an object's bytes; None if it does not exist."""
        found = self._call("read", lambda store, name: bytes(self._obstore.get(store, name).bytes()), name)
        return None if found is None else bytes(found)

    def get_range(self, name: str, start: int, length: int) -> bytes | None:
        """Return a range of an object's bytes, shorter if the object ends in it; None if the object does not exist."""
        if length == 0:
            return b""
        found = self._call(
            "read", lambda store, name: self._obstore.get_range(store, name, start=start, length=length), name
        )
        return None if found is None else bytes(found)

    def get_start(self, name: str, length: int) -> tuple[bytes, int] | None:
        """Return the first bytes of an object and the object's size; None if it does not exist."""

        def read(store: Any, name: str) -> tuple[bytes, int]:
            try:
                found = self._obstore.get(store, name, options={"range": (0, length)})
            except self._obstore.exceptions.BaseError as error:
                if re.search(r"range was invalid|InvalidRange|\b416\b", str(error)):  # an empty object has no range
                    return b"", 0
                raise
            return bytes(found.bytes()), found.meta["size"]

        got: tuple[bytes, int] | None = self._call("read", read, name)
        return got

    def entries(self, prefix: str, after: str = "") -> Iterator[Entry]:
        """Yield the objects under a prefix whose names sort after ``after``. Raises MirrorError."""
        try:
            for page in self._obstore.list(self._store, prefix or None, offset=after or None, chunk_size=1000):
                for one in page:
                    yield Entry(one["path"], one["size"], one["last_modified"])
        except FileNotFoundError:
            return
        except Exception as error:
            self._fail("list", error)

    def children(self, prefix: str) -> list[str]:
        """Return the names directly under a prefix that have objects below them."""
        found = self._call("list", self._obstore.list_with_delimiter, prefix or None)
        return [] if found is None else sorted(path.rstrip("/").rpartition("/")[2] for path in found["common_prefixes"])

    def modified(self, name: str) -> datetime | None:
        """Return when an object was written, by the store's clock; None if it does not exist."""
        found = self._call("read", self._obstore.head, name)
        return None if found is None else found["last_modified"]

    def delete(self, name: str) -> None:
        """Delete an object. Raises MirrorError."""
        self._call("delete", self._obstore.delete, name)

    def is_root(self) -> bool:
        """Return True if this is the root of a mirror."""
        return self.modified(ROOT_OBJECT) is not None

    def test(self) -> None:
        """Write one object, read it back, and compare. Raises MirrorError."""
        self.put(ROOT_OBJECT, _ROOT_CONTENT)
        if self.get(ROOT_OBJECT) != _ROOT_CONTENT:
            raise MirrorError(
                f"{self.url} returns other bytes than were written, so it cannot hold a mirror",
                hint="some S3 clones store the checksums of uploads as data; use another store or a newer release of it",
            )

    def _call(self, verb: str, function: Any, *arguments: Any) -> Any:
        """Call obstore; return None if the object does not exist."""
        try:
            return function(self._store, *arguments)
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error) or verb == "write":
                self._fail(verb, error)
            return None
        except Exception as error:
            self._fail(verb, error)

    def _fail(self, verb: str, error: Exception) -> NoReturn:
        why, hint = _explained(without_secrets(str(error)), type(error).__name__)
        raise MirrorError(f"cannot {verb} {self.url}: {why}", hint=hint) from error


_NO_BUCKET = "create the bucket, or correct its name"
_NO_CREDENTIALS = "set them in the environment, for example AWS_ACCESS_KEY_ID or GOOGLE_APPLICATION_CREDENTIALS"
_WRONG_CREDENTIALS = "check the credentials in the environment"
_NO_PERMISSION = "the credentials lack the permission for this bucket"
_NETWORK = "check the endpoint (for S3 AWS_ENDPOINT_URL) and the network, then try again"
_METADATA_SERVICE = r"//(169\.254\.169\.254|metadata\.google\.internal|metadata)[/:]"
_REASONS = (
    (_METADATA_SERVICE, "there are no credentials", _NO_CREDENTIALS),
    (r"cannot have a URL", "", "use s3://, gs://, az://, file:// or a folder"),
    (r"MissingAccount\b", "the account is unknown", "set AZURE_STORAGE_ACCOUNT_NAME"),
    (r"NoSuchBucket|bucket does not exist|ContainerNotFound", "", _NO_BUCKET),
    (r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidClientTokenId|AuthFailure", "", _WRONG_CREDENTIALS),
    (r"AccessDenied", "", _NO_PERMISSION),
    (
        r"[Cc]onnection refused|tcp connect error|ConnectError|dns error|kind: Connect\b",
        "it cannot be reached",
        _NETWORK,
    ),
    (r"kind: Timeout|TimedOut|operation timed out", "it does not answer in time", _NETWORK),
    (r"status code: 401|Unauthenticated", "", _WRONG_CREDENTIALS),
    (r"status code: 403|PermissionDenied", "", _NO_PERMISSION),
    (r"[Cc]redential", "", _WRONG_CREDENTIALS),
)
"""Signs in obstore's messages, what they mean (empty: see `_in_words`), and what to do. The first that is found decides.

Requests to the metadata service of a cloud are made only if the environment has no credentials.
"""


def _explained(text: str, name: str) -> tuple[str, str]:
    """Return the reason why a call failed, and what to do. ``name`` is that of the exception's class."""
    for sign, words, hint in _REASONS:
        if re.search(sign, text):
            return words or _in_words(text, name), hint
    return _in_words(text, name), ""


def _in_words(text: str, name: str) -> str:
    """Extract the reason from obstore's message, which repeats it over several lines."""
    code = re.search(r"<Code>([^<]+)</Code>", text)
    message = re.search(r"<Message>([^<\n]+)", text)  # Azure puts the request's id and time on further lines
    if code:
        return f"{code[1]}" + (f": {message[1]}" if message else "")
    status = re.search(r"status code: (\d{3}[A-Za-z ]*)", text)
    if status:
        return f"it answers {status[1].strip()}"
    lines = [line.strip() for line in text.splitlines() if line.strip() and "Debug source" not in line]
    return (lines[0] if lines else name)[:300]


def _opened(url: str, make: bool) -> Any:
    from obstore.store import LocalStore, from_url  # of the extra `cloud`

    if "://" in url and not is_url(url):
        raise ValueError(f"a mirror cannot have a URL that begins with {url.partition('://')[0]}://")
    if url.startswith("file://"):
        url = url.removeprefix("file://")
    if not is_url(url):
        path = Path(url).absolute()
        if not make and not path.is_dir():
            raise FileNotFoundError(f"there is no folder {path}")
        return LocalStore(path, mkdir=make)
    open_url: Any = from_url  # typed as Any: its overloads take one kind of store each
    options = {"timeout": _TIMEOUT, "connect_timeout": timedelta(seconds=3), "allow_http": True}
    retry = {"max_retries": 1, "retry_timeout": _TIMEOUT}
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1"
    extra: Any = {"region": region} if url.startswith("s3") else {}
    return open_url(url, client_options=options, retry_config=retry, **extra)
