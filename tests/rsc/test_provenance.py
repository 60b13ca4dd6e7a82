"""Versions of the code in a run's row."""

from __future__ import annotations

import socket
import subprocess
from pathlib import Path

from rsc.provenance import provenance


def git(folder: Path, *arguments: str) -> str:
    settings = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *settings, *arguments], cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_provenance__folder_under_git__names_its_commit_and_whether_it_changed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] is None
    git(tmp_path, "init", "-q")
    (tmp_path / "train.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    commit = git(tmp_path, "rev-parse", "HEAD")
    assert provenance()["git_commit"] == commit
    (tmp_path / "train.py").write_text("2")
    assert provenance()["git_commit"] == f"{commit}-dirty"


def test_provenance__without_git__is_unknown(monkeypatch):
    monkeypatch.setenv("PATH", "")
    found = provenance()
    assert found["git_commit"] is None
    assert found["driver_host"] == socket.gethostname()
    assert found["package_version"]
