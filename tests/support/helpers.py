"""The functions that libraries have for iterators, each called in every usual way."""

from __future__ import annotations

import importlib
import inspect
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from support.comparison import tidy, what
from support.protocols import Act, outcome

SYNC = ("itertools", "heapq", "functools", "statistics", "more_itertools", "toolz")
ASYNC = ("aioitertools", "aioitertools.itertools", "asyncstdlib", "aiostream.stream")

# What comes out differently each time, waits for a clock, or does not end.
_UNFIT = (
    *("random_", "sample", "time_limited", "callback_iter", "timeout", "delay", "spaceout"),
    *("cycle", "repeat", "count", "repeatfunc", "call", "throw", "never", "empty", "range"),
    *("any_iter", "batch_timed", "throttle", "action", "print", "ExitStack", "random_sample"),
    *("closing", "contextmanager", "scoped_iter", "lru_cache", "cached_property", "cache", "sync"),
    *(
        "nullcontext",
        "apply",
        "await_each",
        "pool",
        "concurrent",
        "preserve",
        "just",
        "with_iter",
        "interleave_randomly",
    ),
)


def _functions(module: str) -> Iterator[tuple[str, Callable[..., Any]]]:
    try:
        found = importlib.import_module(module)
    except ImportError:
        return
    for name in getattr(found, "__all__", dir(found)):
        function = getattr(found, name, None)
        is_fit = not name.startswith("_") and not name.startswith(_UNFIT)
        if is_fit and callable(function) and not inspect.isabstract(function):
            yield f"{module}.{name}", function


def _truth(value: Any) -> bool:
    return bool(value)


_SHAPES: dict[str, Callable[[Callable[..., Any], Any], Any]] = {
    "(x)": lambda function, x: function(x),
    "(x, 2)": lambda function, x: function(x, 2),
    "(2, x)": lambda function, x: function(2, x),
    "(f, x)": lambda function, x: function(_truth, x),
    "(x, f)": lambda function, x: function(x, _truth),
    "([…], x)": lambda function, x: function([b"1", b"2"], x),
}


def acts() -> dict[str, Act]:
    """Return what the libraries do with an iterator."""
    return {
        f"{name}{shape}": lambda x, call=call, function=function: call(function, x)
        for module in SYNC
        for name, function in _functions(module)
        for shape, call in _SHAPES.items()
    }


def async_acts() -> dict[str, Callable[[Any], Awaitable[Any]]]:
    """Return what the libraries do with an async iterator."""
    return {
        f"{name}{shape}": lambda x, call=call, function=function: _outcome(call, function, x)
        for module in ASYNC
        for name, function in _functions(module)
        for shape, call in _SHAPES.items()
    }


async def _outcome(call: Any, function: Any, x: Any) -> Any:
    try:
        result = call(function, x)
        if inspect.isawaitable(result) and not hasattr(result, "stream"):
            result = await result
        if hasattr(result, "stream"):
            async with result.stream() as streamer:
                return await _first(streamer)
        if hasattr(type(result), "__aiter__") and result is not x:
            return await _first(result)
    except Exception as error:
        raised = error
        return outcome(lambda _: raised, x)
    return outcome(lambda _: result, x)


async def _first(items: AsyncIterator[Any]) -> list[str]:
    seen = []
    async for item in items:
        seen.append(tidy(repr(item)))
        if len(seen) == 20:
            break
    return seen


def rest_of(x: Any) -> Any:
    """Return what is left in an iterator."""
    return tidy(what(list, itertools.islice(x, 20)))
