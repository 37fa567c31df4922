"""What the multi-callables of leases, sync and aio, have in common: they find a connection."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

from .._catalogue.modes import Mode
from .._proxies.multicallables import StartRpc
from .._proxies.once import unguarded
from .leases import Connection, Rpc, Start


class MultiCallable(abc.ABC):
    """A method of a stub that was made from a lease; it keeps the lease alive.

    Which of the real channels an RPC goes to is decided when it starts.
    """

    def __init__(
        self, lease: Any, shape: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._lease = lease
        self._shape = shape
        self._method = method
        self._arguments = args, kwargs
        self._plain: dict[Connection, Any] = {}
        connections = lease._record.entry.connections
        if connections:  # now, so that wrong arguments fail here as without the guard
            self._on(connections[0])

    def _on(self, connection: Connection) -> Any:
        """Return grpcio's own multi-callable on this connection."""
        plain = self._plain.get(connection)
        if plain is None:
            for other in tuple(self._plain):
                if other.is_closed:
                    self._plain.pop(other, None)
            args, kwargs = self._arguments
            make = getattr(connection.channel, self._shape)
            plain = self._plain[connection] = make(self._method, *args, **kwargs)
        return plain

    def _start(self, name: str, guard: StartRpc, args: Any, kwargs: Any) -> Any:
        """Start an RPC by method `name` of grpcio's multi-callable, guarded by `guard`.

        The resulting call is counted to its end, without a reference to it.
        """
        begun = self._begin()  # it stands for the RPC until there is a call
        rpc = begun.rpc
        mode: Mode = self._lease._mode
        try:
            multi_callable = self._on(rpc.connection)
            if mode is Mode.OFF:
                return _followed(getattr(multi_callable, name), self._follow, rpc)(*args, **kwargs)
            start = _followed(unguarded(multi_callable, name, self._method), self._follow, rpc)
            return guard(multi_callable, start, self._method, mode, *args, **kwargs)
        except BaseException:
            rpc.end()
            raise

    def _begin(self) -> Start:
        begun: Start = self._lease._begin(self._method, self._shape != "unary_unary")
        return begun

    @abc.abstractmethod
    def _follow(self, rpc: Rpc, call: Any) -> None:
        """Have the end of `call` noted, without a reference to it."""


def _followed(
    start: Callable[..., Any], follow: Callable[[Rpc, Any], None], rpc: Rpc
) -> Callable[..., Any]:
    def started(*args: Any, **kwargs: Any) -> Any:
        call = start(*args, **kwargs)
        follow(rpc, call)
        return call

    return started
