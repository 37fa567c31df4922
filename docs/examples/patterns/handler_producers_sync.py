"""Many threads of a handler produce, and the handler yields what a queue hands it."""

import queue
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from grpc_guard.demo import RouteGuide, RouteNote, serving

Notes = queue.Queue[RouteNote | None]  # None is the end of one producer


def produce(answers: Notes, name: str) -> None:
    for number in range(3):
        answers.put(RouteNote(message=f"{name}, note {number}"))


class Busy(RouteGuide):
    def RouteChat(self, notes: Any, context: Any) -> Iterator[RouteNote]:
        answers = Notes()
        with ThreadPoolExecutor(2) as pool:  # leaves when both are done
            rangers = [pool.submit(produce, answers, name) for name in ("Ann", "Ben")]
            for ranger in rangers:
                ranger.add_done_callback(lambda _: answers.put(None))
            for _ in rangers:
                yield from iter(answers.get, None)


with serving(Busy(), mode="off") as (stub,):
    print("answers:", len(list(stub.RouteChat(iter(())))))
