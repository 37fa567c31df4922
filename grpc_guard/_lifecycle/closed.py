"""What the error of an RPC says that died of its channel: the rule closed-channel."""

from __future__ import annotations

from .._catalogue.rules.closed_channel import ChannelClosed
from .._catalogue.words import escaped
from .._core.stream import Channel


def note_closed(error: BaseException, channel: Channel) -> ChannelClosed:
    """Add to `error` a note on who closed `channel`, and where it was made; return what it says."""
    closing = None if channel.closing is None else channel.closing.owner()
    seen = ChannelClosed(channel.origin.owner(), closing)
    error.add_note(f"grpc_guard: channel to {escaped(channel.target)}: {seen}")
    return seen
