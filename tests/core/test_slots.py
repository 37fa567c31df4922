"""What the compiled core fills into the classes of proxies: the same as type() does, on either core."""

from __future__ import annotations

import asyncio
import ctypes
import operator
import sys
import threading
from typing import Any
from unittest import mock

import pytest
from inside import Mode, NextProxy, core_which, forks, proxies_unary, sync_channel
from support.operating import MESSAGE, Plain, client_next, sync_stream
from support.staging import in_thread

compiled: Any = core_which.compiled()
needs_compiled = pytest.mark.skipif(compiled is None, reason="needs the compiled core")


def test_next_of_the_class_of_a_proxy_that_a_program_has_replaced() -> None:
    """mock.patch.object(type(call), "__next__") replaces next(), for as long as it lasts."""
    proxy = client_next(Plain(), sync_stream(Mode.RAISE)).proxy
    with mock.patch.object(type(proxy), "__next__", return_value=b"replaced"):
        assert next(proxy) == b"replaced"
    assert next(proxy) == MESSAGE


def test_next_of_a_proxy_whose_operation_is_replaced() -> None:
    """Whatever is in the slot is called; an empty one is a missing method."""
    proxy = client_next(Plain(), sync_stream(Mode.RAISE)).proxy
    slot: Any = vars(NextProxy)["__next__"]
    slot.__set__(proxy, iter((b"one",)).__next__)
    assert next(proxy) == b"one"
    with pytest.raises(StopIteration):
        next(proxy)
    slot.__delete__(proxy)
    with pytest.raises(AttributeError, match="__next__"):
        next(proxy)


@needs_compiled
def test_where_the_slot_of_next_is_not_usual() -> None:
    """A class with a __next__ of its own keeps it, and so does one whose slot is elsewhere."""
    usual: Any = type("Usual", (), {"__slots__": ("__next__",)})
    other: Any = type("Other", (usual,), {"__next__": lambda self: 7})
    assert not compiled.next_by_slot(other, vars(usual)["__next__"])
    assert next(other()) == 7
    bare = type("Bare", (), {"__slots__": ("first",)})
    for wrong in ((), (usual,), (7, vars(usual)["__next__"]), (usual, 7)):
        with pytest.raises(TypeError, match="a class and its slot"):
            compiled.next_by_slot(*wrong)
    with pytest.raises(AttributeError, match="__next__"):
        compiled.next_by_slot(bare, vars(bare)["first"])


# What code in C asks of an object; operator.isNumberType() and the like are gone.
CHECKS = ("PySequence_Check", "PyMapping_Check", "PyIndex_Check", "PyCallable_Check")


def checked(thing: Any) -> dict[str, bool]:
    return {
        check: bool(getattr(ctypes.pythonapi, check)(ctypes.py_object(thing))) for check in CHECKS
    }


def is_not_sized(thing: Any) -> bool:
    try:
        len(thing)
    except TypeError as error:
        return str(error) == f"object of type '{type(thing).__name__}' has no len()"
    return False


@needs_compiled
def test_what_code_in_c_asks_of_a_proxy() -> None:
    """It hears what it hears of the wrapped object; also after the program replaced a method."""
    for plain in (Plain(), Sized()):
        proxy = client_next(plain, sync_stream(Mode.RAISE)).proxy
        assert checked(proxy) == checked(plain)
        proxy.is_active = lambda: "replaced"
        assert proxy.is_active() == "replaced"
        assert checked(proxy) == checked(plain)


class Sized(Plain):
    """Has the methods that fill a slot together with another one, one of the two each."""

    def __len__(self) -> int:
        return 3

    def __getitem__(self, key: Any) -> Any:
        return key

    def __delitem__(self, key: Any) -> None:
        raise KeyError(key)

    def __radd__(self, other: Any) -> Any:
        return other, "added"


def test_a_proxy_of_what_has_some_special_methods() -> None:
    """Those that are there are called; the others are missing, as they are plain."""
    proxy = client_next(Sized(), sync_stream(Mode.RAISE)).proxy
    assert (len(proxy), proxy[5], 1 + proxy) == (3, 5, (1, "added"))
    with pytest.raises(KeyError):
        del proxy[1]
    for fails in (lambda: operator.setitem(proxy, 1, 2), lambda: proxy + 1, lambda: proxy * 2):
        with pytest.raises(TypeError):
            fails()


