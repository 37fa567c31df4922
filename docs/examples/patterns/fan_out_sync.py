"""Every consumer gets every message: one thread reads, with a queue for each."""

import queue
from threading import Thread

from grpc_guard.demo import FEATURES, Feature, Rectangle, RouteGuide, serving

Features = queue.Queue[Feature | None]  # None is the end


def consume(features: Features, counts: dict[str, int], name: str) -> None:
    counts[name] = sum(1 for feature in iter(features.get, None))


counts: dict[str, int] = {}
with serving(RouteGuide(), mode="off") as (stub,):
    queues = {name: Features(maxsize=10) for name in ("map", "list")}
    consumers = [
        Thread(target=consume, args=[features, counts, name]) for name, features in queues.items()
    ]
    for consumer in consumers:
        consumer.start()
    for feature in stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)):
        for features in queues.values():
            features.put(feature)
    for features in queues.values():
        features.put(None)
    for consumer in consumers:
        consumer.join()

for name in queues:
    print(f"{name}: {counts[name]}")
