"""Many channels to one target from one place, on one loop: the rule channel-churn."""

from __future__ import annotations

import asyncio
import itertools
import sys
import weakref
from collections import deque
from typing import Any

from .._catalogue.boundary import is_own
from .._catalogue.clock import monotonic
from .._catalogue.cpython import variables_of
from .._catalogue.forks import in_child
from .._catalogue.nouns import AIO, Subject
from .._catalogue.rules.channel_churn import ManyChannels, wants_its_own_connection
from .._catalogue.thresholds import thresholds
from .._findings.origins import Origin
from .._findings.reporting import warn
from .._findings.stacks import outward

_PLACES = 256  # places that make channels; when there are more, all counts begin again
# Code whose frames run a test, and the local variable that has the test.
_RUNNERS = {
    "unittest.case": "self",
    "unittest.async_case": "self",
    "unittest.suite": "test",
    "_pytest.runner": "item",
}

_makers: dict[object, deque[float]] = {}
# Loops and tests by a number that is used once: an identity may be reused.
_numbers: weakref.WeakKeyDictionary[object, int] = weakref.WeakKeyDictionary()
_next_number = itertools.count()


def sharing_key(options: Any, credentials: object) -> object:
    """Return a key that is equal for channels that could have been one; None to leave one out.

    It has the identity of the credentials and a hash of the options, and keeps neither.
    """
    text = repr(options)
    return None if wants_its_own_connection(text) else (id(credentials), hash(text))


def look_at_churn(channel: Subject, origin: Origin, sharing_key: object) -> None:
    """Count a `channel` that was made at `origin`, and report if there are too many."""
    place = origin.place
    if place is None:
        return
    limits = thresholds()
    if len(_makers) >= _PLACES:
        _makers.clear()
    loop = asyncio._get_running_loop() if channel.api == AIO else None
    shared = (sharing_key, _number_of(loop), _number_of(_running_test()))
    key = (channel, place[0].co_filename, origin.line, shared)
    times = _makers.setdefault(key, deque(maxlen=limits.channel_churn + 1))
    times.append(monotonic())
    if len(times) > limits.channel_churn and times[-1] - times[0] <= limits.channel_churn_seconds:
        maker = origin.owner()
        seen = ManyChannels(len(times), times[-1] - times[0], maker)
        times.clear()  # the count begins again before the next report
        warn(seen, channel, caller=maker)


def _running_test() -> object:
    """Return the test for which the caller makes a channel; None where no test runs on its thread.

    It is normal that the set-up of each test makes a channel.
    """
    if "unittest" not in sys.modules and "_pytest.runner" not in sys.modules:
        return None
    for frame in outward(sys._getframe()):
        name = _RUNNERS.get(frame.f_globals.get("__name__", ""))
        test = None if name is None else variables_of(frame).get(name)
        if test is not None:
            return test
    return None


def _number_of(obj: object) -> int | None:
    """Return a number for `obj` that no other object gets, even with the same identity."""
    if obj is None:
        return None
    try:
        return _numbers.setdefault(obj, next(_next_number))
    except TypeError as error:  # neither hashable nor to be held weakly
        if not is_own(error):
            raise
        return id(obj)


def forget_churn() -> None:
    """Count channels from zero again, for each test, and in each child of a fork."""
    _makers.clear()


in_child(forget_churn)