def test_a_special_method_that_a_program_gives_to_the_class_of_a_proxy() -> None:
    """It is called for as long as it is there."""
    proxy = client_next(Plain(), sync_stream(Mode.RAISE)).proxy
    for _ in range(2):
        assert is_not_sized(proxy)
        with mock.patch.object(type(proxy), "__len__", return_value=7, create=True):
            assert len(proxy) == 7
    assert is_not_sized(proxy)
    assert proxy


def test_a_class_below_that_of_a_proxy() -> None:
    """It is one below the class of what is wrapped, as what that class makes is no proxy."""
    proxy = client_next(Sized(), sync_stream(Mode.RAISE)).proxy
    below: Any = type("Below", (type(proxy),), {"more": 7})
    assert below.__mro__[1] is Sized
    assert (len(below()), below().more, type(below())) == (3, 7, below)

    class Told(Sized):
        def __init_subclass__(cls, number: int) -> None:
            cls.number = number  # type: ignore[attr-defined]

    told: Any = type(client_next(Told(), sync_stream(Mode.RAISE)).proxy)

    class Numbered(told, number=3):  # type: ignore[misc]
        pass

    assert Numbered.number == 3

    class Another(type(proxy)):  # type: ignore[misc]
        def twice(self) -> int:
            return 2 * super().__len__()

    assert Another().twice() == 6


@needs_compiled
def test_no_code_of_the_guard_runs_where_list_asks_for_a_length() -> None:
    """list() asks each call for one."""
    unpatched: Any = type(
        "Unpatched", (Plain,), {}
    )  # a class that was patched fills its slots anew
    proxy = client_next(unpatched(), sync_stream(Mode.RAISE)).proxy
    ran = []
    sys.setprofile(lambda frame, event, arg: ran.append(frame) if event == "call" else None)
    try:
        hint = operator.length_hint(proxy, 5)
    finally:
        sys.setprofile(None)
    assert hint == 5
    assert ran == []


@needs_compiled
def test_what_is_no_class_to_empty() -> None:
    for wrong in ((), (Sized,), (7, set()), (int, set()), (Sized, 7)):
        with pytest.raises(TypeError, match="a class in Python and a set of names"):
            compiled.empty_slots(*wrong)


class Answers(Plain):
    """Has an attribute of each kind, and for any other name an answer or none."""

    value = 1

    @property
    def broken(self) -> int:
        raise AttributeError("it is broken")

    @property
    def failing(self) -> int:
        raise OSError("it fails")

    def __getattr__(self, name: str) -> str:
        if name.startswith("no"):
            raise AttributeError(f"there is {name}")
        return name


@pytest.mark.parametrize(
    "name", ["value", "is_active", "_state", "anything", "broken", "failing", "nothing", "__doc__"]
)
def test_an_attribute_of_a_proxy(name: str) -> None:
    """It is that of what is wrapped; and so is what is raised."""
    plain = Answers()
    proxy = client_next(plain, sync_stream(Mode.RAISE)).proxy

    def answer(thing: Any) -> Any:
        try:
            return getattr(thing, name)
        except (AttributeError, OSError) as error:
            return type(error), str(error)

    assert answer(proxy) == answer(plain)


def test_what_finds_attributes_of_a_proxy_that_a_program_has_replaced() -> None:
    """A method of the class that finds attributes is asked, for as long as it is there."""
    proxy = client_next(Plain(), sync_stream(Mode.RAISE)).proxy
    with mock.patch.object(type(proxy), "__getattr__", lambda _, name: name, create=True):
        assert proxy.missing == "missing"
    with pytest.raises(AttributeError, match="missing"):
        _ = proxy.missing
    type.__setattr__(type(proxy), "__getattribute__", lambda _, name: name)
    assert proxy.value == "value"
    type.__delattr__(type(proxy), "__getattribute__")
    assert proxy.is_active()


@needs_compiled
def test_where_attributes_are_not_found_as_usual() -> None:
    """A class that finds them in a way of its own keeps that."""

    def find(_: object, name: str) -> str:
        return name

    usual: Any = object.__getattribute__
    finding: Any = type("Finding", (), {"__getattr__": find})
    assert not compiled.attributes_by_slot(finding, usual, print)
    assert not compiled.attributes_by_slot(finding, print, find)
    assert not compiled.attributes_by_slot(finding, usual, find)  # not the one of proxies
    assert finding().missing == "missing"
    with pytest.raises(AttributeError, match="__getattr__"):
        compiled.attributes_by_slot(int, int.__getattribute__, find)
    for wrong in ((), (finding, usual), (7, usual, find)):
        with pytest.raises(TypeError, match="takes a class"):
            compiled.attributes_by_slot(*wrong)


