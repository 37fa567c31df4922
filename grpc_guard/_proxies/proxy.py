"""What every proxy is: transparent, but for the methods it spells out."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any, Self

import wrapt

from .._core.stream import Stream


class GuardedByItself:
    """A channel that starts guarded streams, and is no proxy: a lease."""

    __slots__ = ()


class _BorrowedText(str):
    """The ``__doc__`` or ``__module__`` of a proxy's class; a proxy has those of what it wraps.

    wrapt copies both into a dict of every proxy, which would make that twice as large.
    """

    _name: str

    @classmethod
    def spell_out(cls, proxy: type, name: str) -> None:
        sharing_key = cls(getattr(proxy, name) or "")
        sharing_key._name = name
        setattr(proxy, name, sharing_key)

    def __get__(self, proxy: Any, owner: type | None = None) -> Any:
        return str(self) if proxy is None else getattr(proxy.__wrapped__, self._name)

    # wrapt 2.5 sets both past this.
    def __set__(self, proxy: Any, value: object) -> None:  # pragma: no cover
        setattr(proxy.__wrapped__, self._name, value)


class Proxy(wrapt.BaseObjectProxy):
    """Looks, compares, hashes and prints like the object it wraps.

    BaseObjectProxy and not ObjectProxy: the latter's ``__iter__`` hands out the bare
    object's iterator, and every ``for`` would bypass the guard. State lives in slots
    under ``_self_``; plain ``object.__getattribute__`` reads them five times as fast as
    wrapt's, and what it does not find still goes to the wrapped object.
    """

    __slots__ = ()

    __getattribute__ = object.__getattribute__
    __wrapped_setattr_fixups__ = bool  # called when __wrapped__ is set: there is nothing to do

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        _BorrowedText.spell_out(cls, "__doc__")
        _BorrowedText.spell_out(cls, "__module__")

    def __init__(self, wrapped: object) -> None:
        self.__wrapped__ = wrapped

    # wrapt forwards these for every object, which would make a call a number, a container and
    # a context manager in the eyes of collections.abc and typing. No stream object is one,
    # except for the channels, which define what they need.
    __len__: Any = None
    __contains__: Any = None
    __reversed__: Any = None
    __enter__: Any = None
    __exit__: Any = None
    __aenter__: Any = None
    __aexit__: Any = None
    __bytes__: Any = None
    __complex__: Any = None
    __float__: Any = None
    __int__: Any = None
    __index__: Any = None
    __round__: Any = None

    def __repr__(self) -> str:
        return repr(self.__wrapped__)

    def __copy__(self) -> Any:
        return copy.copy(self.__wrapped__)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return copy.deepcopy(self.__wrapped__, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)


class StreamProxy(Proxy):
    """A proxy that belongs to one stream."""

    __slots__ = ("_self_stream",)

    _self_stream: Stream

    def __init__(self, wrapped: object, stream: Stream) -> None:
        self.__wrapped__ = wrapped
        self._self_stream = stream


def isinstance_exactly(obj: object, kind: type | tuple[type, ...]) -> bool:
    """isinstance() by the real type: a proxy passes for its wrapped object everywhere else."""
    return issubclass(type(obj), kind)


class NextProxy(StreamProxy):
    """A proxy of an iterator: its ``__next__`` is what advances its direction."""

    __slots__ = ("__next__",)

    __next__: Callable[[], Any]

    def __iter__(self) -> Self:
        return self

    def __contains__(self, value: object) -> bool:
        return any(item is value or item == value for item in self)  # type: ignore[misc]

    @property
    def next(self) -> Callable[[], Any]:
        return self.__next__


class GuardedCallback:
    """A done-callback that gets the guarded object; prints as the user's own in grpcio's log."""

    __slots__ = ("_callback", "_proxy")

    def __init__(self, callback: Callable[[Any], object], proxy: StreamProxy) -> None:
        self._callback = callback
        self._proxy = proxy

    def __call__(self, _: object) -> None:
        self._callback(self._proxy)

    def __repr__(self) -> str:
        callback = self._callback  # grpcio wraps it into a partial, and partials melt into one
        return repr(callback.func if isinstance(callback, functools.partial) else callback)
