"""The catalogue of rules: what each one means, what breaks without it, how to mend it.

Every text about a rule lives here once, those about the lives of channels and streams in
_rules_of_life.py; reports, command line and docs are made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ._rule import ANY
from ._rule import Rule as Rule
from ._rules_of_life import RULES_OF_LIFE

CONCURRENT_READ = Rule(
    "concurrent-read",
    severity="error",
    waitable=True,
    summary="a read began while another of the same stream was in progress",
    unguarded={
        "client sync": "the second reader gets 'ValueError: Internal gRPC call error 8', "
        "and messages can go to the wrong reader",
        "client aio": "the second reader hangs, then is told that the stream has ended while "
        "messages are still to come; nothing is raised",
        "server sync": "messages are split between the readers, one may see a false end of "
        "stream, and grpcio's serving thread can die: every client of the server then hangs",
        "server aio": "the second reader is told that the stream has ended while messages are "
        "still to come; nothing is raised",
    },
    remedy="let one thread or task read and hand the messages on (queue.Queue, asyncio.Queue), "
    "or hold one lock around every read",
    source="grpc-go Documentation/concurrency.md and stream.go; grpcio, docstrings of "
    "StreamStreamCall.read and aio.ServicerContext.read",
)

CONCURRENT_WRITE = Rule(
    "concurrent-write",
    severity="error",
    waitable=True,
    summary="a write or half-close began while a write was in progress",
    unguarded={
        "client aio": "the RPC dies with INTERNAL 'Internal error from Core', and the other "
        "writer sees InvalidStateError",
        "server sync": "a message is lost without a word, or the RPC hangs until its deadline "
        "(only handlers with experimental_non_blocking can do it)",
        "server aio": "one writer gets ExecuteBatchError, and messages are lost",
        ANY: "the RPC dies or messages are lost",
    },
    remedy="let one thread or task write and feed it through a queue, or hold one lock around "
    "every write and around done_writing()",
    source="grpc-go Documentation/concurrency.md and stream.go (CloseSend must not overlap SendMsg)",
)

SHARED_ITERATOR = Rule(
    "shared-iterator",
    severity="error",
    summary="one generator feeds two RPCs that are alive at the same time",
    unguarded={
        "client sync": "one of the RPCs fails with UNKNOWN 'Exception iterating requests!', or "
        "each silently gets a part of the messages",
        "client aio": "the second RPC is cancelled without a hint, or each RPC silently gets a "
        "part of the messages",
        ANY: "one of the RPCs fails, or each silently gets a part of the messages",
    },
    remedy="make a new generator for each RPC, or share an iterator that is safe to share (an "
    "object around a queue)",
    source="Python reference, generators: a generator must not be advanced while it runs",
)

WRONG_LOOP = Rule(
    "wrong-loop",
    severity="error",
    summary="an aio object was used from another loop or thread than its own",
    unguarded={
        ANY: "'attached to a different loop', 'Event loop is closed', a hang, or corrupted state, "
        "depending on timing",
    },
    remedy="use the object on its own loop: make one channel per loop, or hand the work over with "
    "asyncio.run_coroutine_threadsafe(coroutine, loop)",
    source="grpcio, gRPC AsyncIO API, Caveats: objects may only be used on the thread on which "
    "they were created",
)

HANDLER_RETURNED = Rule(
    "handler-returned",
    severity="error",
    summary="a server stream object was used after its handler had ended",
    unguarded={
        "server sync": "a silent end of stream, or a value read from a call that is no more",
        "server aio": "'RPC already finished', a silent end of stream, and a crash of the whole "
        "process for peer(), auth_context(), peer_identities() and peer_identity_key()",
        ANY: "cannot happen: only servers have handlers",
    },
    remedy="join the threads and await the tasks that use the stream before the handler returns; "
    "copy what they need of the context beforehand",
    source="gRPC, Core concepts, RPC life cycle: the status, sent when the handler ends, completes "
    "processing on the server side",
)

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            CONCURRENT_READ,
            CONCURRENT_WRITE,
            SHARED_ITERATOR,
            WRONG_LOOP,
            HANDLER_RETURNED,
            *RULES_OF_LIFE,
        )
    }
)


def rule_named(name: str) -> Rule:
    """Return the rule called `name`; KeyError if there is none."""
    return RULES[name]
