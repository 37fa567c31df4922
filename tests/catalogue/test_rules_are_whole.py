"""A rule is whole: texts, source, page, evidence with its sentence, and a test that nearly breaks it."""

from __future__ import annotations

import ast
import importlib
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from inside import (
    RULES,
    Evidence,
    Frame,
    Home,
    Rule,
    Side,
    Way,
    catalogue_leak,
    catalogue_overlap,
    page,
)

from grpc_guard import Owner

TESTS = Path(__file__).parent.parent
EVERY_RULE = pytest.mark.parametrize("rule", RULES.values(), ids=str)

LINE = Frame("app.py", 12, "main", "channel = make()")
MAKER = Owner("thread", "main", "insecure_channel", 3.0, (LINE,))
READER = Owner("task", "reader", "read", 0.0123, (LINE,))
HOME = Home(MAKER, "loop", "runs")
NOBODY_KNOWS_WHERE = Owner("task", "reader", "read")

# What each kind of evidence says, by its name: its fields, and the whole sentence.
SENTENCES: dict[str, list[tuple[dict[str, Any], str]]] = {
    "ConcurrentRead": [
        ({"owner": READER}, "task 'reader' has been in read for 12.3 ms"),
        ({"owner": None}, "another operation had the direction and has just left it"),
        (
            {"owner": READER, "probe": ", held back there"},
            "task 'reader' has been in read for 12.3 ms, held back there",
        ),
    ],
    "ConcurrentWrite": [
        ({"owner": READER}, "task 'reader' has been in read for 12.3 ms"),
    ],
    "SharedGenerator": [
        ({"name": "ask", "rpc": "/a/B"}, "generator 'ask' already feeds a live RPC, /a/B"),
    ],
    "SenderInside": [
        (
            {"name": "ask", "rpc": "/a/B"},
            "the sender of /a/B, an RPC that is over, is still inside generator 'ask'",
        ),
    ],
    "ServingThreadEnded": [
        (
            {"name": "RuntimeError", "pool_is_shut": True, "maker": MAKER},
            (
                "the thread that serves all RPCs has ended by RuntimeError: the pool of the server had "
                "been shut down; the server was made 3.0 s ago at app.py:12"
            ),
        ),
        (
            {"name": "ValueError", "pool_is_shut": False, "maker": None},
            "the thread that serves all RPCs has ended by ValueError",
        ),
    ],
    "WaitsForItself": [
        (
            {},
            (
                "it would wait, in a callback of the same channel, on the one thread that delivers the "
                "channel's events, and could never end"
            ),
        ),
    ],
    "SlowCallback": [({"seconds": 2.5}, "the callback ran for 2.5 s on a thread of gRPC's")],
    "IteratorRaised": [
        (
            {"name": "KeyError", "raiser": READER},
            "the request iterator raised KeyError at app.py:12, which cancelled the RPC silently",
        ),
    ],
    "ChangedInQueue": [
        (
            {"name": "Note"},
            (
                "its message (Note) was changed afterwards, while it waited in the queue that grpcio "
                "has for calls with interceptors: the values that are sent are not those that were written"
            ),
        ),
    ],
    "ChangedAtOnce": [
        (
            {"name": "Note"},
            (
                "its message (Note) was changed and written again at once, perhaps before it had left "
                "the queue that grpcio has for calls with interceptors: which values are sent is luck"
            ),
        ),
    ],
    "HandlerCancelled": [
        (
            {"raiser": READER},
            (
                "a CancelledError ended the handler at app.py:12, although the RPC was not cancelled: "
                "the client gets no status"
            ),
        ),
    ],
    "StoodStill": [
        (
            {"seconds": 5.5, "handler": READER},
            ("its RPC is over, and task 'reader' has stood still for 5.5 s since, at app.py:12"),
        ),
    ],
    "TookOneMore": [
        (
            {"seconds": 1.5, "starter": MAKER},
            (
                "the RPC has been over for 1.5 s, and its request iterator has given one more message, "
                "which is lost; started 3.0 s ago at app.py:12"
            ),
        ),
    ],
    "CallAstray": [
        (
            {"on_loop": True},
            "it runs on another event loop than the one that owns the call",
        ),
        ({"on_loop": False}, "it runs on no event loop than the one that owns the call"),
        (
            {"on_loop": True, "home": HOME},
            (
                "it runs on another event loop than the one that owns the call, whose channel was made "
                "3.0 s ago at app.py:12 on thread 'loop', whose loop runs"
            ),
        ),
    ],
    "ServerAstray": [
        (
            {"on_loop": True, "state": "runs", "maker": MAKER},
            (
                "the server belongs to a loop, which runs, and another event loop uses it; it was made "
                "3.0 s ago at app.py:12"
            ),
        ),
        (
            {"on_loop": False, "state": "is closed", "maker": None},
            "the server belongs to a loop, which is closed, and another thread uses it",
        ),
    ],
    "ChannelAstray": [
        ({"on_loop": True}, "the channel belongs to a loop, and another event loop uses it"),
        ({"on_loop": False}, "the channel belongs to a loop, and another thread uses it"),
        (
            {"on_loop": False, "home": HOME},
            (
                "the channel belongs to a loop, and another thread uses it; it was made 3.0 s ago at "
                "app.py:12 on thread 'loop', whose loop runs"
            ),
        ),
    ],
    "HandlerEnded": [({}, "its handler has ended")],
    "ChannelClosed": [
        (
            {"maker": MAKER, "closing": READER},
            (
                "the channel was closed 12.3 ms ago by task 'reader' at app.py:12, "
                "and made 3.0 s ago at app.py:12"
            ),
        ),
        (
            {"maker": MAKER, "closing": None},
            "the channel is closed; it was made 3.0 s ago at app.py:12",
        ),
    ],
    "LeaseClosed": [
        (
            {"target": "host:1", "taker": MAKER, "ending": READER},
            (
                "the lease of 'host:1' was taken at app.py:12 by thread 'main' "
                "and closed at app.py:12 by task 'reader'"
            ),
        ),
        (
            {"target": "host:1", "taker": MAKER, "ending": None},
            (
                "the lease of 'host:1' was taken at app.py:12 by thread 'main' "
                "on an event loop that is closed"
            ),
        ),
    ],
    "ChannelOfParent": [
        (
            {"maker": MAKER},
            (
                "the channel is the parent process's, made 3.0 s ago at app.py:12, and gRPC's fork "
                "support is off (GRPC_ENABLE_FORK_SUPPORT)"
            ),
        ),
    ],
    "AioOfParent": [
        (
            {"maker": MAKER, "is_own": False},
            (
                "the channel is the parent process's, made 3.0 s ago at app.py:12, and grpc.aio does "
                "not work after a fork"
            ),
        ),
        (
            {"maker": None, "is_own": True},
            (
                "a channel or server of the parent process still exists, and as long as it does, "
                "grpc.aio does not work in a forked child, on any channel"
            ),
        ),
    ],
    "LeaseOfParent": [
        (
            {"target": "host:1", "taker": MAKER},
            (
                "the lease of 'host:1' was taken at app.py:12 by thread 'main' in the parent of this "
                "process: a forked child must take its own lease"
            ),
        ),
    ],
    "OperationCancelled": [
        (
            {"cancelled": READER, "side": Side.CLIENT},
            (
                "its read was cancelled 12.3 ms ago by way of task 'reader' at app.py:12, "
                "which ended the RPC"
            ),
        ),
        (
            {"cancelled": READER, "side": Side.SERVER},
            (
                "its read was cancelled 12.3 ms ago by way of task 'reader' at app.py:12, "
                "which broke the stream"
            ),
        ),
    ],
    "LoopStoodStill": [
        (
            {"seconds": 0.5, "others": 2},
            "the event loop of the thread stood still for 500 ms, and with it 2 other tasks",
        ),
        (
            {"seconds": 0.5, "others": 0},
            "the event loop of the thread stood still for 500 ms, and no other task",
        ),
    ],
    "NeverEnded": [
        (
            {"starter": MAKER, "others": 9, "was_dropped": True},
            (
                "dropped while it went on, neither drained nor cancelled; started 3.0 s ago at "
                "app.py:12, and 9 more from there"
            ),
        ),
        (
            {"starter": MAKER, "others": 2, "last": (Way.READ, 1.5)},
            (
                "neither drained nor cancelled; started 3.0 s ago at app.py:12, last read 1.5 s ago, "
                "and 2 more from there"
            ),
        ),
        (
            {"starter": MAKER, "others": 0},
            "neither drained nor cancelled; started 3.0 s ago at app.py:12",
        ),
    ],
    "NeverClosed": [
        (
            {"maker": MAKER, "others": 1},
            "never closed; made 3.0 s ago at app.py:12, and 1 more from there",
        ),
        (
            {"maker": NOBODY_KNOWS_WHERE, "others": 0},
            "never closed; made an unknown time ago at an unknown place",
        ),
    ],
    "LeaseDropped": [
        (
            {"taker": MAKER},
            "a lease taken at app.py:12 by thread 'main' was dropped without close()",
        ),
    ],
    "ManyChannels": [
        (
            {"channels": 11, "seconds": 2.0, "maker": MAKER},
            "11 channels to this target within 2.0 s, all made at app.py:12",
        ),
    ],
    "Crowded": [
        (
            {"streams": 90, "maker": MAKER},
            "90 streams live on the channel, which was made 3.0 s ago at app.py:12",
        ),
    ],
    "Queued": [
        (
            {"waiting": 2, "carried": 100, "maker": MAKER},
            (
                "2 RPCs wait until another ends, because the peer accepts no more than the 100 that are "
                "in progress; the channel was made 3.0 s ago at app.py:12"
            ),
        ),
        (
            {"waiting": 1, "carried": 100, "maker": MAKER},
            (
                "1 RPC waits until another ends, because the peer accepts no more than the 100 that are "
                "in progress; the channel was made 3.0 s ago at app.py:12"
            ),
        ),
    ],
    "Starved": [
        (
            {"held": [READER, NOBODY_KNOWS_WHERE], "waiting": 3},
            (
                "3 waiting while handlers hold all 2 threads: read in task 'reader' for 12.3 ms at "
                "app.py:12; read in task 'reader' for an unknown time"
            ),
        ),
        (
            {"held": [NOBODY_KNOWS_WHERE] * 7, "waiting": 1},
            "1 waiting while handlers hold all 7 threads: "
            + "read in task 'reader' for an unknown time; " * 5
            + "and 2 more",
        ),
        (
            {"held": [READER], "waiting": 1, "over": [True]},
            (
                "1 waiting while handlers hold the only thread, 1 of them for RPCs that are over: read in "
                "task 'reader' for 12.3 ms at app.py:12 (its RPC is over)"
            ),
        ),
    ],
    "Parked": [
        (
            {"inside": READER, "starter": MAKER},
            (
                "the RPC is over, and task 'reader' has been in its request iterator for 12.3 ms; "
                "started 3.0 s ago at app.py:12"
            ),
        ),
    ],
}

