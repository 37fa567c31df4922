"""What a registry reports about its channels."""

from __future__ import annotations

import dataclasses

import grpc

from .._catalogue.lazy import public


@public
@dataclasses.dataclass(frozen=True, slots=True)
class ChannelRecord:
    """One real channel of a registry at one moment.

    ``age`` is in seconds. ``born_at`` is the line of the program that asked for it first, or
    whose stream made it necessary. ``leases`` counts those that share it, with the other
    connections of the same settings if there are any; the registry's own, which its stubs use,
    are counted too. ``streams`` and ``rpcs_in_progress`` are what lives on it now, ``rpcs`` what was ever started.
    ``used_by`` names the threads and tasks that started RPCs, the last 32 different ones.
    ``connectivity`` is None where this grpcio does not tell it.

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
