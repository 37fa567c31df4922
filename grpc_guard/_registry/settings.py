"""The arguments of a channel, and the key under which it is shared."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence
from typing import Any

import grpc

# Without it gRPC shares one connection between all channels whose arguments are equal.
_ALONE = ("grpc.use_local_subchannel_pool", 1)


@dataclasses.dataclass(frozen=True, slots=True, eq=False, repr=False)  # holds secrets
class Settings:
    """The arguments of a channel; settings with equal ``key`` may share one.

    Credentials and interceptors are equal only if they are the same objects. The settings
    hold them, so that while a channel lives no other object can get their identity.
    """

    target: str
    credentials: grpc.ChannelCredentials | None
    options: tuple[tuple[str, Any], ...]
    compression: grpc.Compression | None
    interceptors: tuple[Any, ...]
    key: Hashable

    @property
    def channel_options(self) -> tuple[tuple[str, Any], ...]:
        """The options for a channel that has its own connection."""
        return (*self.options, _ALONE)


def settings(
    target: str,
    credentials: grpc.ChannelCredentials | None,
    options: Sequence[tuple[str, Any]],
    compression: grpc.Compression | None,
    interceptors: Sequence[Any],
) -> Settings:
    """Return the settings for these arguments.

    Raises TypeError or ValueError for invalid arguments. No message shows the value of an option
    or of the credentials.
    """
    if not isinstance(target, str):
        raise TypeError(f"the target must be a str such as 'localhost:50051', not {target!r:.200}")
    if not target.strip():
        raise ValueError(f"the target is empty: {target!r}; name one, such as 'localhost:50051'")
    if credentials is not None and not isinstance(credentials, grpc.ChannelCredentials):
        raise TypeError(
            f"credentials must come from grpc.ssl_channel_credentials() or the like, or be None, "
            f"not of type {_kind(credentials)}"
        )
    if compression is not None and not isinstance(compression, int):  # as grpc.Compression is
        raise TypeError(
            f"compression must be a grpc.Compression or None, not of type {_kind(compression)}"
        )
    options, named = _options(options) if options else ((), ())
    interceptors = _interceptors(interceptors) if interceptors else ()
    key = (
        target,
        None if credentials is None else id(credentials),
        named,
        compression,
        tuple(map(id, interceptors)),
    )
    return Settings(target, credentials, options, compression, interceptors, key)


def _options(
    options: Sequence[tuple[str, Any]],
) -> tuple[tuple[tuple[str, Any], ...], tuple[Hashable, ...]]:
    """Return the options, and the key that compares them: by name, type and value."""
    try:
        pairs = tuple((name, value) for name, value in options)
    except (TypeError, ValueError):
        raise TypeError("options must be pairs, each of a name and a value") from None
    for name, value in pairs:
        if not isinstance(name, str):
            raise TypeError(f"the name of an option must be a str, not of type {_kind(name)}")
        try:
            hash(value)
        except TypeError:
            raise TypeError(
                f"the value of option {name!r} is a {_kind(value)}, which cannot be "
                f"compared: options of a shared channel are str, bytes or int"
            ) from None
    return pairs, tuple((name, type(value), value) for name, value in pairs)


def _interceptors(interceptors: Sequence[Any]) -> tuple[Any, ...]:
    try:
        return tuple(interceptors)
    except TypeError:
        raise TypeError(
            f"interceptors must be a sequence of them, not of type {_kind(interceptors)}"
        ) from None


def _kind(value: object) -> str:
    return type(value).__name__