# What nearly breaks each rule, and the test of it. The excuses are there by the names of their
# functions; "other" is what needs none.
NEAR_MISSES: dict[str, dict[str, str]] = {
    "concurrent-read": {
        "other": "proxies/test_contract_allowed.py::test_hand_over",
        "rpc_is_over": "proxies/test_contract_allowed.py::test_operation_after_cancel_of_call",
        "rpcs_may_share": "proxies/test_intercepted.py::"
        "test_requests_shared_by_the_rpcs_of_an_interceptor",
        "owner_is_being_cancelled": "proxies/test_contract_allowed.py::"
        "test_operation_before_a_cancellation_is_delivered",
        "both_half_close": "proxies/test_contract_allowed.py::test_done_writing_during_done_writing",
        "interceptor_holds_it": "proxies/test_server_interceptors.py::"
        "test_a_response_that_an_interceptor_holds_back",
    },
    "concurrent-write": {
        "other": "proxies/test_contract_allowed.py::test_hand_over",
        "rpc_is_over": "proxies/test_contract_allowed.py::test_operation_after_cancel_of_call",
        "rpcs_may_share": "proxies/test_intercepted.py::"
        "test_requests_shared_by_the_rpcs_of_an_interceptor",
        "owner_is_being_cancelled": "proxies/test_contract_allowed.py::"
        "test_operation_before_a_cancellation_is_delivered",
        "both_half_close": "proxies/test_contract_allowed.py::test_done_writing_during_done_writing",
        "interceptor_holds_it": "proxies/test_server_interceptors.py::"
        "test_a_response_that_an_interceptor_holds_back",
    },
    "shared-iterator": {
        "other": "proxies/test_contract_iterators.py::test_sync_requests_shared_on_purpose",
        "first_rpc_is_over": "proxies/test_contract_iterators.py::"
        "test_sync_requests_reused_after_the_end",
    },
    "wrong-loop": {
        "is_at_home": "core/test_guard.py::test_operation_on_its_own_loop",
        "begins_with_its_loop": "proxies/test_contract_loops.py::test_start_before_the_loop_runs",
    },
    "handler-returned": {
        "other": "proxies/test_contract_ended.py::test_sync_finally_of_a_generator",
        "is_in_done_callback": "proxies/test_contract_ended.py::"
        "test_sync_callback_that_looks_at_the_context",
        "grpc_asks_once_more": "proxies/test_contract_ended.py::"
        "test_sync_requests_handed_to_another_call",
        "grpc_is_not_asked": "proxies/test_shareable.py::test_requests_that_were_read_before",
        "interceptor_goes_on": "proxies/test_server_interceptors.py::"
        "test_what_a_handler_leaves_to_its_interceptor",
    },
    "closed-channel": {
        "other": "lifecycle/test_lives.py::test_another_error_at_the_start",
    },
    "use-after-fork": {
        "grpc_makes_channels_anew": "lifecycle/test_lives.py::"
        "test_using_a_channel_of_an_earlier_process",
    },
    "cancelled-read": {
        "other": "lifecycle/test_cancellations.py::test_a_shielded_time_out",
        "rpc_was_cancelled_before": "lifecycle/test_cancellations.py::test_leaving_a_stream_that_was_cancelled_before",
        "nobody_cancels_the_task": "lifecycle/test_cancellations.py::test_a_task_that_cannot_tell",
        "stream_goes_on": "lifecycle/test_cancellations.py::"
        "test_writing_again_before_the_stream_has_begun",
        "was_reported": "lifecycle/test_cancellations.py::"
        "test_going_on_after_a_cancelled_operation",
        "is_given_up": "lifecycle/test_cancellations.py::"
        "test_a_cancelled_call_with_a_cancelled_reader",
        "half_closes_after_read": "lifecycle/test_cancellations.py::"
        "test_half_closing_after_a_cancelled_read",
    },
    "blocked-loop": {
        "other": "lifecycle/test_blocking.py::test_reading_quickly",
        "is_in_notebook": "lifecycle/test_blocking.py::test_reading_in_a_notebook",
    },
    "unfinished-stream": {
        "other": "lifecycle/test_leaks.py::test_a_cancelled_stream",
        "was_made_in_module": "lifecycle/test_leaks.py::test_a_channel_made_at_module_level",
        "is_reachable": "lifecycle/test_leaks.py::test_a_channel_that_a_module_reaches",
    },
    "unclosed-channel": {
        "other": "lifecycle/test_leaks.py::test_a_dropped_channel",
        "was_made_in_module": "lifecycle/test_leaks.py::test_a_channel_made_at_module_level",
        "is_reachable": "lifecycle/test_leaks.py::test_a_channel_that_a_module_reaches",
        "is_of_registry": "registry/test_registry_lives.py::test_a_registry_that_is_never_closed",
    },
    "channel-churn": {
        "other": "lifecycle/test_lives.py::test_channels_over_a_long_time",
        "wants_its_own_connection": "lifecycle/test_lives.py::"
        "test_channels_with_connections_of_their_own",
    },
    "stream-limit": {
        "registry_keeps_the_limit": "registry/test_registry_lives.py::"
        "test_a_connection_filled_on_purpose",
    },
    "starved-server": {
        "other": "lifecycle/test_handling.py::test_not_yet_starved",
        "nobody_waits": "lifecycle/test_handling.py::test_a_full_server_that_nobody_waits_for",
    },
    "dead-server": {
        "was_stopped": "lifecycle/test_servers.py::test_a_server_that_was_stopped",
        "interpreter_ends": "lifecycle/test_servers.py::test_a_server_at_the_end_of_the_program",
    },
    "abandoned-handler": {
        "still_works": "lifecycle/test_servers.py::test_a_handler_that_still_works",
    },
    "blocked-grpc-thread": {
        "rpc_is_over": "lifecycle/test_callbacks.py::test_reading_what_is_over_in_a_callback",
    },
    "lost-exception": {
        "rpc_is_over": "lifecycle/test_losses.py::test_an_iterator_that_raises_after_the_end",
        "task_is_being_cancelled": "lifecycle/test_losses.py::test_a_handler_that_is_cancelled",
        "is_of_grpcio": "proxies/test_contract_ended.py::test_aio_requests_handed_to_another_call",
        "interceptor_handled": "lifecycle/test_losses.py::"
        "test_an_interceptor_around_a_handler_that_ends_by_a_cancellation",
    },
    "message-mutated": {
        "other": "lifecycle/test_mutations.py::test_a_message_changed_after_its_answer",
        "rpc_is_over": "lifecycle/test_mutations.py::test_a_message_changed_after_the_end",
    },
    "parked-request-iterator": {
        "other": "lifecycle/test_leaks.py::test_an_iterator_of_a_live_rpc",
    },
}


