"""What the package offers, and that it offers nothing else."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
import types
import typing
from typing import Any

import pytest
from inside import service
from support.staging import PATIENCE

import grpc_guard
import grpc_guard.aio
import grpc_guard.demo


def test_the_public_names() -> None:
    """There are at most 24 public names, sorted, and each is there."""
    names = grpc_guard.__all__
    assert sorted(names) == names
    assert len(set(names)) == len(names) <= 24
    for name in names:
        assert getattr(grpc_guard, name).__module__ == "grpc_guard"


PUBLIC = {
    f"{module.__name__}.{name}": getattr(module, name)
    for module in (grpc_guard, grpc_guard.aio)
    for name in module.__all__
}


@pytest.mark.parametrize("name", PUBLIC)
def test_each_is_found_under_its_public_name(name: str) -> None:
    """A traceback, a repr and a pickle have the name under which people import it."""
    thing = PUBLIC[name]
    assert PUBLIC[f"{thing.__module__}.{thing.__name__}"] is thing
    assert pickle.loads(pickle.dumps(thing)) is thing


@pytest.mark.parametrize("name", [*grpc_guard.__all__, "aio", "inspection"])
def test_each_may_be_used_before_grpc(name: str) -> None:
    """enable() waits for the import of grpc, also for the one that another public name does."""
    use = "()" if name == "snapshot" else ""
    program = f"""
import grpc_guard
grpc_guard.enable()
grpc_guard.{name}{use}
import grpc
assert grpc_guard.is_enabled()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("name", PUBLIC)
def test_annotations_can_be_read(name: str) -> None:
    """typing.get_type_hints() resolves those of the public names and of their methods."""
    thing = PUBLIC[name]
    hints = typing.get_type_hints(thing)
    assert not any(isinstance(hint, (str, typing.ForwardRef)) for hint in hints.values())
    for method in vars(thing).values():
        if isinstance(thing, type) and inspect.isfunction(method):
            assert isinstance(typing.get_type_hints(method), dict)


def test_records_of_a_public_function_can_be_named() -> None:
    """The records inside the records that are handed out are public too."""
    hints = typing.get_type_hints(grpc_guard.Finding)
    assert (hints["rule"], hints["caller"]) == (grpc_guard.Rule, grpc_guard.Owner)
    assert typing.get_type_hints(grpc_guard.Owner)["stack"] == tuple[grpc_guard.Frame, ...]
    assert typing.get_type_hints(grpc_guard.status)["return"] is grpc_guard.Status


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


def test_the_service_of_the_demo() -> None:
    """What the examples of the docs import is public, and is what the demo itself serves."""
    assert all(hasattr(grpc_guard.demo, name) for name in grpc_guard.demo.__all__)
    assert grpc_guard.demo.serving is service.serving
