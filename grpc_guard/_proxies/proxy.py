"""What the proxies of a stream have in common."""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import AsyncGeneratorType, GeneratorType, GetSetDescriptorType
from typing import Any, Self, TypeVar
from weakref import ref

from .._catalogue.grpcio import is_of_grpcio
from .._core import steps, which
from .._core.steps import SyncDirection
from .._core.stream import Stream
from .emptied import WRAPT
from .faithful import Proxy as Proxy
from .itself import if_there, next_of_itself

M = TypeVar("M", bound=Callable[..., Any])
P = TypeVar("P", bound="StreamProxy")

_compiled = which.compiled()


def in_c(name: str) -> Callable[[M], M]:
    """Return what puts the compiled method `name`, if there is one, in the place of that in Python.

    It does the same, and leaves to the one in Python whatever is not usual.
    """
    compiled = which.compiled()
    if compiled is None:
        return lambda method: method
    return lambda method: compiled.Method(method, name)


class GuardedByItself:
    """A channel that starts guarded streams but is not a proxy: a lease."""

    __slots__ = ()


class StreamProxy(Proxy):
    """A proxy that belongs to one stream."""

    __slots__ = ("_self_stream",)

    _self_stream: Stream

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _compiled is not None:
            _compiled.iterates_by_slot(cls)

    def __init__(self, wrapped: object, stream: Stream) -> None:
        self._self_wrapped = wrapped
        self._self_stream = stream

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        return if_there(cls, plain)


def isinstance_exactly(obj: object, kind: type | tuple[type, ...]) -> bool:
    """isinstance() by the real type: a proxy passes for its wrapped object everywhere else."""
    return issubclass(type(obj), kind)


def iterates_as_usual(plain: type) -> bool:
    """Tell whether to iterate over objects of type `plain`, grpcio's or a generator, runs no code of the program."""
    is_generator = plain is GeneratorType or plain is AsyncGeneratorType
    return is_generator or is_of_grpcio(plain)


class NextProxy(StreamProxy):
    """A proxy of an iterator: its ``__next__`` advances its direction."""

    __slots__ = ("__next__",)

    __next__: Callable[[], Any]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if _compiled is not None:
            _compiled.next_by_slot(cls, vars(NextProxy)["__next__"])

    @in_c("itself")
    def __iter__(self) -> Self:
        return self

    @classmethod
    def _self_around(cls, plain: type) -> dict[str, Any]:
        around = super()._self_around(plain)
        if not iterates_as_usual(plain):
            around |= {"__iter__": _iterate, "next": _its_next}
        return around

    def _self_iterated(self, iterator: Any) -> Any:
        """Return the proxy of an `iterator` that is not what made it: of the same stream and way."""
        stream = self._self_stream
        direction = type(steps.direction_of(self.__next__))(stream, iterator)
        setattr(stream, direction.way, direction)
        return proxy_of(NextProxy, iterator, stream, direction.advance)

    @property
    def next(self) -> Callable[[], Any]:
        return self.__next__


def _iterate(self: NextProxy) -> Any:
    # The program's own may set itself up there, or return something else than itself.
    plain = self.__wrapped__
    iterator = iter(plain)
    if iterator is plain:
        return self
    return iterator if isinstance_exactly(iterator, StreamProxy) else self._self_iterated(iterator)


@property  # type: ignore[misc]
def _its_next(self: NextProxy) -> Any:
    # What it does may differ from what its __next__ does, or it may not be there.
    own = self.__wrapped__.next
    return next_of_itself(steps.direction_of(self.__next__), own) if callable(own) else own


_iterate.__name__, _iterate.__qualname__ = "__iter__", "NextProxy.__iter__"


_wrapped = vars(WRAPT).get("__wrapped__")
if _compiled is not None and type(_wrapped) is GetSetDescriptorType:  # wrapt has its C code, too
    _compiled.tell(
        {
            "wrapped": _wrapped,
            "stream": vars(StreamProxy)["_self_stream"],
            "next": vars(NextProxy)["__next__"],
        }
    )


# new_proxy(kind), what its constructor does, and to become a twin, is what ``kind(wrapped, …)`` does.
# The proxies of each stream are made in these steps: the call of a class takes longer than the
# constructor.
new_proxy: Any = WRAPT.__new__


def proxy_of(kind: type[P], wrapped: Any, stream: Stream, advance: Any = None) -> P:
    """Return a proxy of class `kind` around `wrapped`; its ``__next__``, if it has one, is `advance`."""
    proxy: Any = new_proxy(kind)
    proxy._self_wrapped = wrapped
    proxy._self_stream = stream
    if advance is not None:
        proxy.__next__ = advance
    plain = type(wrapped)
    proxy._self_class = kind._self_twins.get(id(plain)) or kind._make_twin(plain)
    return proxy  # type: ignore[no-any-return]


def maker(kind: type[P]) -> Callable[[Any, Stream], P]:
    """Return what does the same as ``kind(wrapped, stream)``, in one frame beside the constructor's."""
    init: Any = kind.__init__
    twin_of, make_twin = kind._self_twins.get, kind._make_twin

    def make(wrapped: Any, stream: Stream) -> P:
        proxy: P = new_proxy(kind)
        init(proxy, wrapped, stream)
        plain = type(wrapped)
        proxy._self_class = twin_of(id(plain)) or make_twin(plain)
        return proxy

    return make


def iterators(
    kind: type[P], new_direction: type[SyncDirection], *, reads: bool
) -> Callable[[Any, Stream], P]:
    """Return what makes proxies of class `kind` around iterators: each advances a new direction.

    One function for all, which does what proxy_of() does: whatever a stream runs once is never in
    the processor's cache.
    """
    twin_of, make_twin = kind._self_twins.get, kind._make_twin

    def iterator_of(iterator: Any, stream: Stream) -> P:
        direction = new_direction(stream, iterator)
        if reads:
            stream._read = ref(direction)  # the setter of `read` would be a frame
        else:
            stream._write = ref(direction)
        proxy: Any = new_proxy(kind)
        proxy._self_wrapped = iterator
        proxy._self_stream = stream
        proxy.__next__ = direction.advance
        plain = type(iterator)
        proxy._self_class = twin_of(id(plain)) or make_twin(plain)
        return proxy  # type: ignore[no-any-return]

    return iterator_of


class GuardedCallback:
    """A done-callback that gets the guarded object; grpcio logs it as the user's own."""

    __slots__ = ("_callback", "_proxy")

    def __init__(self, callback: Callable[[Any], object], proxy: StreamProxy) -> None:
        self._callback = callback
        self._proxy = proxy

    def __call__(self, _: object) -> None:
        self._callback(self._proxy)

    def __repr__(self) -> str:
        callback = self._callback  # grpcio wraps it into a partial, and nested partials become one
        return repr(callback.func if isinstance(callback, functools.partial) else callback)
