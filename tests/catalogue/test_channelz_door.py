"""The door to what the core of grpcio tells of its channels."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from inside import channelz_door
from support.staging import RELEASE, Gate, in_thread, path, sync_channel, sync_server

READY = {"state": "READY"}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that has the core tell of channels and subchannels that the test makes up."""

    def tell(*pages: dict[str, Any], subchannels: dict[int, dict[str, str]]) -> None:
        remaining = [*pages, *pages]  # it is asked twice
        monkeypatch.setattr(
            channelz_door.cygrpc,
            "channelz_get_top_channels",
            lambda _: json.dumps(remaining.pop(0)),
        )
        monkeypatch.setattr(
            channelz_door.cygrpc,
            "channelz_get_subchannel",
            lambda id_: json.dumps({"subchannel": {"data": subchannels[id_]}}),
        )

    return tell


def channel(target: str, started: int, *subchannels: int, state: Any = READY, **ended: str) -> Any:
    data = {"target": target, "state": state, "callsStarted": str(started), **ended}
    references = [{"subchannelId": str(id_)} for id_ in subchannels]
    return {"ref": {"channelId": "7"}, "data": data, "subchannelRef": references}


def test_rpcs_on_their_way() -> None:
    """An RPC whose handler runs is carried; a channel that has not connected is not judged."""
    gate = Gate()
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: gate.park(b"1"))
    with (
        sync_server({"Wait": handler}, mode=None) as address,
        sync_channel(address, mode=None) as plain,
    ):
        assert channelz_door.crowd_at(address) is None
        waiting = in_thread(plain.unary_unary(path("Wait")), b"")
        gate.wait()
        crowd = channelz_door.crowd_at(f"dns:///{address}")
        gate.open()
        assert waiting.result() == b"1"
    assert crowd is not None
    if RELEASE >= (1, 80):
        assert crowd == (0, 1)


def test_rpcs_that_wait(told: Any) -> None:
    """RPCs of a channel that its subchannels lack are waiting; channels may share a subchannel."""
    told(
        {"channel": [channel("other", 9, 1)], "end": False},
        {"channel": [channel("dns:///a", 4, 2), channel("dns:///a", 3, 2)], "end": True},
        subchannels={2: {"callsStarted": "5", "callsSucceeded": "1"}},
    )
    assert channelz_door.crowd_at("a") == (2, 4)


def test_rpcs_that_wait_to_be_tried_again(told: Any) -> None:
    """An RPC that its peer has refused once, and that will be tried again, does not wait for room."""
    told(
        {"channel": [channel("a", 2, 2)], "end": True},
        subchannels={2: {"callsStarted": "2", "callsFailed": "2"}},
    )
    assert channelz_door.crowd_at("a") == (0, 0)


def test_rpcs_that_wait_for_a_connection(told: Any) -> None:
    """If one of the channels is not connected, it is unknown what its RPCs wait for."""
    connecting = channel("a", 2, 2, state={"state": "CONNECTING"})
    told({"channel": [connecting], "end": True}, subchannels={})
    assert channelz_door.crowd_at("a") is None


def test_another_grpcio(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it is worded otherwise, or missing, nothing is known."""
    told({"channel": [{}], "end": True}, subchannels={})
    assert channelz_door.crowd_at("a") is None
    endless = {"channel": [channel("b", 1, 1)], "end": False}
    told(*[endless] * 8, subchannels={})
    assert channelz_door.crowd_at("a") is None
    monkeypatch.delattr(channelz_door.cygrpc, "channelz_get_top_channels")
    assert channelz_door.crowd_at("a") is None


def test_an_error_of_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a signal handler of the program raises meanwhile comes out."""

    class Theirs(ValueError):
        pass

    def interrupted(_: int) -> bytes:
        raise Theirs

    monkeypatch.setattr(channelz_door.cygrpc, "channelz_get_top_channels", interrupted)
    with pytest.raises(Theirs):
        channelz_door.crowd_at("a")
