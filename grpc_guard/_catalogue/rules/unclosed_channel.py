"""The rule unclosed-channel: a channel had not been closed when the program or the test ended."""

from __future__ import annotations

from ..rule import ANY, CLIENTS_ONLY, Rule

UNCLOSED_CHANNEL = Rule(
    "unclosed-channel",
    severity="warning",
    summary="a channel had not been closed when the program or the test ended",
    unguarded={
        "client sync": "its connection and its threads are leaked",
        "client aio": "its connection is leaked",
        ANY: CLIENTS_ONLY,
    },
    remedy="close the channel, best by a with or async with statement around its use; or make "
    "one for the whole process, at module level",
    source="grpcio, docstring of Channel.close: releases all resources held by the channel",
)
