"""What the registries, sync and aio, have in common."""

from __future__ import annotations

import abc
import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any, Self, TypedDict, TypeVar

import grpc

from .._catalogue.forks import start_clean
from .._catalogue.modes import Mode, ModeName, parse_mode
from .pool import Pool
from .records import ChannelRecord
from .settings import Settings, settings

S = TypeVar("S")


class Limits(TypedDict):
    """How full a connection may be, and how long it is kept (seconds)."""

    max_streams: int | None
    idle_seconds: float | None


class _Default:
    """The application's registry, by class."""

    def __init__(self) -> None:
        self.by_class: dict[type, Any] = {}
        self.after_fork()
        start_clean(self)

    def after_fork(self) -> None:
        self.mutex = threading.RLock()


_default = _Default()


class Registry(abc.ABC):
    """One or several pools, the shared stubs, and the limits."""

    def __init__(
        self,
        *,
        mode: ModeName | Mode = "raise",
        max_streams: int | None = 100,
        idle_seconds: float | None = None,
    ) -> None:
        self._mode = parse_mode(mode, source="ChannelRegistry(mode)")
        self._limits = Limits(
            max_streams=_checked_max_streams(max_streams),
            idle_seconds=checked_seconds(idle_seconds, "ChannelRegistry(idle_seconds)"),
        )
        self._stubs: dict[tuple[Hashable, ...], tuple[Any, Any]] = {}

    @classmethod
    def default(cls) -> Self:
        """Return the registry of the application: one per process, made at the first call.

        After it was closed, the next call makes a new one. It need not be closed at the end.
        """
        with _default.mutex:
            found: Self | None = _default.by_class.get(cls)
            if found is None or found._is_closed():
                found = _default.by_class[cls] = cls()
            return found

    def stub(
        self,
        stub_class: Callable[[Any], S],
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        options: Sequence[tuple[str, Any]] = (),
        compression: grpc.Compression | None = None,
        interceptors: Sequence[Any] = (),
    ) -> S:
        """Return the shared stub of `stub_class` on the shared channel to `target`.

        The same arguments return the same object as long as the registry is open. Its channel
        stays open too, even without other leases; if the channel of the stub was closed, the next
        call returns a new one. For the arguments see :meth:`get`.
        """
        wanted = settings(target, credentials, options, compression, interceptors)
        pool = self._pool()
        key = (pool.life, stub_class, wanted.key)
        found = self._stubs.get(key)
        if found is None or _has_ended(found[1]):
            lease = self._lease(pool, wanted, is_own=True)
            made = stub_class(lease), lease
            with pool.mutex:
                found = self._stubs.get(key)  # another thread may have made it first
                if found is None or _has_ended(found[1]):
                    found = self._stubs[key] = made
        stub: S = found[0]
        return stub

    def snapshot(self) -> tuple[ChannelRecord, ...]:
        """Return a record of each channel that is open now, oldest first."""
        return tuple(
            record for pool in self._pools() for record in pool.snapshot(self._connectivity)
        )

    @abc.abstractmethod
    def _pool(self) -> Pool:
        """Return the pool for the current caller."""

    @abc.abstractmethod
    def _pools(self) -> Iterable[Pool]:
        """Return all pools."""

    @abc.abstractmethod
    def _lease(self, pool: Pool, wanted: Settings, *, is_own: bool = False) -> Any:
        """Return a new lease; with `is_own`, one that only the registry closes."""

    @abc.abstractmethod
    def _is_closed(self) -> bool:
        """Tell whether close() was called."""

    @staticmethod
    @abc.abstractmethod
    def _connectivity(channel: Any) -> grpc.ChannelConnectivity | None:
        """Return the state of a channel, None if it does not tell."""


def _has_ended(lease: Any) -> bool:
    return lease._record.ending is not None


def _checked_max_streams(given: int | None) -> int | None:
    if given is None or (isinstance(given, int) and given >= 1):
        return given
    raise ValueError(
        f"ChannelRegistry(max_streams): {given!r} is not a number of streams; "
        f"use 1 or more, or None for no limit"
    )


def checked_seconds(given: float | None, source: str) -> float | None:
    """Return `given`, at most the longest possible wait; an error for a bad one names `source`."""
    if given is None:
        return None
    if isinstance(given, (int, float)) and 0 <= given < float("inf"):
        return min(given, threading.TIMEOUT_MAX)
    raise ValueError(f"{source}: {given!r} is not a time in seconds; use 0 or more, or None")
