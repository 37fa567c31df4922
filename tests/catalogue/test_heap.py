"""Live objects by type: they are found, and no other object is held meanwhile."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import pytest
from inside import Direction, Stream, held_by, held_by_each, instances, with_subclasses
from support.staging import Gate, in_thread

import grpc_guard


class Kind:
    pass


class Below(Kind):
    pass


class Alike:
    __class__ = property(lambda self: Kind)  # type: ignore[assignment]


class OfC(dict[Any, Any]):
    """An object of C, of which nothing says that it refers to its class."""


def ids(objects: list[Any]) -> list[int]:
    return sorted(map(id, objects))


@pytest.mark.parametrize("others", [(), (OfC,)])
def test_instances(others: tuple[type, ...]) -> None:
    """Only objects of exactly these types are found, not others that pass for one."""
    made = [Kind(), Below(), Alike(), OfC()]
    of_c = made[3:] if others else []
    assert ids(instances([Kind, *others])) == ids([made[0], *of_c])
    assert ids(instances([*with_subclasses(Kind), *others])) == ids([*made[:2], *of_c])
    assert instances([]) == []
    assert gc.get_threshold()[0] > 0
    gc.disable()
    try:
        instances([Kind, *others])
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_classes_below() -> None:
    """A class and all below it; of type itself, too, which asks another way."""
    assert list(with_subclasses(Kind)) == [Kind, Below]
    assert type in with_subclasses(type)


def enable() -> None:
    with grpc_guard.guarded():
        pass


LOOKS: dict[str, Callable[[], object]] = {
    "instances of Python": lambda: instances([Stream, *with_subclasses(Direction)]),
    "instances of C": lambda: instances([OfC]),
    "snapshot": grpc_guard.snapshot,
    "enable": enable,
}


@pytest.mark.parametrize("look", LOOKS)
def test_tuple_that_another_thread_makes(look: str) -> None:
    """No other code ever holds it; otherwise its maker would fail when it shortens it."""
    gate = Gate()

    def messages() -> Iterator[bytes]:
        yield gate.park(b"")

    def profile(frame: FrameType, event: str, argument: object) -> None:
        if event in ("return", "c_return") and not maker.is_done and is_looking(frame, argument):
            gate.open()
            maker.exception()  # has ended, in any way

    def is_looking(frame: FrameType, argument: object) -> bool:
        return argument is gc.get_objects or frame.f_code is instances.__code__

    maker = in_thread(lambda: tuple(messages()))
    gate.wait()
    sys.setprofile(profile)
    try:
        LOOKS[look]()
    finally:
        sys.setprofile(None)
        gate.open()
    assert maker.result() == (b"",)


# What holds what


def test_what_objects_hold() -> None:
    """It is what the collector sees, of each of them."""
    inner = [Kind()]
    assert held_by([inner, 1], (inner,)) == [1, inner, inner]


class Odd(ModuleType):
    pass


@pytest.mark.parametrize("name", ["_asyncio", "odd"])
def test_what_modules_hold_is_left_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One module of CPython has shown the collector what it had freed: issue 122695 of CPython."""
    monkeypatch.setitem(sys.modules, "odd", Odd("odd"))
    assert held_by([name], sys.modules[name]) == [name]
    assert held_by_each([[name], sys.modules[name]]) == [[name], []]
    assert held_by_each([[name], (name, 1)]) == [[name], [1, name]]