def module_of(rule: Rule) -> ModuleType:
    """Return the one file of `rule`."""
    name = rule.name.replace("-", "_")
    return importlib.import_module(f"grpc_guard._catalogue.rules.{name}")


def evidence_of(rule: Rule) -> list[type[Evidence]]:
    kinds = vars(module_of(rule)).values()
    return [
        kind
        for kind in kinds
        if inspect.isclass(kind)
        and issubclass(kind, Evidence)
        and kind.__module__ == module_of(rule).__name__
    ]


def excuses_of(rule: Rule) -> Iterator[Callable[..., bool]]:
    """Yield the excuses of `rule`: the public functions of its file that answer yes or no."""
    shared = {
        "concurrent-read": catalogue_overlap,
        "concurrent-write": catalogue_overlap,
        "unclosed-channel": catalogue_leak,
        "unfinished-stream": catalogue_leak,
    }
    for module in filter(None, (module_of(rule), shared.get(rule.name))):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            answer = inspect.signature(function).return_annotation
            if answer == "bool" and not name.startswith("_"):
                yield function


@EVERY_RULE
def test_texts(rule: Rule) -> None:
    """A rule says where it is written down, and how a program is put right."""
    assert rule.source
    assert rule.remedy
    assert (module_of(rule).__doc__ or "").startswith(f"The rule {rule.name}: ")


