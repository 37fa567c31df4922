"""Two calls get one generator as their requests."""

from collections.abc import Iterator
from threading import Event

from grpc_guard import ConcurrencyError
from grpc_guard.demo import Point, RouteGuide, point, serving

underway, one_is_over = Event(), Event()


def walk() -> Iterator[Point]:
    yield point(0)
    underway.set()
    one_is_over.wait(10)  # the walk goes on later
    yield point(25)


with serving(RouteGuide(), mode="off") as (stub,):
    points = walk()
    try:
        one = stub.RecordRoute.future(points, timeout=20)
        underway.wait(10)
        two = stub.RecordRoute.future(points, timeout=20)
    except ConcurrencyError as error:
        first_line, *_ = str(error).splitlines()
        print(f"{type(error).__name__}: {first_line}")
        one_is_over.set()
    else:
        for route in (one, two):
            route.add_done_callback(lambda route: one_is_over.set())
        failure = one.exception() or two.exception()
        print(failure.code(), failure.details())
