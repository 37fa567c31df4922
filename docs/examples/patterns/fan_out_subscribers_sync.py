"""Every subscriber gets every message; the one that only shows the newest is held up by nobody."""

from threading import Thread

from grpc_guard import FanOut, Receiver
from grpc_guard.demo import FEATURES, Feature, Rectangle, RouteGuide, serving


def consume(features: Receiver[Feature], counts: dict[str, int], name: str) -> None:
    counts[name] = sum(1 for feature in features)


counts: dict[str, int] = {}
with serving(RouteGuide(), mode="off") as (stub,):
    fan = FanOut[Feature](stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))
    newest = fan.subscribe(maxsize=1, when_full="drop_oldest")
    subscribed = {name: fan.subscribe(maxsize=20) for name in ("map", "list")}
    consumers = [
        Thread(target=consume, args=[features, counts, name])
        for name, features in subscribed.items()
    ]
    for consumer in consumers:
        consumer.start()
    for consumer in consumers:
        consumer.join()
    last = [feature.name for feature in newest]

for name in subscribed:
    print(f"{name}: {counts[name]}")
print("newest:", last)
