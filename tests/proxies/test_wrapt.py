"""What users hold is a proxy of wrapt: tools that know wrapt know the guarded objects too."""

from __future__ import annotations

import inspect

import grpc
import pytest
import wrapt
from inside import StreamProxy

import grpc_guard


def subclasses(kind: type) -> set[type]:
    return {kind, *(below for each in kind.__subclasses__() for below in subclasses(each))}


@pytest.mark.parametrize("kind", sorted(subclasses(StreamProxy), key=lambda kind: kind.__name__))
def test_every_class_of_proxies(kind: type) -> None:
    """It derives from BaseObjectProxy of wrapt, whose own functions work on it."""
    assert issubclass(kind, wrapt.BaseObjectProxy)


def test_a_guarded_channel() -> None:
    """isinstance() with wrapt's class holds, and unwrapping leads to grpcio's own object."""
    channel = grpc.insecure_channel("localhost:1")
    guarded = grpc_guard.wrap(channel)
    assert issubclass(type(guarded), wrapt.BaseObjectProxy)
    assert guarded.__wrapped__ is channel  # type: ignore[attr-defined]
    assert inspect.unwrap(guarded) is channel  # type: ignore[arg-type]
    guarded.close()
