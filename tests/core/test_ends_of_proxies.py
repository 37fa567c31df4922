"""How proxies end, and what is left of one for the next that is made of its memory: the same on either core."""

from __future__ import annotations

import asyncio
import gc
import sys
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from inside import Mode, Stream, aio_calls, core_which
from support.operating import Plain

compiled: Any = core_which.compiled()


class Call(Plain):
    """A plain call of this file's own: its proxies have a class of their own."""


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def a_proxy(plain: Any = None) -> Any:
    loop = asyncio.get_running_loop()
    stream = Stream("/test/Ends", "client", "aio", Mode.RAISE, loop)
    return aio_calls.DuplexCall(plain or Call(), stream)


async def test_what_a_proxy_holds_goes_with_it() -> None:
    """What is wrapped, the stream and the directions die with the last reference, at once."""
    proxy = a_proxy()
    held = [
        weakref.ref(one)
        for one in (
            proxy.__wrapped__,
            proxy._self_stream,
            proxy._self_read,
            proxy._self_write,
        )
    ]
    del proxy
    assert [one() for one in held] == [None] * 4


async def test_a_weak_reference_to_a_proxy() -> None:
    """It is cleared, and its callback is called, before another proxy is made."""
    gone: list[Any] = []
    for _ in range(3):
        proxy = a_proxy()
        reference = weakref.ref(proxy, gone.append)
        del proxy
        assert gone.pop() is reference
        assert reference() is None
    assert weakref.getweakrefcount(a_proxy()) == 0


async def test_attributes_of_a_proxy_alone() -> None:
    """What somebody has put into the dict of a proxy is not in that of the next."""
    for _ in range(3):
        proxy = a_proxy()
        assert not hasattr(proxy, "_self_mine")
        proxy._self_mine = held = Plain()
        assert proxy._self_mine is held
        weak = weakref.ref(held)
        del proxy, held
        assert weak() is None


async def test_a_dict_that_outlives_its_proxy() -> None:
    """Who keeps the dict of a proxy shares it with no other."""
    proxy = a_proxy()
    if not hasattr(proxy, "__self_dict__"):
        pytest.skip("this version of wrapt does not hand it out")
    kept = proxy.__self_dict__
    del proxy
    kept["_self_mine"] = 1
    assert not hasattr(a_proxy(), "_self_mine")


async def test_references_to_the_class_of_proxies() -> None:
    """Each proxy holds its class as long as it lives, and no longer."""
    proxies = [a_proxy() for _ in range(50)]  # more than are kept
    cls: Any = type(proxies[0])
    before = sys.getrefcount(cls)
    proxies.clear()
    after = sys.getrefcount(cls)
    assert before - after == 50
    for _ in range(100):
        a_proxy()
    assert sys.getrefcount(cls) == after


async def test_a_method_that_a_program_replaces() -> None:
    """It has the proxy become of another class, whose objects end in the same way."""
    proxy = a_proxy()
    twin = type(proxy)
    proxy.read = read = Plain().read
    assert proxy.read == read
    assert type(proxy) is not twin
    held = weakref.ref(proxy.__wrapped__)
    del proxy
    assert held() is None
    assert type(a_proxy()) is twin


async def test_a_class_with_a_finalizer() -> None:
    """A __del__ that a program gives to the class is called once for each, and may keep the proxy."""
    finalized: list[Any] = []
    cls = type(a_proxy())
    type.__setattr__(cls, "__del__", lambda self: finalized.append(self))
    try:
        a_proxy()
        (proxy,) = finalized
        assert proxy._self_read.stream is proxy._self_stream
        finalized.clear()
        held = weakref.ref(proxy.__wrapped__)
        del proxy
        assert held() is None
        assert finalized == []
    finally:
        type.__delattr__(cls, "__del__")
    a_proxy()
    assert finalized == []


async def test_a_class_with_more_slots() -> None:
    """The proxies of a class that adds a slot let go of what is in there, too."""

    class More(aio_calls.DuplexCall):
        __slots__ = ("_self_more",)

    loop = asyncio.get_running_loop()
    for _ in range(3):
        proxy: Any = More(Call(), Stream("/test/Ends", "client", "aio", Mode.RAISE, loop))
        assert not hasattr(proxy, "_self_more")
        proxy._self_more = held = Plain()
        weak = weakref.ref(held)
        del proxy, held
        assert weak() is None


async def test_a_proxy_in_a_cycle() -> None:
    """The collector finds it, and what it held goes."""
    proxy = a_proxy()
    held = weakref.ref(proxy.__wrapped__)
    proxy.__wrapped__.proxy = proxy
    del proxy
    assert held() is not None
    gc.collect()
    assert held() is None
    assert not hasattr(a_proxy().__wrapped__, "proxy")


@pytest.mark.skipif(compiled is None, reason="needs the compiled core")
def test_what_ends_by_slot_takes() -> None:
    """A class, and the descriptor of what wrapt's objects wrap; it refuses classes of other kinds."""
    wrapped = vars(aio_calls.DuplexCall.__base__.__base__)  # type: ignore[union-attr]
    assert "__wrapped__" not in wrapped
    for wrong in ((), (int,), (int, int), (1, type.__dict__["__name__"])):
        with pytest.raises(TypeError, match="takes a class"):
            compiled.ends_by_slot(*wrong)
    other = type.__dict__["__abstractmethods__"]
    assert compiled.ends_by_slot(type("Own", (), {}), other) is False
