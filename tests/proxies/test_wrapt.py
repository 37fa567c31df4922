"""Guarded objects are proxies of wrapt: tools that know wrapt know them too."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys

import grpc
import pytest
import wrapt
from inside import StreamProxy
from support.staging import PATIENCE

import grpc_guard
from grpc_guard import wrap


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


def looks(plain: grpc.Channel) -> list[object]:
    """What a guarded channel and its class say of themselves."""
    guarded = wrap(plain)
    said: list[object] = [type(guarded).__module__, type(guarded).__doc__]
    said += [guarded.__module__, guarded.__doc__, hasattr(type(guarded), "__floor__")]
    guarded.close()
    return said


def test_without_the_c_code_of_wrapt() -> None:
    """Where wrapt was installed without its C code, a guarded object looks the same."""
    program = (
        "import grpc, wrapt; from grpc_guard import wrap\n"
        f"{inspect.getsource(looks)}\n"
        "print([type(wrapt.BaseObjectProxy) is type, *looks(grpc.insecure_channel('localhost:1'))])"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"WRAPT_DISABLE_EXTENSIONS": "1"},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    ).stdout
    assert told == f"{[False, *looks(grpc.insecure_channel('localhost:1'))]}\n"
