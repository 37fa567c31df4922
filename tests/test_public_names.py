"""What the package offers, and that it offers nothing else."""

from __future__ import annotations

import subprocess
import sys
import types
from typing import Any

import pytest
from support.staging import PATIENCE

import grpc_guard


def test_the_public_names() -> None:
    """There are at most 24 public names, sorted, and each is there."""
    names = grpc_guard.__all__
    assert sorted(names) == names
    assert len(set(names)) == len(names) <= 24
    for name in names:
        assert getattr(grpc_guard, name).__module__.startswith("grpc_guard.")


def test_importing_all() -> None:
    """`from grpc_guard import *` brings the public names and nothing else."""
    namespace: dict[str, Any] = {}
    exec("from grpc_guard import *", namespace)
    del namespace["__builtins__"]
    assert sorted(namespace) == grpc_guard.__all__


def test_asking_for_a_name_that_is_not_there() -> None:
    """Any other name is an AttributeError, as in any module."""
    with pytest.raises(AttributeError) as raised:
        grpc_guard.nonsense  # noqa: B018
    assert str(raised.value) == "module 'grpc_guard' has no attribute 'nonsense'"


def test_leaking_nothing_private() -> None:
    """What the package defines is public, or begins with an underscore, or is a module."""
    ours = {
        name
        for name, value in vars(grpc_guard).items()
        if not name.startswith("_")
        and not isinstance(value, types.ModuleType)
        and getattr(value, "__module__", "").startswith("grpc_guard")
    }
    assert ours - set(grpc_guard.__all__) == set()


def test_listing_the_names_before_their_use() -> None:
    """dir() of the freshly imported package lists the public names."""
    program = "import grpc_guard; print(sorted(set(grpc_guard.__all__) - set(dir(grpc_guard))))"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_the_asyncio_names() -> None:
    """grpc_guard.aio is there without an import of its own, and imports no grpc before its use."""
    program = (
        "import sys, grpc_guard; print('aio' in dir(grpc_guard), 'grpc' in sys.modules); "
        "print(grpc_guard.aio.__all__, grpc_guard.aio.ChannelRegistry.__name__)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ran.stdout, ran.stderr) == (
        "True False\n['ChannelRegistry', 'FanOut', 'Receiver', 'Sender', 'StreamEnded'] ChannelRegistry\n",
        "",
    )
