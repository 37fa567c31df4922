"""The door to what the core of grpcio knows about its channels: the functions behind channelz.

Since 1.19, and on by default in every channel. Where it is missing, or does not know a channel,
the functions return None.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from grpc._cython import cygrpc

from .boundary import is_own

_PAGES = 8  # of up to a hundred channels, that are looked through


class Crowd(NamedTuple):
    """How many RPCs to one target wait for a connection, and how many are on one."""

    waiting: int
    carried: int


def crowd_at(target: str) -> Crowd | None:
    """Return the counts of RPCs to `target`; None if unknown, or if part of it is not connected.

    A channel counts an RPC from its start, and a subchannel counts it when a connection takes
    it. Since some version between 1.66 and 1.85, an RPC waits between the two while the peer
    allows no more streams. (The core does not report that limit: peerMaxConcurrentStreams is
    always 0.) Subchannels count a retried RPC as started twice, and one that waits for its retry
    as not in progress; so of the differences of the two counts the smaller one is certain. The
    second look leaves out RPCs that ended between two of the queries.
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
