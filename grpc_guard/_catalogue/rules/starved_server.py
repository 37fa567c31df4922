"""The rule starved-server: every thread of a server was held by a stream while another RPC waited."""

from __future__ import annotations

from ..rule import ANY, SERVERS_ONLY, Rule

STARVED_SERVER = Rule(
    "starved-server",
    severity="warning",
    summary="every thread of a server was held by a stream while another RPC waited",
    unguarded={
        "server sync": "new RPCs wait until a stream ends: it holds a thread of the pool for as "
        "long as it lives",
        "server aio": "sync handlers wait for a thread of the pool until the stream of another one "
        "ends; coroutines go on",
        ANY: SERVERS_ONLY,
    },
    remedy="give the server more threads than there can be streams, end idle streams, or serve "
    "with grpc.aio and coroutines, where a stream is a task",
    source="gRPC, Performance Best Practices, Python: streaming RPCs create extra threads",
)
