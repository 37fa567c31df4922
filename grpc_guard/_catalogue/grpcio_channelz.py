"""The door to what the core of grpcio knows about its channels: the functions behind channelz.

Since 1.19, and on in every channel that does not ask for something else. Where it is missing, or
a channel is not in it, the answer is None.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from grpc._cython import cygrpc

from .boundary import is_own

_PAGES = 8  # of up to a hundred channels, that are looked through


class Crowd(NamedTuple):
    """How many RPCs to one target wait for a connection to take them, and how many are on their way."""

    waiting: int
    carried: int


def crowd_at(target: str) -> Crowd | None:
    """Return how the RPCs to `target` stand; None if it is not known, or not all of it is connected.

    A channel counts an RPC from its start on, and its subchannel from the moment at which a
    connection takes it: since some grpcio between 1.66 and 1.85 that is where an RPC waits
    when the peer lets no more streams be opened. (The limit itself is not told: the core
    fills the field peerMaxConcurrentStreams with 0.) An RPC that is tried again counts twice
    below, and one that waits to be tried again not at all: of the two differences the
    smaller one is certain. What ends between two of the questions is gone at a second look.
    """
    try:
        looks = [_crowd(target), _crowd(target)]
    except (KeyError, TypeError, ValueError) as error:  # another grpcio words it otherwise
        if not is_own(error):
            raise
        return None
    return min((look for look in looks if look is not None), default=None)


def _crowd(target: str) -> Crowd | None:
    channels = [one for one in _channels() if _target(one) == _plain(target)]
    # A subchannel may serve several channels.
    ids = {int(ref["subchannelId"]) for one in channels for ref in one["subchannelRef"]}
    if not ids or any(one["data"]["state"]["state"] != "READY" for one in channels):
        return None
    above = [one["data"] for one in channels]
    below = [json.loads(cygrpc.channelz_get_subchannel(id_))["subchannel"]["data"] for id_ in ids]
    on_their_way = _under_way(below)
    waiting = min(_under_way(above) - on_their_way, _started(above) - _started(below))
    return Crowd(max(0, waiting), on_their_way)


def _channels() -> list[Any]:
    look = getattr(cygrpc, "channelz_get_top_channels", lambda first: "{}")
    found: list[Any] = []
    for _ in range(_PAGES):
        page = json.loads(look(int(found[-1]["ref"]["channelId"]) + 1 if found else 0))
        found += page.get("channel", ())
        if page.get("end", True):
            break
    return found


def _target(channel: Any) -> str:
    return _plain(channel["data"].get("target", ""))


def _plain(target: str) -> str:
    return target.removeprefix("dns:///")


def _started(of: list[Any]) -> int:
    return sum(int(data.get("callsStarted", 0)) for data in of)


def _under_way(of: list[Any]) -> int:
    ended = sum(int(data.get(name, 0)) for data in of for name in ("callsSucceeded", "callsFailed"))
    return _started(of) - ended
