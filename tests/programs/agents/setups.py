"""Agents, switched on with writers that send nothing; each returns what tells its spans.

The first function of a pair registers what collects the spans, for where a launcher has
switched the agent on already; the second one switches it on.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

Spans = Callable[[], list[Any]]

NOWHERE = "127.0.0.1:9"  # port 9: discard

# What keeps an agent off the network, and lets its launcher start it.
ENVIRONMENT = {
    "ddtrace": {
        "DD_TRACE_AGENT_URL": f"http://{NOWHERE}",
        "DD_INSTRUMENTATION_TELEMETRY_ENABLED": "false",
        "DD_REMOTE_CONFIGURATION_ENABLED": "false",
        "DD_CRASHTRACKING_ENABLED": "false",
        "DD_TRACE_STARTUP_LOGS": "false",
    },
    "newrelic": {
        "NEW_RELIC_DEVELOPER_MODE": "true",
        "NEW_RELIC_APP_NAME": "test",
        "NEW_RELIC_LOG": os.devnull,
    },
    "elasticapm": {
        "ELASTIC_APM_SERVICE_NAME": "test",
        "ELASTIC_APM_CLOUD_PROVIDER": "none",
        "ELASTIC_APM_CENTRAL_CONFIG": "false",
        "ELASTIC_APM_METRICS_INTERVAL": "0s",
        "ELASTIC_APM_SERVER_URL": f"http://{NOWHERE}",
        "ELASTIC_APM_DISABLE_SEND": "true",
        "ELASTIC_APM_TRANSACTION_SAMPLE_RATE": "1",
        "ELASTIC_APM_SPAN_COMPRESSION_ENABLED": "false",  # which depends on how long they took
    },
    "opentelemetry": {
        "OTEL_TRACES_EXPORTER": "none",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
    },
    "logfire": {"LOGFIRE_SEND_TO_LOGFIRE": "false"},
}


# ddtrace


def ddtrace_spans() -> Spans:
    from ddtrace.trace import TraceFilter, tracer

    ended: list[Any] = []

    class Collect(TraceFilter):
        def process_trace(self, trace: Any) -> None:
            ended.extend(
                [
                    str(span.resource),
                    str(span.get_tag("span.kind")),
                    str(span.get_tag("grpc.status.code")),
                    span.error,
                ]
                for span in trace
            )

    tracer.configure(trace_processors=[Collect()])
    return lambda: ended


def ddtrace() -> None:
    import ddtrace.auto  # noqa: F401


# Sentry


def sentry() -> None:
    import sentry_sdk
    from sentry_sdk.integrations.grpc import GRPCIntegration
    from sentry_sdk.transport import Transport

    class Collect(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            for item in envelope.items:
                event = json.loads(item.payload.get_bytes() or b"{}")
                if event.get("type") == "transaction":
                    _of_sentry.append(["transaction", event["transaction"]])
                    _of_sentry.extend(
                        [span["op"], span.get("description")] for span in event["spans"]
                    )

    sentry_sdk.init(
        dsn=f"http://key@{NOWHERE}/1",
        transport=Collect,
        traces_sample_rate=1.0,
        integrations=[GRPCIntegration()],
    )


_of_sentry: list[Any] = []


def sentry_spans() -> Spans:
    import sentry_sdk

    def spans() -> list[Any]:
        sentry_sdk.flush()
        return _of_sentry

    return spans


# New Relic


def newrelic_spans() -> Spans:
    import newrelic.agent
    from newrelic.core import stats_engine

    newrelic.agent.register_application(timeout=20.0)  # what ends before that is not recorded
    ended: list[Any] = []
    record = stats_engine.StatsEngine.record_transaction

    def record_transaction(self: Any, transaction: Any) -> Any:
        ended.append(["transaction", transaction.type, transaction.path])
        segments = [transaction.root]
        for segment in segments:
            segments.extend(segment.children)
            if hasattr(segment, "url"):
                path = segment.url.rpartition("/test.")[2]  # without the port
                ended.append([segment.library, segment.method, path])
        return record(self, transaction)

    stats_engine.StatsEngine.record_transaction = record_transaction
    return lambda: ended


def newrelic() -> None:
    import newrelic.agent

    newrelic.agent.initialize()


# Elastic APM


def elasticapm_spans() -> Spans:
    import elasticapm

    ended: list[Any] = []
    client = elasticapm.get_client()
    if client is None:
        from elasticapm.contrib.grpc import GRPCApmClient

        client = GRPCApmClient()

    def queue(event_type: str, data: Any, flush: bool = False) -> None:
        if event_type in ("transaction", "span"):
            ended.append([event_type, data["name"], str(data.get("outcome"))])

    client.queue = queue
    client.tracer.queue_func = queue
    return lambda: ended


def elasticapm() -> None:
    import elasticapm

    elasticapm.instrument()


# OpenTelemetry


def opentelemetry_spans() -> Spans:
    from opentelemetry import trace
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider: Any = trace.get_tracer_provider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return lambda: [
        [span.name, span.kind.name, span.status.status_code.name]
        for span in exporter.get_finished_spans()
    ]


def opentelemetry() -> None:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    trace.set_tracer_provider(TracerProvider())
    _instrument_by_opentelemetry()


def _instrument_by_opentelemetry() -> None:
    from opentelemetry.instrumentation import grpc

    for instrumentor in (
        grpc.GrpcInstrumentorClient,
        grpc.GrpcInstrumentorServer,
        grpc.GrpcAioInstrumentorClient,
        grpc.GrpcAioInstrumentorServer,
    ):
        instrumentor().instrument()


# Logfire, which records what OpenTelemetry's instrumentation of grpc sees


def logfire() -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    _instrument_by_opentelemetry()


# py-grpc-prometheus, whose interceptors a program passes by hand; sync alone


def prometheus_spans() -> Spans:
    from prometheus_client import REGISTRY

    return lambda: [
        [sample.name, sorted(map(str, sample.labels.values())), sample.value]
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if metric.name.startswith("grpc_") and sample.name.endswith("_total")
    ]


def prometheus() -> None:
    import grpc
    from py_grpc_prometheus.prometheus_client_interceptor import PromClientInterceptor
    from py_grpc_prometheus.prometheus_server_interceptor import PromServerInterceptor

    make_channel, make_server = grpc.insecure_channel, grpc.server
    of_clients, of_servers = PromClientInterceptor(), PromServerInterceptor()
    grpc.insecure_channel = lambda *args, **kwargs: grpc.intercept_channel(
        make_channel(*args, **kwargs), of_clients
    )
    grpc.server = lambda *args, **kwargs: make_server(*args, interceptors=(of_servers,), **kwargs)


@contextlib.contextmanager
def transaction(agent: str) -> Iterator[None]:
    """Run the block in a transaction of the agent: some record what a client does only there."""
    if agent == "sentry":
        import sentry_sdk

        with sentry_sdk.start_transaction(name="chat", op="test"):
            yield
    elif agent == "newrelic":
        import newrelic.agent

        with newrelic.agent.BackgroundTask(newrelic.agent.application(), name="chat"):
            yield
    elif agent == "elasticapm":
        import elasticapm

        client = elasticapm.get_client()
        client.begin_transaction("test")
        yield
        client.end_transaction("chat", "ok")
    else:
        yield


AGENTS: dict[str, tuple[Callable[[], None], Callable[[], Spans]]] = {
    "ddtrace": (ddtrace, ddtrace_spans),
    "sentry": (sentry, sentry_spans),
    "newrelic": (newrelic, newrelic_spans),
    "elasticapm": (elasticapm, elasticapm_spans),
    "opentelemetry": (opentelemetry, opentelemetry_spans),
    "logfire": (logfire, opentelemetry_spans),
    "prometheus": (prometheus, prometheus_spans),
}
