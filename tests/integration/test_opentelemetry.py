"""OpenTelemetry's instrumentation of grpc, switched on before the guard and after it.

Both patch grpcio. Whichever goes first, the program and its spans are the same, and each
takes back only what it put in.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import grpc.aio
import pytest
from inside import totals
from support.comparing import (
    AIO_SERVICE,
    SYNC_SERVICE,
    aio_connected,
    connected,
    converse,
    converse_async,
)
from support.staging import run

import grpc_guard

api = pytest.importorskip("opentelemetry.trace")
otel = pytest.importorskip("opentelemetry.instrumentation.grpc")
trace = pytest.importorskip("opentelemetry.sdk.trace")
export = pytest.importorskip("opentelemetry.sdk.trace.export")
in_memory = pytest.importorskip("opentelemetry.sdk.trace.export.in_memory_span_exporter")

_PUBLIC = [(module, name) for module in (grpc, grpc.aio) for name in dir(module)]
_PRIVATE = ["grpc._channel", "grpc._server", "grpc.aio._channel", "grpc.aio._server"]


def _patched() -> dict[tuple[str, str], Any]:
    """Return grpcio's public names and the attributes of its private classes, as they are now."""
    places = {(module.__name__, name): getattr(module, name) for module, name in _PUBLIC}
    for module in map(importlib.import_module, _PRIVATE):
        for kind in vars(module).values():
            if isinstance(kind, type) and kind.__module__ == module.__name__:
                places |= {(f"{kind}", name): value for name, value in vars(kind).items()}
    return places


@pytest.fixture(scope="module")
def exporter() -> Any:
    """Return where all spans of the process go: a provider can be set once only."""
    provider, exporter = trace.TracerProvider(), in_memory.InMemorySpanExporter()
    provider.add_span_processor(export.SimpleSpanProcessor(exporter))
    api.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter: Any) -> Callable[[], list[Any]]:
    """Return a function that returns the spans which ended since it was last asked."""

    def take() -> list[Any]:
        ended = sorted(
            (span.name, span.kind.name, span.status.status_code.name)
            for span in exporter.get_finished_spans()
        )
        exporter.clear()
        return ended

    return take


# What a program cannot do under this instrumentation, guarded or not.
_LOST = ("cancelled", "join by write")


@contextmanager
def _instrumented(*kinds: str) -> Iterator[None]:
    instrumentors = [getattr(otel, kind)() for kind in kinds]
    for instrumentor in instrumentors:
        instrumentor.instrument()
    try:
        yield
    finally:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()


@contextmanager
def _enabled() -> Iterator[None]:
    grpc_guard.enable()
    try:
        yield
    finally:
        grpc_guard.disable()


def _sync_program() -> Any:
    with connected(SYNC_SERVICE) as channel:
        return converse(channel, without=_LOST)


def _aio_program() -> Any:
    async def program() -> Any:
        async with aio_connected(AIO_SERVICE) as channel:
            return await converse_async(channel, without=_LOST)

    return run(program())


_PROGRAMS = {
    "sync": (_sync_program, ("GrpcInstrumentorClient", "GrpcInstrumentorServer")),
    "aio": (_aio_program, ("GrpcAioInstrumentorClient", "GrpcAioInstrumentorServer")),
}


@pytest.mark.parametrize("first", ["instrumented", "guarded"])
@pytest.mark.parametrize("style", _PROGRAMS)
def test_instrumented_and_guarded(spans: Any, style: str, first: str) -> None:
    """One switched on inside the other: same results and spans, and all is taken back."""
    program, kinds = _PROGRAMS[style]
    with _instrumented(*kinds):
        plain, plain_spans = program(), spans()
    before = _patched()
    assert {kind for _, kind, _ in plain_spans} == {"CLIENT", "SERVER"}
    streams = totals()[0]
    both = [_instrumented(*kinds), _enabled()]
    outer, inner = both if first == "instrumented" else both[::-1]
    with outer, inner:
        assert (program(), spans()) == (plain, plain_spans)
    assert totals()[0] > streams
    assert _patched() == before


@pytest.mark.parametrize("first_on", ["instrumented", "guarded"])
@pytest.mark.parametrize("first_off", ["instrumented", "guarded"])
@pytest.mark.parametrize("style", _PROGRAMS)
def test_taken_back_in_any_order(spans: Any, style: str, first_on: str, first_off: str) -> None:
    """What goes off first leaves the other at work; what is left in the end is plain grpcio."""
    if grpc_guard.is_enabled():
        pytest.skip("it must be able to switch the guard off")
    program, kinds = _PROGRAMS[style]
    program()
    before = _patched()
    instrumentors = [getattr(otel, kind)() for kind in kinds]

    def instrument() -> None:
        for instrumentor in instrumentors:
            instrumentor.instrument()

    def uninstrument() -> None:
        for instrumentor in instrumentors:
            instrumentor.uninstrument()

    on = [instrument, grpc_guard.enable]
    off = [uninstrument, grpc_guard.disable]
    for switch in on if first_on == "instrumented" else on[::-1]:
        switch()
    off = off if first_off == "instrumented" else off[::-1]
    off[0]()
    streams = totals()[0]
    program()
    assert (totals()[0] > streams) is (first_off == "instrumented")
    assert (spans() != []) is (first_off == "guarded")
    off[1]()
    assert _patched() == before
