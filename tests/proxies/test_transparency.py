"""Guarded objects look like plain ones, but for the differences listed here.

What a guard cannot hide, and why. DIFFERENCES names those that the table of looks finds; the
tests of test_transparency_*.py say where they keep clear of the others.

- ``type(x)`` is the proxy's class, and ``x is y`` tells a guarded object from its plain one;
  ``x.__class__``, isinstance(), ``==`` and hash() do not.
- The sync call *is* the exception that it raises: grpcio raises itself, the plain call. So
  ``error == call`` holds and ``error is call`` does not, ``call.exception()`` and the calls
  of finished ``with_call()`` are plain, and ``raise call`` is a TypeError: an exception's
  class cannot be imitated. ``raise call.exception()`` works.
- A traceback through a guarded operation has one frame of grpc_guard more per operation.
- The texts of TypeErrors that the interpreter itself makes (a missing argument, an operator
  that is not supported) name the proxy's class or function; their type is the same.
- A step of a guarded ``async for`` that is made and never awaited warns "coroutine
  'Messages.__anext__' was never awaited"; that of grpcio's async generator does not.
- ``mock.patch.object(type(aio_channel), "close")`` puts a MagicMock where plain it puts an
  AsyncMock: on the class, the methods that are handed on are descriptors. Patching the
  object itself gives what it gave.
"""

from __future__ import annotations

import asyncio
import collections.abc
import contextlib
import inspect
import numbers
import operator
import os
import sys
import types
import typing
import weakref
from collections.abc import Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import Stream, StreamCall, proxies_contract, sync_calls
from support.comparison import tidy, what
from support.gallery import aio_stage, sync_stage

from grpc_guard import Mode

DIFFERENCES = {
    "hasattr operators": "wrapt's proxy class has them all; what they do is the same",
    "hasattr __wrapped__": "the way to the plain object",
    "weak reference": "grpcio's contexts cannot be held weakly, their proxies can",
    "parameters": "what makes multi-callables takes *args, whatever this grpcio takes there",
    "method asend": "a method of an async generator is no coroutine function, ours is",
    "method next": "next() and __next__() are one function",
}

if inspect.isgenerator.__module__ != "inspect":
    DIFFERENCES["isgenerator"] = "that grpcio lets inspect know its own generators by type alone"

if sys.version_info >= (3, 12):
    for sort in ("Bytes", "Complex", "Float", "Index", "Int"):
        DIFFERENCES[f"isinstance Supports{sort}"] = "typing looks for it on the class, as wrapt's"

TABLES = [
    table for name, table in vars(proxies_contract).items() if name.startswith(("SYNC", "AIO"))
]

_OPERATORS = """
    __len__ __contains__ __getitem__ __setitem__ __delitem__ __reversed__ __enter__ __exit__
    __aenter__ __aexit__ __int__ __index__ __float__ __complex__ __bytes__ __round__ __add__
    __bool__
""".split()  # noqa: SIM905
_NAMES = """
    __iter__ __next__ next __aiter__ __anext__ __await__ __call__ __fspath__ __name__ __qualname__
    __dict__ __code__ __func__ __self__ __array__ __length_hint__ __hash__ _repr_html_ send throw
    close asend athrow aclose _state _call _loop nonsense __wrapped__
""".split()  # noqa: SIM905


def _abcs() -> Iterator[type]:
    for name in collections.abc.__all__:
        if name != "ByteString":  # deprecated
            yield getattr(collections.abc, name)
    yield from (contextlib.AbstractContextManager, contextlib.AbstractAsyncContextManager)
    yield from (os.PathLike, numbers.Number, typing.SupportsInt, typing.SupportsIndex)
    yield from (typing.SupportsFloat, typing.SupportsBytes, typing.SupportsComplex)
    yield from (BaseException, Exception, tuple, asyncio.Future, types.FunctionType)
    yield from (types.GeneratorType, types.AsyncGeneratorType, types.CoroutineType)
    for module in (grpc, grpc.aio):
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__.startswith("grpc"):
                yield kind


def looks(obj: Any, plain: Any) -> Iterator[tuple[str, Any]]:
    """What there is to see of `obj`, which is `plain` or its guarded twin."""
    for kind in _abcs():
        yield f"isinstance {kind.__name__}", isinstance(obj, kind)
    for name in _OPERATORS:
        yield "hasattr operators", (name, hasattr(obj, name))
    for name in sorted({*_NAMES, *(name for table in TABLES for name in table)}):
        yield f"hasattr {name}", hasattr(obj, name)
    # A cache of copyreg; and what a guarded server has more than a plain one, and shows.
    yield "dir", [name for name in dir(obj) if name not in ("__slotnames__", "snapshot")]
    yield "texts", [repr(obj), str(obj), f"{obj}", str([obj])]
    yield "class", (obj.__class__, obj.__doc__)
    yield "__module__", what(lambda: obj.__module__)
    yield "__annotations__", what(lambda: obj.__annotations__)
    yield "identity", (hash(obj) == hash(plain), obj == plain, plain == obj, obj != plain)
    yield "comparison", (obj == 1, obj is None, {obj: 1}.get(plain), {plain, obj} == {plain})
    yield "truth", (bool(obj), not obj, callable(obj))
    yield "attributes", what(lambda: sorted(vars(obj)))
    yield "unknown attribute", what(lambda: obj.nonsense)
    yield "setting an attribute", _set_and_delete(obj, plain)
    yield "weak reference", _kind(what(weakref.ref, obj))
    for operation in (len, int, float, complex, abs, round, os.fspath, reversed, operator.neg):
        yield operation.__name__, _kind(what(operation, obj))
    for operation in (operator.getitem, operator.add, operator.lt, operator.iadd, operator.mod):
        yield operation.__name__, _kind(what(operation, obj, 1))
    yield "index", _kind(what(lambda: [1][obj]))
    yield (
        "with",
        _kind(what(contextlib.ExitStack().enter_context, obj)) in ("TypeError", "AttributeError"),
    )
    for module in (inspect, asyncio):
        for name, predicate in inspect.getmembers(module, callable):
            if name.startswith("is") and name not in ("isclass", "iskeyword"):
                yield f"{name}", what(predicate, obj)
    for name in dir(plain):
        if not name.startswith("_") and callable(getattr(plain, name, None)):
            yield from _method_looks(name, getattr(obj, name))


