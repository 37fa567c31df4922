"""The findings of this process as a metric of prometheus_client, by rule and severity."""

from collections import Counter
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily

import grpc_guard


class Findings:
    def collect(self) -> Iterator[CounterMetricFamily]:
        counts: Counter[tuple[str, str]] = Counter()
        for finding in grpc_guard.findings():
            counts[str(finding.rule), finding.severity] += finding.count
        metric = CounterMetricFamily(
            "grpc_guard_findings",
            "Findings of grpc_guard, repeated ones included",
            labels=["rule", "severity"],
        )
        for labels, count in sorted(counts.items()):
            metric.add_metric(labels, count)
        yield metric


if __name__ == "__main__":
    import asyncio

    from prometheus_client import CollectorRegistry, generate_latest

    from grpc_guard.demo import AsyncRouteGuide, async_serving

    async def read_twice_at_once() -> None:
        async with async_serving(AsyncRouteGuide(), mode="raise") as stub:
            chat = stub.RouteChat(timeout=20)
            outcomes = asyncio.gather(chat.read(), chat.read(), return_exceptions=True)
            await asyncio.sleep(0)  # both have begun
            await chat.done_writing()
            await outcomes

    asyncio.run(read_twice_at_once())
    metrics = CollectorRegistry()
    metrics.register(Findings())  # in a program: prometheus_client.REGISTRY
    print(generate_latest(metrics).decode(), end="")
