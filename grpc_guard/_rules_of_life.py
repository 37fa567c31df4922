"""The rules about the lives of channels, streams and servers; all of them are warnings."""

from __future__ import annotations

from ._rule import ANY, Rule

_CLIENTS_ONLY = "cannot happen: only clients have channels"
_SERVERS_ONLY = "cannot happen: only servers have handlers"

CLOSED_CHANNEL = Rule(
    "closed-channel",
    severity="warning",
    summary="an RPC was started on a channel that is closed",
    unguarded={
        "client sync": "'ValueError: Cannot invoke RPC on closed channel!', which says neither "
        "who closed the channel nor where it was made",
        "client aio": "'UsageError: Channel is closed.', which says neither who closed the "
        "channel nor where it was made",
        ANY: _CLIENTS_ONLY,
    },
    remedy="let the channel live as long as the stubs made from it: close it where the last of "
    "them is given up",
    source="grpcio, docstring of Channel.close: no RPC may be invoked on a closed channel",
)

USE_AFTER_FORK = Rule(
    "use-after-fork",
    severity="warning",
    summary="a channel made before fork() was used in the child, without gRPC's fork support",
    unguarded={
        "client sync": "the RPC hangs: the threads that serve the channel stayed in the parent",
        "client aio": "the RPC hangs: the thread that serves the channel stayed in the parent",
        ANY: _CLIENTS_ONLY,
    },
    remedy="make the channel in the child, after the fork; or start the parent with "
    "GRPC_ENABLE_FORK_SUPPORT=true (sync api)",
    source="gRPC, doc/fork_support.md",
)

CANCELLED_READ = Rule(
    "cancelled-read",
    severity="warning",
    summary="a stream was used again after one of its reads or writes had been cancelled",
    unguarded={
        "client aio": "cancelling one read or write cancels the whole RPC: reading on raises "
        "CancelledError, writing on InvalidStateError, and done_writing() does nothing",
        "server aio": "the stream is poisoned: after a read, the next one is told that the stream "
        "has ended, and a message that is still to come is lost; after a write, the next one "
        "raises ExecuteBatchError",
        ANY: "cannot happen: sync operations are not cancelled one by one",
    },
    remedy="let a task of its own read and hand the messages on through an asyncio.Queue, and "
    "time out the wait for the queue; or shield the read with asyncio.shield() and keep it",
    source="grpcio, aio/_call.py: a cancelled read or write cancels the RPC",
)

BLOCKED_LOOP = Rule(
    "blocked-loop",
    severity="warning",
    summary="a blocking read stood in the way of the event loop that runs on its thread",
    unguarded={
        "client sync": "the whole event loop stands still until the message comes",
        "server sync": "the whole event loop stands still until the message comes",
        ANY: "cannot happen: asyncio's operations wait without blocking the loop",
    },
    remedy="use grpc.aio on an event loop, or read in a thread (asyncio.to_thread)",
    source="Python documentation, Developing with asyncio, Running Blocking Code",
)

UNFINISHED_STREAM = Rule(
    "unfinished-stream",
    severity="warning",
    summary="a stream was neither drained nor cancelled when the program or the test ended",
    unguarded={
        "client sync": "the stream stays open: it takes a place on its connection, and a thread "
        "of the server",
        "client aio": "the stream stays open: garbage collection does not cancel it either",
        ANY: "cannot happen: a handler's stream ends with the handler",
    },
    remedy="read the stream to its end, or cancel() the call when you are done with it",
    source="grpc-go, comment of ClientConn.NewStream: to ensure resources are not leaked",
)

UNCLOSED_CHANNEL = Rule(
    "unclosed-channel",
    severity="warning",
    summary="a channel had not been closed when the program or the test ended",
    unguarded={
        "client sync": "its connection and its threads are leaked",
        "client aio": "its connection is leaked",
        ANY: _CLIENTS_ONLY,
    },
    remedy="close the channel, best by a with or async with statement around its use; or make "
    "one for the whole process, at module level",
    source="grpcio, docstring of Channel.close: releases all resources held by the channel",
)

CHANNEL_CHURN = Rule(
    "channel-churn",
    severity="warning",
    summary="many channels to one target were made in one place within a short time",
    unguarded={
        "client sync": "a connection and a handshake for each, where one would carry all RPCs",
        "client aio": "a connection and a handshake for each, where one would carry all RPCs",
        ANY: _CLIENTS_ONLY,
    },
    remedy="make one channel and share it: any number of threads (sync) or tasks of one loop "
    "(aio), and stubs of any services, may use it",
    source="gRPC, Performance Best Practices: always re-use stubs and channels when possible",
)

STREAM_LIMIT = Rule(
    "stream-limit",
    severity="warning",
    summary="the live streams on one channel come near to what its connection carries",
    unguarded={
        "client sync": "further RPCs wait without a word until a stream ends",
        "client aio": "further RPCs wait without a word until a stream ends",
        ANY: _CLIENTS_ONLY,
    },
    remedy="end streams that are done, or spread them over several channels (each with channel "
    "arguments of its own, or they share a connection)",
    source="gRPC, Performance Best Practices: each connection has a limit on concurrent streams, "
    "about 100",
)

STARVED_SERVER = Rule(
    "starved-server",
    severity="warning",
    summary="every thread of a server was held by a stream while another RPC waited",
    unguarded={
        "server sync": "new RPCs wait until a stream ends: it holds a thread of the pool for as "
        "long as it lives",
        "server aio": "sync handlers wait for a thread of the pool until the stream of another one "
        "ends; coroutines go on",
        ANY: _SERVERS_ONLY,
    },
    remedy="give the server more threads than there can be streams, end idle streams, or serve "
    "with grpc.aio and coroutines, where a stream is a task",
    source="gRPC, Performance Best Practices, Python: streaming RPCs create extra threads",
)

PARKED_REQUEST_ITERATOR = Rule(
    "parked-request-iterator",
    severity="warning",
    summary="gRPC's thread was still blocked in a request iterator after its RPC had ended",
    unguarded={
        "client sync": "a thread is leaked by each such RPC",
        ANY: "cannot happen: only the sync api advances request iterators in a thread",
    },
    remedy="let the iterator end when the RPC does: put an end marker in its queue from "
    "call.add_callback(), or wait with a timeout",
    source="grpcio, _channel.py: a thread of its own consumes the request iterator",
)

RULES_OF_LIFE = (
    CLOSED_CHANNEL,
    USE_AFTER_FORK,
    CANCELLED_READ,
    BLOCKED_LOOP,
    UNFINISHED_STREAM,
    UNCLOSED_CHANNEL,
    CHANNEL_CHURN,
    STREAM_LIMIT,
    STARVED_SERVER,
    PARKED_REQUEST_ITERATOR,
)
