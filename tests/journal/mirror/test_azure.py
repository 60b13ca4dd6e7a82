"""A mirror in Azure's blob storage, by its emulator azurite (npm)."""

from __future__ import annotations

import base64
import email.utils
import hashlib
import hmac
import shutil
import subprocess
import urllib.request
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from journal import JournalWriter, read_journal
from journal.mirror import MirrorError, open_mirror
from journal.mirror.service import MirrorService
from journal.mirror.store import ExistsError, Store
from tests.support.journals import ABOUT, append_step
from tests.support.s3 import free_port, listens, wait_until

KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""The emulator's published key. It opens nothing else."""
ACCOUNT = "devstoreaccount1"


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the URL of a prefix in an empty container. The environment has the credentials."""
    program = shutil.which("azurite-blob")
    if program is None:
        words = "no azurite-blob was found, so no mirror in Azure is tested: npm install -g azurite"
        warnings.warn(words, stacklevel=1)
        pytest.skip(words)
    port = free_port()
    options = ("--disableTelemetry", "--inMemoryPersistence", "--silent", "--blobHost", "127.0.0.1")
    server = subprocess.Popen(
        [program, *options, "--blobPort", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until(lambda: listens(port), 60)
        url = f"http://127.0.0.1:{port}"
        make_container(f"{url}/{ACCOUNT}/box")
        facts = {"USE_EMULATOR": "true", "ACCOUNT_NAME": ACCOUNT, "ACCOUNT_KEY": KEY}
        for name, value in facts.items():
            monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
        monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", url)
        yield "az://box/some/prefix"
    finally:
        server.kill()
        server.wait()


def make_container(url: str) -> None:
    """Create a container by a signed request."""
    headers = {"x-ms-date": email.utils.formatdate(usegmt=True), "x-ms-version": "2021-12-02"}
    resource = f"/{ACCOUNT}/{ACCOUNT}/{url.rpartition('/')[2]}\nrestype:container"
    text = "PUT" + 12 * "\n" + "".join(f"{name}:{value}\n" for name, value in headers.items()) + resource
    signature = base64.b64encode(hmac.new(base64.b64decode(KEY), text.encode(), hashlib.sha256).digest()).decode()
    headers |= {"Authorization": f"SharedKey {ACCOUNT}:{signature}", "Content-Length": "0"}
    request = urllib.request.Request(f"{url}?restype=container", method="PUT", headers=headers)
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 201


def test_mirror_in_azure__open_and_closed_journals__are_read_back_byte_for_byte(azure: str, tmp_path: Path) -> None:
    root, writers = tmp_path / "root", []
    for _ in range(3):
        writers.append(JournalWriter(root, "r", about=ABOUT))
    service = MirrorService(Store(azure), root)
    service.store.test()
    for _ in range(3):
        for writer in writers:
            for step in range(writer.steps + 1, writer.steps + 41):
                append_step(writer, step)
        service.tick()
    for writer in writers[:2]:
        writer.close()
    service.tick()
    run = open_mirror(azure).run("r")
    assert (len(run.journals), run.problems) == (3, [])
    assert run.fetch(list(run.journals), tmp_path / "copy") == {}
    for writer in writers:
        copy = tmp_path / "copy" / "r" / writer.path.name
        assert copy.read_bytes() == writer.path.read_bytes()
        assert read_journal(copy).last_step == 120
    assert open_mirror(azure).now() is not None
    writers[2].close()


def test_store_in_azure__same_name_twice_and_a_missing_container__are_one_line(azure: str) -> None:
    store = Store(azure)
    store.create("x/y", b"a")
    with pytest.raises(ExistsError):
        store.create("x/y", b"b")
    assert store.get("x/y") == b"a"
    assert store.get_range("x/y", 0, 1) == b"a"
    assert (store.get("x/z"), store.modified("x/z"), store.children("")) == (None, None, ["x"])
    with pytest.raises(MirrorError) as caught:
        Store("az://nobox/prefix").test()
    assert "\n" not in str(caught.value)
    assert caught.value.hint == "create the bucket, or correct its name"
