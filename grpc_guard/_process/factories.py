"""Patches to gRPC's public factories: the fallback for a grpcio that lacks a private name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio

from .._catalogue.modes import Mode, current_mode
from .._proxies import servers
from .._proxies.aio import channel as aio_channel
from .._proxies.aio import handlers as aio_handlers
from .._proxies.sync import channel as sync_channel
from .._proxies.sync import handlers as sync_handlers
from .patch import Patch


def factory_patches() -> list[Patch]:
    """Return the patches to grpc's public factories, the fallback."""
    kinds: list[tuple[Any, str, Callable[[Any], Any]]] = [
        (grpc, "insecure_channel", lambda plain: sync_channel.Channel(plain, current_mode)),
        (grpc, "secure_channel", lambda plain: sync_channel.Channel(plain, current_mode)),
        (grpc.aio, "insecure_channel", lambda plain: aio_channel.Channel(plain, current_mode)),
        (grpc.aio, "secure_channel", lambda plain: aio_channel.Channel(plain, current_mode)),
        (
            grpc,
            "server",
            lambda plain: servers.Server(plain, current_mode, sync_handlers.guard_behavior),
        ),
        (
            grpc.aio,
            "server",
            lambda plain: servers.Server(plain, current_mode, aio_handlers.guard_behavior),
        ),
    ]
    return [Patch(owner, name, functools.partial(_wrapping, guard)) for owner, name, guard in kinds]


def _wrapping(guard: Callable[[Any], Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    def factory(*args: Any, **kwargs: Any) -> Any:
        made = plain(*args, **kwargs)
        return made if current_mode() is Mode.OFF else guard(made)

    return factory
