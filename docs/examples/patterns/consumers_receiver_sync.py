"""Many threads receive; one of them looks in for a moment only, and loses nothing."""

from threading import Thread

from grpc_guard import Receiver
from grpc_guard.demo import FEATURES, Feature, Rectangle, RouteGuide, serving


def work(features: Receiver[Feature], names: list[str]) -> None:
    for feature in features:
        names.append(feature.name)


names: list[str] = []
with serving(RouteGuide(), mode="off") as (stub,):
    features = Receiver[Feature](stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
    try:
        names.append(features.receive(timeout=0.001).name)
    except TimeoutError:
        pass  # the RPC goes on: the message that comes later is the next one's
    workers = [Thread(target=work, args=[features, names]) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

assert sorted(names) == sorted(feature.name for feature in FEATURES)
print(f"read: {len(names)}, each once")
