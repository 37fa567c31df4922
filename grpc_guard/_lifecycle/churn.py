"""Many channels to one target from one place: the rule channel-churn."""

from __future__ import annotations

from collections import deque
from time import monotonic
from typing import Any

from .._catalogue.forks import in_child
from .._catalogue.nouns import Subject
from .._catalogue.rules.channel_churn import ManyChannels, wants_its_own_connection
from .._catalogue.thresholds import thresholds
from .._findings.origins import Origin
from .._findings.reporting import warn

_PLACES = 256  # places that make channels, of which the times are kept

_makers: dict[object, deque[float]] = {}


def sharing_key(options: Any, credentials: object) -> object:
    """Return what channels have in common that could have been one; None to leave one out.

    By the identity of credentials and a hash of the options: nothing of either is kept.
    """
    text = repr(options)
    return None if wants_its_own_connection(text) else (id(credentials), hash(text))


def look_at_churn(channel: Subject, origin: Origin, sharing_key: object) -> None:
    """Count a `channel` that was made at `origin`, and tell if they are too many."""
    place = origin.place
    if place is None:
        return
    limits = thresholds()
    if len(_makers) >= _PLACES:
        _makers.clear()
    key = (channel, place[0].co_filename, origin.line, sharing_key)
    times = _makers.setdefault(key, deque(maxlen=limits.channel_churn + 1))
    times.append(monotonic())
    if len(times) > limits.channel_churn and times[-1] - times[0] <= limits.channel_churn_seconds:
        maker = origin.owner()
        seen = ManyChannels(len(times), times[-1] - times[0], maker)
        times.clear()  # so many again before it is said again
        warn(seen, channel, caller=maker)


def forget_churn() -> None:
    """Begin to count channels anew, as each test does, and each child of a fork."""
    _makers.clear()


in_child(forget_churn)
