"""What the tests of the endpoint share: a private folder, an endpoint of their own, and looks that
follow one another."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import endpoints, remembered, sight
from support.staging import PATIENCE


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for entries, below a short path: that of a socket may have 107 bytes."""
    top = tempfile.mkdtemp(prefix="gg")
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", top)
    monkeypatch.setattr(tempfile, "tempdir", top)
    for limit in ("_REQUEST_SECONDS", "_REPLY_SECONDS"):  # who asks may get no processor for long
        monkeypatch.setattr(endpoints, limit, PATIENCE)
    yield Path(top) / f"grpc-guard-{os.getuid()}"
    shutil.rmtree(top, ignore_errors=False)


@pytest.fixture
def endpoint(folder: Path) -> Iterator[Any]:
    """An endpoint of this process, open."""
    opened = endpoints.Endpoint()
    opened.open()
    yield opened
    opened.close()
    assert list(folder.iterdir()) == []


@pytest.fixture
def followed(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """All looks of a test are soon enough after one another; the tasks that they have followed."""
    followed: list[Any] = []
    plain = sight.groups

    def counted(tasks: Any, *others: Any) -> Any:
        followed.extend(tasks)
        return plain(tasks, *others)

    monkeypatch.setattr(sight, "groups", counted)
    monkeypatch.setattr(remembered, "_SECONDS", float("inf"))
    monkeypatch.setattr(remembered, "_last", [0.0, set(), {}, {}])
    return followed
