"""The contract, method by method: what each public method of grpcio's stream objects is.

A test compares these tables with the classes of the installed grpcio, so that a new method in
grpcio fails the suite instead of staying unguarded.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from typing import TypeVar

from .faithful import Forward

T = TypeVar("T", bound=type)


class Kind(enum.Enum):
    """What a method does to its stream."""

    READ = "read"  # an operation in the reading direction
    WRITE = "write"  # an operation in the writing direction
    FREE = "free"  # legal for any party at any time
    TOUCH = "touch"  # uses the server's call: not after the handler ended
    OPEN = "open"  # starts an RPC, or makes what starts one
    CLOSE = "close"  # legal for any party at any time, but noted: it closes, or fails once closed
    LOOP = "loop"  # on the object's own event loop; on another only if it need not wait
    VISIT = "visit"  # registers a callback, which gets the guarded object


def _table(**kinds: str) -> Mapping[str, Kind]:
    return {name: kind for kind in Kind for name in kinds.get(kind.value, "").split()}


SYNC_CALL = _table(
    read="next",
    free="cancel cancelled code debug_error_string details done exception "
    "initial_metadata is_active result running time_remaining traceback trailing_metadata",
    visit="add_callback add_done_callback",
)
SYNC_CHANNEL = _table(
    free="unsubscribe",
    close="close subscribe",
    open="stream_stream stream_unary unary_stream unary_unary",
)
SYNC_CONTEXT = _table(
    free="cancel code details disable_next_message_compression invocation_metadata is_active "
    "set_code set_compression set_details set_trailing_metadata time_remaining trailing_metadata",
    touch="abort abort_with_status auth_context peer peer_identities peer_identity_key "
    "send_initial_metadata",
    visit="add_callback",
)
SYNC_SERVER = _table(
    free="add_insecure_port add_secure_port start stop wait_for_termination",
    open="add_generic_rpc_handlers add_registered_method_handlers",
)
SYNC_MULTI_CALLABLE = _table(open="future with_call")

AIO_CALL = _table(
    read="read",
    write="done_writing write",
    close="cancel",
    free="cancelled done time_remaining",
    loop="code debug_error_string details initial_metadata trailing_metadata wait_for_connection",
    visit="add_done_callback",
)
AIO_CHANNEL = _table(
    free="get_state",
    close="close",
    open="stream_stream stream_unary unary_stream",
    loop="channel_ready unary_unary wait_for_state_change",
)
AIO_CONTEXT = _table(
    read="read",
    write="write",
    free="cancelled code details disable_next_message_compression done invocation_metadata "
    "set_code set_compression set_details set_trailing_metadata time_remaining trailing_metadata",
    touch="abort abort_with_status auth_context peer peer_identities peer_identity_key "
    "send_initial_metadata",
    visit="add_done_callback",
)
# The context that a sync handler of an aio server gets.
AIO_SYNC_CONTEXT = _table(
    free="disable_next_message_compression invocation_metadata set_code set_compression "
    "set_details set_trailing_metadata time_remaining",
    touch="abort auth_context peer peer_identities peer_identity_key send_initial_metadata",
    visit="add_callback",
)
AIO_SERVER = _table(
    free="add_insecure_port add_secure_port",
    open="add_generic_rpc_handlers add_registered_method_handlers",
    loop="start stop wait_for_termination",
)


def forwards(table: Mapping[str, Kind]) -> Callable[[T], T]:
    """Define on a proxy class every method of `table` that it does not define itself."""

    def spell_out(proxy: T) -> T:
        for name, kind in table.items():
            if kind is Kind.FREE and name not in vars(proxy):
                setattr(proxy, name, Forward(name))
        return proxy

    return spell_out