def _kind(value: Any) -> str:
    # What lacks a special method raises an error that is a TypeError and an AttributeError.
    return type(value).__name__


def _set_and_delete(obj: Any, plain: Any) -> Any:
    try:
        obj.extra = 1
    except AttributeError:
        return "refused"
    seen = plain.extra
    del obj.extra
    return seen, hasattr(plain, "extra")


def _method_looks(name: str, method: Any) -> Iterator[tuple[str, Any]]:
    kinds = (inspect.iscoroutinefunction(method), inspect.isasyncgenfunction(method))
    yield f"method {name}", (method.__name__, kinds)
    yield "parameters", (name, what(lambda: list(inspect.signature(method).parameters)))


def differences(guarded: Any) -> dict[str, list[Any]]:
    """Return by name where `guarded` does not look like its plain twin."""
    plain = guarded.__wrapped__
    found: dict[str, list[Any]] = {}
    for (name, seen), (_, expected) in zip(looks(guarded, plain), looks(plain, plain), strict=True):
        if tidy(seen) != tidy(expected):
            found.setdefault(name, []).append({"guarded": tidy(seen), "plain": tidy(expected)})
    return found


_SHAPES = ("unary_stream", "stream_stream", "stream_unary")
SYNC = [
    *("channel", "server", "future", "call unary_stream", "call stream_stream"),
    *("call single-threaded", "request_iterator stream_stream", "request_iterator stream_unary"),
    *(f"{kind} {shape}" for kind in ("multi-callable", "context") for shape in _SHAPES),
]
AIO = [
    *("channel", "server", "messages", "multi-callable unary_unary", "call unary_stream"),
    *(f"call {shape} by {how}" for shape in _SHAPES[1:] for how in ("write", "iterator")),
    *(f"request_iterator {shape}" for shape in _SHAPES[1:]),
    *("context in the pool", "request_iterator in the pool"),
    *(f"{kind} {shape}" for kind in ("multi-callable", "context") for shape in _SHAPES),
]


@pytest.mark.parametrize("kind", SYNC)
def test_looking_at_a_sync_object(kind: str) -> None:
    """A guarded object of grpc looks like the plain one, but for the known differences."""
    with sync_stage() as objects:
        assert sorted(objects) == sorted(SYNC)
        found = differences(objects[kind])
    assert {name: facts for name, facts in found.items() if name not in DIFFERENCES} == {}


@pytest.mark.parametrize("kind", AIO)
async def test_looking_at_an_aio_object(kind: str) -> None:
    """A guarded object of grpc.aio looks like the plain one, but for the known differences."""
    async with aio_stage() as objects:
        assert sorted(objects) == sorted(AIO)
        found = differences(objects[kind])
    assert {name: facts for name, facts in found.items() if name not in DIFFERENCES} == {}


async def test_looking_for_the_known_differences() -> None:
    """Each known difference is there still: what has gone must leave the list."""
    found: set[str] = set()
    with sync_stage() as objects:
        for guarded in objects.values():
            found.update(differences(guarded))
    async with aio_stage() as objects:
        for guarded in objects.values():
            found.update(differences(guarded))
    assert set(DIFFERENCES) <= found


def test_naming_a_proxy_anew() -> None:
    """What is set as a proxy's documentation or module is that of the object it wraps."""

    class Plain:
        """A plain object."""

        def __next__(self) -> bytes:
            return b""

    plain = Plain()
    guarded: Any = sync_calls.responses_of(
        plain, Stream("/test/Names", "client", "sync", Mode.RAISE)
    )
    assert (guarded.__doc__, guarded.__module__) == ("A plain object.", __name__)
    guarded.__doc__, guarded.__module__ = "Another.", "elsewhere"
    assert (plain.__doc__, plain.__module__) == ("Another.", "elsewhere")
    assert (guarded.__doc__, guarded.__module__) == ("Another.", "elsewhere")
    assert StreamCall.__doc__ is not None
    assert StreamCall.__doc__.startswith("A client call")
    assert StreamCall.__module__ == "grpc_guard._proxies.sync.calls"