@EVERY_RULE
def test_page(rule: Rule) -> None:
    """Its page has a wrong program and a right one."""
    text = page(rule)
    assert "## Wrong" in text
    assert "## Right" in text


@EVERY_RULE
def test_evidence(rule: Rule) -> None:
    """Evidence is one whole sentence, knows its rule, and is immutable."""
    kinds = evidence_of(rule)
    assert kinds
    for kind in kinds:
        assert kind.rule is rule
        assert kind.__dataclass_params__.frozen  # type: ignore[attr-defined]
        for fields, sentence in SENTENCES[kind.__name__]:
            seen = kind(**fields)
            assert str(seen) == sentence
            assert seen == kind(**fields)


@EVERY_RULE
def test_near_misses(rule: Rule) -> None:
    """Each excuse gives its reason and has a test; a rule without excuses has a near miss too."""
    excuses = list(excuses_of(rule))
    assert [excuse.__name__ for excuse in excuses if not excuse.__doc__] == []
    tested = NEAR_MISSES[rule.name]
    assert {excuse.__name__ for excuse in excuses} == set(tested) - {"other"}
    assert tested
    for test in tested.values():
        assert has_test(test), test


def has_test(name: str) -> bool:
    file, _, function = name.partition("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return any(isinstance(node, kinds) and node.name == function for node in ast.walk(tree))
