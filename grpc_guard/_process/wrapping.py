"""wrap(): guarding one object by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, overload

import grpc
import grpc.aio

from .._catalogue.lazy import public
from .._catalogue.modes import Mode, ModeName
from .._findings.records import Owner
from .._inspect.switch import switch as inspection
from .._proxies.wrap import guard_by_hand

T = TypeVar("T")


if TYPE_CHECKING:  # for type checkers, with or without the type hints of grpc

    class _Server(Protocol):
        def wait_for_termination(self, timeout: float | None = None) -> bool: ...

    class _AioServer(Protocol):
        async def wait_for_termination(self, timeout: float | None = None) -> bool: ...  # noqa: ASYNC109

    class _GuardedServer(grpc.Server):
        def snapshot(self) -> tuple[Owner, ...]: ...

    class _GuardedAioServer(grpc.aio.Server):
        def snapshot(self) -> tuple[Owner, ...]: ...


@overload
def wrap(obj: _Server, *, mode: ModeName | Mode | None = None) -> _GuardedServer: ...
@overload
def wrap(obj: _AioServer, *, mode: ModeName | Mode | None = None) -> _GuardedAioServer: ...
@overload
def wrap(obj: T, *, mode: ModeName | Mode | None = None) -> T: ...
@public
def wrap(obj: T, *, mode: ModeName | Mode | None = None) -> T:
    """Return a guarded object in place of `obj`: a channel, server, call or servicer context.

    Sync or aio. Streams that start on the guarded object are guarded; `obj` itself is not changed.
    Idempotent: a guarded object is returned unchanged. With ``mode="off"`` the result is
    `obj` itself. `mode` is ``raise``, ``warn``, ``serialize`` or ``off``; the default is that of
    the process-wide guard, or ``raise`` if that is off.

    Wrap a server before it starts: streams that are open already are not guarded.

    Other processes of the same user can ask this one what its streams are doing (``grpc-guard
    dump``) if the environment variable GRPC_GUARD_INSPECT is 1, unless :func:`enable` said otherwise.

    Raises TypeError for any other kind of object, ValueError for an unknown mode, or for an invalid
    threshold or GRPC_GUARD_INSPECT in the environment.
    """
    guarded: Any = guard_by_hand(obj, mode)
    if guarded is not obj:
        inspection.use_wrapped()
    return guarded  # type: ignore[no-any-return]
