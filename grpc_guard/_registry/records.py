"""What a registry reports about its channels."""

from __future__ import annotations

import dataclasses

import grpc

from .._catalogue.lazy import public


@public
@dataclasses.dataclass(frozen=True, slots=True)
class ChannelRecord:
    """One real channel of a registry at one moment.

    ``age`` is in seconds. ``born_at`` is the line of the program that first asked for it, or
    whose stream made it necessary. ``leases`` is the number of leases that share it and any other
    connections with the same settings; it includes the registry's own leases, which its stubs
    use. ``streams`` and ``rpcs_in_progress`` are in progress on it now; ``rpcs`` is the number of
    RPCs that were ever started on it. ``used_by`` names the last 32 different threads and tasks
    that started RPCs.
    ``connectivity`` is None if this grpcio does not tell it.

    Holds no payload, credentials, metadata or options, and nothing of the program alive.
    """

    target: str
    connectivity: grpc.ChannelConnectivity | None
    age: float
    born_at: str
    leases: int
    streams: int
    rpcs_in_progress: int
    rpcs: int
    used_by: tuple[str, ...]
