"""What is added to the error of an RPC on a closed channel: the rule closed-channel."""

from __future__ import annotations

from .._catalogue.rules.closed_channel import ChannelClosed
from .._catalogue.words import escaped
from .._core.stream import Channel


def note_closed(error: BaseException, channel: Channel) -> ChannelClosed:
    """Add a note to `error`: where `channel` was made, and who closed it; return the evidence."""
    closing = None if channel.closing is None else channel.closing.owner()
    seen = ChannelClosed(channel.origin.owner(), closing)
    error.add_note(f"grpc_guard: channel to {escaped(channel.target)}: {seen}")
    return seen
