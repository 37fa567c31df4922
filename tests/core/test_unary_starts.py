"""The start of a unary RPC in C beside the method in Python that it stands for."""

from __future__ import annotations

import gc
import inspect
import sys
import weakref
from types import SimpleNamespace
from typing import Any

import pytest
from inside import Mode, core_which

compiled: Any = core_which.compiled()
if compiled is None:
    pytest.skip("needs the compiled core: GRPC_GUARD_PURE", allow_module_level=True)

OFF, LOOP = Mode.OFF, object()


class Proxy:
    """What the method belongs to: `call` is the plain multi-callable."""

    def __init__(self, call: Any, mode: Mode = Mode.RAISE, loop: object = LOOP) -> None:
        self.__wrapped__ = call
        self._self_choose = lambda: mode
        if loop is not None:
            call._loop = loop


def method(proxy: Any, *args: Any, **kwargs: Any) -> Any:
    """Start it in Python."""
    return "in Python", args, kwargs


def start(log: list[Any], running: Any = None, **changed: Any) -> Any:
    """Return what starts RPCs where the loop `running` runs, and logs what it reports."""
    told: dict[str, Any] = {
        "forks": {"generation": 0},
        "in_force": None,
        "off": OFF,
        "running_loop": lambda: running,
        "refusals": (ValueError,),
        "refused": lambda proxy, error: log.append(repr(error)),
        "late": None,
        "refused_late": lambda proxy, call: log.append(call),
    }
    return compiled.UnaryStart(method, *{**told, **changed}.values())


def aio(log: list[Any], mode: Mode = OFF, **changed: Any) -> Any:
    in_force = SimpleNamespace(mode=mode)
    return start(log, LOOP, **{"in_force": in_force, "late": "late", **changed})


def call(*args: Any, **kwargs: Any) -> Any:
    """Return what a plain multi-callable was called with, or raise it."""
    if args and isinstance(args[0], Exception):
        raise args[0]
    return args, kwargs


def test_a_healthy_rpc() -> None:
    """The plain object is called with the same arguments, and nothing is reported."""
    log: list[Any] = []
    for quick in (start(log), aio(log)):
        proxy = Proxy(lambda *args, **kwargs: call(*args, **kwargs))
        assert quick(proxy) == ((), {})
        assert quick(proxy, 1, 2, timeout=3) == ((1, 2), {"timeout": 3})
        assert type(quick).__get__(quick, proxy)(1) == ((1,), {})
    assert log == []


@pytest.mark.parametrize(
    "quick",
    [
        start([], forks={"generation": 1}),
        start([], forks={}),
        start([], LOOP),
        aio([], forks={"generation": 1}),
        aio([], Mode.RAISE),
        aio([], running_loop=lambda: None),
    ],
)
def test_what_is_not_usual(quick: Any) -> None:
    """In a forked child, on another loop or twice guarded, the method in Python decides."""
    proxy = Proxy(lambda *args: call(*args))
    assert quick(proxy, 1, timeout=2) == ("in Python", (1,), {"timeout": 2})


def test_what_no_asyncio_multi_callable_is() -> None:
    """The method in Python decides where the guard is off, or nothing tells the loop."""
    for proxy in (Proxy(lambda *args: call(*args), OFF), Proxy(lambda: None, loop=None)):
        assert aio([])(proxy, 1) == ("in Python", (1,), {})


def test_an_rpc_that_is_refused() -> None:
    """A refusal is reported and raised; any other error of the program is only raised."""
    log: list[Any] = []
    quick, proxy = start(log), Proxy(lambda *args: call(*args))
    refusal = ValueError("closed")
    with pytest.raises(ValueError, match="closed") as raised:
        quick(proxy, refusal)
    assert raised.value is refusal
    assert raised.traceback[-1].name == "call"
    with pytest.raises(KeyError):
        quick(proxy, KeyError())
    assert log == ["ValueError('closed')"]
    failing = start(log, refused=lambda proxy, error: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        failing(proxy, refusal)


def test_a_call_that_may_be_refused_later() -> None:
    """It is reported, and returned; an error of the report comes through."""
    log: list[Any] = []
    late = SimpleNamespace(late=True)
    proxy = Proxy(lambda: late)
    assert aio(log)(proxy) is late
    assert log == [late]
    with pytest.raises(ZeroDivisionError):
        aio(log, refused_late=lambda proxy, call: 1 / 0)(proxy)


def broken(*_: object) -> Any:
    raise ArithmeticError


class Unreadable:
    """A multi-callable, its call, or the mode of the process, that cannot be read."""

    _loop = mode = late = property(broken)


def test_errors_on_the_way() -> None:
    """An error of what is asked comes through; a call without a proxy is the method's matter."""
    proxy = Proxy(lambda: None)
    with pytest.raises(TypeError):
        start([])()
    with pytest.raises(AttributeError):
        start([])(object())
    with pytest.raises(TypeError):
        compiled.UnaryStart(method=method)
    with pytest.raises(TypeError):
        compiled.UnaryStart(method)
    with pytest.raises(ArithmeticError):
        start([], running_loop=broken)(proxy)
    with pytest.raises(ArithmeticError):
        aio([], in_force=Unreadable())(proxy)
    with pytest.raises(ArithmeticError):
        aio([])(SimpleNamespace(__wrapped__=Unreadable()))
    with pytest.raises(ArithmeticError):
        aio([])(Proxy(lambda: Unreadable()))
    proxy._self_choose = broken
    with pytest.raises(ArithmeticError):
        aio([])(proxy)


def test_what_it_says_of_itself() -> None:
    """Its name, text and signature are those of the method."""
    quick = start([])
    assert (quick.__name__, quick.__doc__) == ("method", "Start it in Python.")
    assert inspect.signature(quick) == inspect.signature(method)
    assert type(quick).__get__(quick, None, Proxy) is quick


def test_it_keeps_nothing() -> None:
    """What was given to it has as many references afterwards as before, in a cycle too."""
    thing = SimpleNamespace()

    def use() -> None:
        log: list[Any] = [thing]
        log.append(start(log, refused=lambda proxy, error: log))
        proxy = Proxy(lambda *args: call(*args))
        log[1](proxy, thing)
        with pytest.raises(ValueError, match="no"):
            log[1](proxy, ValueError("no"))

    use()
    gc.collect()
    before = sys.getrefcount(thing)
    for _ in range(100):
        use()
    gc.collect()
    assert sys.getrefcount(thing) == before
    gone = weakref.ref(Proxy(call, loop=None))
    assert gone() is None
