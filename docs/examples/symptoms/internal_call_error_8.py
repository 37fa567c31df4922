"""Two threads read one response stream."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from grpc_guard.demo import Feature, Rectangle, RouteGuide, serving

one_has_failed = Event()


class Slow(RouteGuide):
    def ListFeatures(self, request: Rectangle, context: Any) -> Iterator[Feature]:
        one_has_failed.wait(10)  # nothing to read yet: both readers wait
        yield Feature(name="Summit")


def read(features: Iterator[Feature]) -> None:
    try:
        for feature in features:
            print("read:", feature.name)
    except (ValueError, RuntimeError) as error:
        first_line, *_ = str(error).splitlines()
        print(f"{type(error).__name__}: {first_line}")
        one_has_failed.set()


with serving(Slow(), mode="off") as (stub,), ThreadPoolExecutor(2, "reader") as readers:
    features = stub.ListFeatures(Rectangle(), timeout=20)
    list(readers.map(read, [features, features]))