class Called:
    """A plain multi-callable: it returns what it was called with."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return args, kwargs


KINDS = (sync_channel.UnaryUnary, sync_channel.UnaryStream)


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_a_multi_callable(kind: Any) -> None:
    """The arguments come through as they are: a few, more, and those with names."""
    start = kind(Called(), "/a.B/C", lambda: Mode.RAISE)
    for count in (1, 7, 8, 20):
        assert start(*range(count)) == (tuple(range(count)), {})
        assert start(*range(count), timeout=1) == (tuple(range(count)), {"timeout": 1})


@pytest.mark.parametrize("kind", KINDS)
def test_a_call_of_the_class_of_a_proxy_that_a_program_has_replaced(kind: Any) -> None:
    """mock.patch.object(type(start), "__call__") replaces it, for as long as it lasts."""
    start = kind(Called(), "/a.B/C", lambda: Mode.RAISE)
    for _ in range(2):
        with mock.patch.object(type(start), "__call__", return_value="replaced"):
            assert start(1) == "replaced"
        assert start(1) == ((1,), {})


def test_a_unary_call_where_something_has_changed() -> None:
    """One call after the other: what is called, what runs here and what a fork has left is looked at each time."""
    start: Any = sync_channel.UnaryUnary(Called(), "/a.B/C", lambda: Mode.RAISE)
    other: Any = sync_channel.UnaryUnary(dict, "/a.B/C", lambda: Mode.RAISE)
    watched: Any = mock.Mock(return_value="watched")
    for _ in range(3):
        assert start(1) == ((1,), {})
        with mock.patch.object(Called, "__call__", lambda self, *args: ("replaced", args)):
            assert start(1) == ("replaced", (1,))
        assert other(a=1) == {"a": 1}
        with mock.patch.object(proxies_unary, "blocking", watched):
            assert asyncio.run(asking(start)) == "watched"
        with (
            mock.patch.object(forks, "generation", 1),
            mock.patch.object(proxies_unary, "_look_back", watched),
        ):
            assert start(1) == ((1,), {})
    assert watched.call_count == 6


async def asking(start: Any) -> Any:
    return start(1)


def test_a_unary_call_on_many_threads() -> None:
    """Each thread has a dict of its own, in which asyncio would note its loop, or none."""
    start: Any = sync_channel.UnaryUnary(Called(), "/a.B/C", lambda: Mode.RAISE)
    own = threading.local()

    def ask(number: int) -> list[Any]:
        answers = [start(number)]
        own.number = number
        return [*answers, start(number), asyncio.run(asked()), start(number)]

    async def asked() -> Any:
        with mock.patch.object(proxies_unary, "blocking", return_value="watched"):
            return start(1)

    for number in range(6):
        answer = (number,), {}
        assert in_thread(ask, number).result() == [answer, answer, "watched", answer]


def test_a_unary_call_that_is_refused() -> None:
    """The program gets the error of grpcio; one that says that the channel is closed is looked at."""
    errors = [KeyError("no"), ValueError("Cannot invoke RPC on closed channel!"), KeyError("no")]
    start: Any = sync_channel.UnaryUnary(
        mock.Mock(side_effect=[1, *errors]), "/a.B/C", lambda: Mode.RAISE
    )
    assert start(1) == 1
    with mock.patch.object(proxies_unary, "refused") as refused:
        for error in errors:
            with pytest.raises(type(error)) as raised:
                start(1)
            assert raised.value is error
    assert [one.args[2] for one in refused.call_args_list] == [errors[1]]


@needs_compiled
def test_where_calls_are_not_usual() -> None:
    """A class that is no class of proxies, or that has a `__call__` of its own, keeps what it has."""
    own = type("Own", (sync_channel.UnaryUnary,), {"__slots__": (), "__call__": lambda self: "own"})
    for kind in (Called, own, int):
        assert not compiled.calls_by_slot(kind)
    assert own(Called(), "/a.B/C", lambda: Mode.RAISE)() == "own"
    with pytest.raises(TypeError, match="takes a class"):
        compiled.calls_by_slot(7)
