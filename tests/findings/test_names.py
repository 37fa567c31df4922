"""Names from outside: escaped and cut wherever they are shown."""

from __future__ import annotations

import io
import json
import logging
from typing import Any

import pytest
from inside import Mode, Stream, catalogue_words, sync_calls
from support.staging import Gate, in_thread

import grpc_guard

HOSTILE = "/a/\x1b[31mred\nline: error\u202e\udc80" + "x" * 3000


class Plain:
    def __init__(self, park: Any) -> None:
        self._park = park

    def __next__(self) -> int:
        self._park()
        return 1

    def is_active(self) -> bool:
        return True

    def cancel(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("/pkg.Service/Method", "/pkg.Service/Method"),
        ("grüße", "grüße"),
        ("a\nb\x1b\u202e\udc80", "a\\nb\\x1b\\u202e\\udc80"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 200 + "…"),
    ],
)
def test_escaped_name(name: str, shown: str) -> None:
    """What is printable stays, what is not is written as in a literal, and the rest is cut."""
    assert catalogue_words.escaped(name) == shown


def test_quoted_name() -> None:
    """A name in quotes is escaped and cut as well."""
    assert catalogue_words.quoted("worker\n") == "'worker\\n'"
    assert catalogue_words.quoted("y" * 300) == repr("y" * 200 + "…")


def test_method_that_a_client_chose(found: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It reaches neither log nor report as it is, and not at its length."""
    gate = Gate()
    stream = Stream(HOSTILE, "client", "sync", Mode.WARN)
    call = sync_calls.responses_of(Plain(gate.park), stream)
    owner = in_thread(next, call, name="owner\n\x1b]0;title" + "z" * 500)
    gate.wait()
    with caplog.at_level(logging.WARNING, logger="grpc_guard"):
        in_thread(lambda: gate.open() or next(call), name="other").result()
    owner.result()
    for finding in found():
        assert len(finding.rpc) < 250
        assert finding.rpc.isprintable()
        assert finding.message.isprintable()
        assert len(finding.message) < 1000
    assert "\x1b" not in caplog.text


def test_target_of_a_channel(found: Any) -> None:
    """So does the target of a lease."""
    with grpc_guard.ChannelRegistry() as registry:
        lease = registry.get("localhost:1\x1b" + "t" * 500)
        lease.close()
        with pytest.raises(ValueError, match="closed channel") as caught:
            lease.unary_unary("/a/\n")(b"")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000
    (finding,) = found()
    assert finding.rpc == "/a/\\n"
    assert finding.message.isprintable()
    out = io.StringIO()
    json.dump(finding.message, out)
    assert "\\u001b" not in out.getvalue()
