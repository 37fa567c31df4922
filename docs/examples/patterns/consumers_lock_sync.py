"""Many threads read, one at a time."""

from collections.abc import Iterator
from threading import Lock, Thread

from grpc_guard.demo import FEATURES, Feature, Rectangle, RouteGuide, serving


def work(features: Iterator[Feature], turn: Lock, names: list[str]) -> None:
    while True:
        with turn:  # around the read alone: the work goes on side by side
            feature = next(features, None)
        if feature is None:
            return
        names.append(feature.name)


names: list[str] = []
with serving(RouteGuide(), mode="off") as (stub,):
    features, turn = stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)), Lock()
    workers = [Thread(target=work, args=[features, turn, names]) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

assert sorted(names) == sorted(feature.name for feature in FEATURES)
print(f"read: {len(names)}, each once")
