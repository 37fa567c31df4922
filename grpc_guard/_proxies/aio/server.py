"""The asyncio server."""

from __future__ import annotations

from typing import Any

from ..._catalogue.modes import ChooseMode
from .. import servers
from ..contract import AIO_SERVER
from .handlers import guard_behavior
from .waits import waits


@waits(AIO_SERVER)
class Server(servers.Server):
    """A guarded server of grpc.aio, which belongs to one loop."""

    __slots__ = ()

    def __init__(self, server: Any, choose: ChooseMode) -> None:
        super().__init__(server, choose, guard_behavior)
