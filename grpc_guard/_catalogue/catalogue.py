"""The catalogue of rules: what each one means, what breaks without it, how to fix it.

A rule is one file of the folder rules/: its texts, from which reports, command line and docs
are made; the evidence, which says in a sentence what was seen; the thresholds; and the excuses,
functions that say why there is no finding. What two rules share is in overlap.py and leak.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .rule import Rule
from .rules.abandoned_handler import ABANDONED_HANDLER
from .rules.blocked_grpc_thread import BLOCKED_GRPC_THREAD
from .rules.blocked_loop import BLOCKED_LOOP
from .rules.cancelled_read import CANCELLED_READ
from .rules.channel_churn import CHANNEL_CHURN
from .rules.closed_channel import CLOSED_CHANNEL
from .rules.concurrent_read import CONCURRENT_READ
from .rules.concurrent_write import CONCURRENT_WRITE
from .rules.dead_server import DEAD_SERVER
from .rules.handler_returned import HANDLER_RETURNED
from .rules.lost_exception import LOST_EXCEPTION
from .rules.message_mutated import MESSAGE_MUTATED
from .rules.parked_request_iterator import PARKED_REQUEST_ITERATOR
from .rules.shared_iterator import SHARED_ITERATOR
from .rules.starved_server import STARVED_SERVER
from .rules.stream_limit import STREAM_LIMIT
from .rules.unclosed_channel import UNCLOSED_CHANNEL
from .rules.unfinished_stream import UNFINISHED_STREAM
from .rules.use_after_fork import USE_AFTER_FORK
from .rules.wrong_loop import WRONG_LOOP

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            CONCURRENT_READ,
            CONCURRENT_WRITE,
            SHARED_ITERATOR,
            WRONG_LOOP,
            HANDLER_RETURNED,
            DEAD_SERVER,
            BLOCKED_GRPC_THREAD,
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
            LOST_EXCEPTION,
            MESSAGE_MUTATED,
            ABANDONED_HANDLER,
        )
    }
)


def rule_named(name: str) -> Rule:
    """Return the rule called `name`; KeyError if there is none."""
    return RULES[name]
