"""The patches of enable(): beside those of others, when one fails, when grpcio has changed."""

from __future__ import annotations

import functools
import importlib
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from inside import lifecycle_channels, process_patches
from support.enabling import (
    METHODS,
    Chat,
    aio_echo,
    changed_since,
    echo,
    grpcio,
    is_guarded,
    restored,
)
from support.staging import PATIENCE, path, sync_channel, sync_server

import grpc_guard
from grpc_guard import disable, enable, guarded, is_enabled

__all__ = ["restored"]


# Others who patch


def test_a_patch_that_came_later(caplog: pytest.LogCaptureFixture) -> None:
    """A patch of other code on top still works after disable(), and after another enable()."""
    owner = importlib.import_module("grpc._channel")._StreamStreamMultiCallable
    original = owner.__call__
    enable()
    below, seen = owner.__call__, []

    def foreign(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(is_enabled())
        return below(self, *args, **kwargs)

    try:
        with echo() as stub:
            owner.__call__ = foreign
            assert is_guarded(Chat(stub).call)
            disable()
            assert owner.__call__ is foreign
            assert not is_guarded(Chat(stub).call)
            enable()
            chat = Chat(stub)
            assert is_guarded(chat.call)
            assert not is_guarded(chat.call.__wrapped__)
            disable()
            assert owner.__call__ is foreign
    finally:
        owner.__call__ = original
    assert seen == [True, False, True]


def test_wrap_under_a_patch_that_came_later() -> None:
    """A channel wrapped by hand goes through a patch of other code on top."""
    owner = importlib.import_module("grpc._channel")._StreamStreamMultiCallable
    original = owner.__call__
    enable()
    below, seen = owner.__call__, []

    @functools.wraps(below)
    def foreign(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(self)
        return below(self, *args, **kwargs)

    owner.__call__ = foreign
    try:
        with sync_server(METHODS, mode=None) as address, sync_channel(address) as channel:
            assert is_guarded(Chat(channel.stream_stream(path("Echo"))).call)
    finally:
        owner.__call__ = original
    assert len(seen) == 1


def test_a_patch_that_came_later_and_went(monkeypatch: pytest.MonkeyPatch) -> None:
    """A patch that other code restored after disable() is inert, and serves the next enable()."""
    owner = importlib.import_module("grpc._channel")._StreamStreamMultiCallable
    original = owner.__call__
    enable()
    with monkeypatch.context() as foreign, echo() as stub:
        foreign.setattr(owner, "__call__", functools.partialmethod(owner.__call__))
        disable()
    below = owner.__call__
    assert below is not original
    with echo() as stub:
        assert not is_guarded(Chat(stub).call)
        enable()
        assert owner.__call__ is below
        chat = Chat(stub)
        assert is_guarded(chat.call)
        assert not is_guarded(chat.call.__wrapped__)
    disable()
    assert owner.__call__ is original


@pytest.mark.parametrize("how", ["generic", "registered"])
def test_a_server_under_patches_that_came_later(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server class with another patch on top makes plain servers after disable()."""
    owner = importlib.import_module("grpc._server")._Server
    names = ("__init__", "add_generic_rpc_handlers", "add_registered_method_handlers")
    enable()
    with monkeypatch.context() as foreign:
        for name in names:
            foreign.setattr(owner, name, functools.partialmethod(getattr(owner, name)))
        disable()
        with (
            sync_server(METHODS, mode=None, how=how) as address,
            sync_channel(address, mode=None) as channel,
        ):
            assert Chat(channel.stream_stream(path("Echo"))).first == b"plain"
    enable()  # takes up what the foreign patches put back
    disable()


def test_a_channel_under_patches_that_came_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """A channel class with another patch on top notes nothing after disable()."""
    owner = importlib.import_module("grpc._channel").Channel
    enable()
    with monkeypatch.context() as foreign:
        for name in ("__init__", "_close"):
            foreign.setattr(owner, name, functools.partialmethod(getattr(owner, name)))
        disable()
        before = list(lifecycle_channels.lives())
        with sync_channel("127.0.0.1:1", mode=None):
            assert list(lifecycle_channels.lives()) == before
    enable()  # takes up what the foreign patches put back
    disable()


# Failure


class Stubborn(type):
    """The type of classes that cannot be patched."""

    def __setattr__(cls, name: str, value: object) -> None:
        raise RuntimeError(f"{name} cannot be patched")


@pytest.fixture
def unpatched(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let enable() find anew what it has to patch."""
    monkeypatch.setattr(process_patches, "_patches", [])
    yield
    disable()


@pytest.mark.usefixtures("unpatched")
def test_a_patch_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """If one patch fails those before it are taken back, and the guard stays off."""
    module = importlib.import_module("grpc.aio._server")
    stubborn = Stubborn("Server", (), dict(vars(module.Server)))
    monkeypatch.setattr(module, "Server", stubborn)
    before = grpcio()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="__init__ cannot be patched"):
            enable()
        assert (changed_since(before), is_enabled()) == ([], False)
    with pytest.raises(RuntimeError, match="__init__ cannot be patched"), guarded():
        pass
    assert (changed_since(before), is_enabled()) == ([], False)


def test_removal_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The guard is off all the same, and the next enable() finds nothing half done."""
    plain_remove = process_patches.remove

    def interrupted() -> None:
        plain_remove()
        raise KeyboardInterrupt

    enable()
    with monkeypatch.context() as patch:
        patch.setattr(process_patches, "remove", interrupted)
        with pytest.raises(KeyboardInterrupt):
            disable()
    assert not is_enabled()
    enable()
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        assert Chat(channel.stream_stream(path("Echo"))).first == b"guarded"


def test_servers_that_cannot_be_guarded(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the servers that exist cannot be guarded all patches are taken back."""

    def fail(*args: Any) -> None:
        raise KeyboardInterrupt

    before = grpcio()
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        with monkeypatch.context() as patch:
            patch.setattr(importlib.import_module("grpc_guard._proxies.servers"), "adopt", fail)
            with pytest.raises(KeyboardInterrupt):
                enable()
        assert (changed_since(before), is_enabled()) == ([], False)
        enable()
        assert Chat(channel.stream_stream(path("Echo"))).first == b"guarded"


_IMPORTING = """
import sys, threading
import grpc_guard

grpc_guard.enable()  # from now on, whoever imports grpc patches it afterwards
grpc_guard.disable()
entered, go = threading.Event(), threading.Event()


class Finder:
    def find_spec(self, name, path, target=None):
        if name == "grpc.aio":  # grpc imports it, and is not complete yet
            entered.set()
            assert go.wait(20)


sys.meta_path.insert(0, Finder())
importer = threading.Thread(target=__import__, args=("grpc",), daemon=True)
importer.start()
assert entered.wait(20)
grpc_guard.enable()
go.set()
importer.join(20)
assert not importer.is_alive()

import grpc._channel

assert grpc_guard.is_enabled()
assert hasattr(grpc._channel._UnaryStreamMultiCallable.__call__, "__wrapped__")
"""


_WAITING = """
import sys
import grpc_guard

for switch in (grpc_guard.enable, grpc_guard.disable, {last}):
    switch()
{before}
import grpc._channel

print(grpc_guard.is_enabled(), hasattr(grpc._channel._UnaryStreamMultiCallable.__call__, "__wrapped__"))
"""


def played(tmp_path: Path, code: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(Path(grpc_guard.__file__).parents[1])}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        timeout=2 * PATIENCE,
        check=True,
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(("last", "expected"), [("enable", True), ("disable", False)])
def test_switching_before_grpc_is_imported(last: str, expected: bool, tmp_path: Path) -> None:
    """What counts when grpc is imported is how the switch stands then."""
    process = played(tmp_path, _WAITING.format(last=f"grpc_guard.{last}", before=""))
    assert process.stdout == f"{expected} {expected}\n"


def test_grpc_that_cannot_be_patched_when_it_is_imported(tmp_path: Path) -> None:
    """The program's import works, the guard is off, and the log says so."""
    broken = "sys.modules['grpc_guard._process.patches'] = None"
    process = played(tmp_path, _WAITING.format(last="grpc_guard.enable", before=broken))
    assert process.stdout == "False False\n"
    assert process.stderr.startswith("grpc could not be patched: the guard is off\nTraceback")


_INTERRUPTED = """
import sys, types
import grpc_guard

class Limit(Exception):
    pass

def apply():
    raise Limit

sys.modules["grpc_guard._process.patches"] = types.SimpleNamespace(apply=apply)
grpc_guard.enable()
try:
    import grpc
except Limit:
    print("interrupted", grpc_guard.is_enabled())
"""


def test_exception_of_the_program_while_grpc_is_patched(tmp_path: Path) -> None:
    """What interrupts the program's import comes out of it, as it would without the guard."""
    process = played(tmp_path, _INTERRUPTED)
    assert (process.stdout, process.stderr) == ("interrupted False\n", "")


def test_enable_while_another_thread_imports_grpc(tmp_path: Path) -> None:
    """enable() does not wait for an import that will have to wait for it."""
    played(tmp_path, _IMPORTING)


# grpcio's private names


def _lose_a_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("grpc._channel._StreamStreamMultiCallable")


def _lose_a_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("grpc.aio._server.Server.add_generic_rpc_handlers")


def _lose_a_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc._server", None)


@pytest.mark.usefixtures("unpatched")
@pytest.mark.parametrize("lose", [_lose_a_class, _lose_a_method, _lose_a_module])
def test_private_names_that_have_moved(
    lose: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The public factories are patched instead, and the log says so once."""
    before = grpcio()
    with monkeypatch.context() as moved:
        lose(moved)
        with caplog.at_level(logging.WARNING, "grpc_guard"):
            for _ in range(2):
                enable()
                disable()
            enable()
    assert [record.getMessage().count("public factories") for record in caplog.records] == [1]
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        stub = channel.stream_stream(path("Echo"))
        chat = Chat(stub)
        assert (is_guarded(chat.call), chat.first) == (True, b"guarded")
        disable()
        chat = Chat(stub)
        assert (is_guarded(chat.call), chat.first) == (False, b"plain")
    assert changed_since(before) == []


@pytest.mark.usefixtures("unpatched")
def test_wrapping_what_the_public_factories_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """A guard put on by hand takes the place of the one that a factory put on."""
    with monkeypatch.context() as moved:
        _lose_a_class(moved)
        enable()
    with sync_server(METHODS, mode=None) as address, sync_channel(address, mode=None) as channel:
        by_hand = grpc_guard.wrap(channel, mode="warn")
        assert by_hand is not channel
        assert by_hand.__wrapped__ is channel.__wrapped__
        disable()
        assert is_guarded(Chat(by_hand.stream_stream(path("Echo"))).call)


@pytest.mark.usefixtures("unpatched")
async def test_an_aio_server_without_registered_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server class that knows generic handlers alone is guarded all the same."""
    with monkeypatch.context() as older:
        older.delattr("grpc.aio._server.Server.add_registered_method_handlers")
        enable()
        async with aio_echo() as stub:
            assert await stub().read() == b"guarded"
        disable()


@pytest.mark.usefixtures("unpatched")
def test_a_server_whose_thread_runs_something_else(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What a server's thread runs may have another name: only its end goes unnoticed then."""
    with monkeypatch.context() as moved:
        moved.delattr("grpc._server._serve")
        enable()
    with echo() as stub:
        assert Chat(stub).first == b"guarded"
    assert caplog.messages == []


@pytest.mark.usefixtures("unpatched")
async def test_private_names_that_have_moved_in_aio(monkeypatch: pytest.MonkeyPatch) -> None:
    """The public asyncio factories are patched instead."""
    with monkeypatch.context() as moved:
        _lose_a_class(moved)
        enable()
    async with aio_echo() as stub:
        call = stub()
        assert (is_guarded(call), await call.read()) == (True, b"guarded")
