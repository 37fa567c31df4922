"""One thread reads, a queue hands the messages on to many."""

import queue
from threading import Thread

from grpc_guard.demo import FEATURES, Feature, Rectangle, RouteGuide, serving


def work(features: queue.Queue[Feature | None], names: list[str]) -> None:
    while (feature := features.get()) is not None:
        names.append(feature.name)


names: list[str] = []
with serving(RouteGuide(), mode="off") as (stub,):
    # A full queue holds the reader back.
    features: queue.Queue[Feature | None] = queue.Queue(maxsize=10)
    workers = [Thread(target=work, args=[features, names]) for _ in range(3)]
    for worker in workers:
        worker.start()
    for feature in stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)):
        features.put(feature)
    for worker in workers:
        features.put(None)
    for worker in workers:
        worker.join()

assert sorted(names) == sorted(feature.name for feature in FEATURES)
print(f"read: {len(names)}, each once")
