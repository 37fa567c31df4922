"""The endpoint at which this process answers: one thread that sleeps until a request comes.

It is not a gRPC server, because it has to answer when gRPC hangs. The thread is not one of
``threading``, so that the program does not see it in ``threading.enumerate()``, and it is a real
thread under gevent. Only the same user may ask. The answer is a snapshot; there is no other request.
"""

from __future__ import annotations

import _socket
import atexit
import contextlib
import hmac
import logging
import struct
from collections.abc import Callable
from typing import Any

from .._catalogue.forks import in_child
from .._catalogue.paths import files
from . import inspection_pb2 as pb
from .messages import VERSION
from .native import native, start
from .places import new_entry
from .snapshot import Reply, answer, program
from .wire import receive, send, send_parts

logger = logging.getLogger("grpc_guard")

REQUEST_LIMIT = 4096  # bytes
_REQUEST_SECONDS = (
    3.0  # who has connected has its request ready, and may have to wait for a processor
)
_REPLY_SECONDS = 2.0  # without a byte that the other side takes
_PAUSE = 0.1  # seconds, where the process has no descriptor left
_BACKLOG = 128
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of the peer


class Endpoint:
    """What this process listens at; none before open() and after close()."""

    def __init__(self) -> None:
        self._listener: Any = None
        self._entry = ""
        self._token = ""
        self._pid = 0
        self.asked: Callable[[], object] = lambda: None  # called before each answer

    @property
    def entry(self) -> str:
        """The path of the entry at which this process answers; empty if it does not."""
        return self._entry

    def open(self) -> None:
        """Answer from now on; where that is impossible it is logged, once, and nothing happens."""
        if self._pid == files.getpid():
            return
        self._pid = files.getpid()
        program()  # while it is known
        try:
            self._listener = self._listen()
            atexit.register(self.close)
            start(self._serve, self._listener)
        except OSError as error:
            self.close()
            self._pid = files.getpid()  # not again
            logger.warning("this process cannot be asked what its streams are doing: %s", error)

    def close(self) -> None:
        """Answer no more, and leave no entry behind."""
        listener, self._listener = self._listener, None
        entry, self._entry = self._entry, ""
        self._pid = 0
        with contextlib.suppress(OSError):
            if entry:
                files.unlink(entry)
        with contextlib.suppress(OSError):
            if listener is not None:
                listener.shutdown(_socket.SHUT_RDWR)  # wakes the thread
        if listener is not None:
            listener.close()
        atexit.unregister(self.close)

    def after_fork(self) -> None:
        """Let go of what is the parent's: its socket would seem to answer after its end."""
        listener, self._listener = self._listener, None
        self._entry, self._pid = "", 0
        if listener is not None:
            listener.close()
        atexit.unregister(self.close)

    def _listen(self) -> Any:
        if hasattr(_socket, "AF_UNIX"):
            self._entry = new_entry(".sock")
            listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            with contextlib.suppress(OSError):  # the path may be too long for a socket
                listener.bind(self._entry)
                files.chmod(self._entry, 0o600)
                listener.listen(_BACKLOG)
                return listener
            listener.close()
        return self._listen_at_port()

    def _listen_at_port(self) -> Any:
        """Listen on the loopback interface, to those who know what is in a private file."""
        listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        listener.bind(("127.0.0.1", 0))
        listener.listen(_BACKLOG)
        self._token = files.urandom(16).hex()
        self._entry = new_entry(".port")
        descriptor = files.open(self._entry, files.O_WRONLY | files.O_CREAT | files.O_EXCL, 0o600)
        try:
            files.write(descriptor, f"{listener.getsockname()[1]} {self._token}".encode())
        finally:
            files.close(descriptor)
        return listener

    def _serve(self, listener: Any) -> None:
        """Answer one after the other until the listener is closed. Runs as a thread; never raises."""
        while listener is self._listener:
            try:
                descriptor, _ = listener._accept()
                connection = _socket.socket(fileno=descriptor)
            except OSError:
                if listener is self._listener:
                    native("time", "sleep")(_PAUSE)
                continue
            with contextlib.suppress(Exception):  # a malformed request gets no answer
                self.answer(connection)
            connection.close()

    def answer(self, connection: Any) -> None:
        """Answer the request that comes by `connection`; raises if it is malformed."""
        if not _is_same_user(connection):
            return
        request = pb.Request.FromString(receive(connection, _REQUEST_SECONDS, REQUEST_LIMIT))
        if not hmac.compare_digest(request.token.encode(), self._token.encode()):
            return
        with contextlib.suppress(Exception):  # the answer matters more
            self.asked()
        try:
            told = Reply(settles=True)
        except Exception as error:
            send(connection, _failed(error), _REPLY_SECONDS)
            return
        with contextlib.closing(told):
            send_parts(connection, told.parts, _REPLY_SECONDS)


def reply() -> bytes:
    """Return a message that says what this process is doing, or what went wrong; never raises."""
    try:
        return answer()
    except Exception as error:
        return _failed(error)


def _failed(error: Exception) -> bytes:
    # The text of the error might quote the program.
    failed: bytes = pb.Reply(version=VERSION, error=type(error).__name__).SerializeToString()
    return failed


def _is_same_user(connection: Any) -> bool:
    """Tell whether the peer is of the same user, or root, as far as the system says who it is."""
    option = getattr(_socket, "SO_PEERCRED", None)
    if option is None or connection.family == _socket.AF_INET:
        return True  # the private folder has kept the others out
    data = connection.getsockopt(_socket.SOL_SOCKET, option, _CREDENTIALS.size)
    return _CREDENTIALS.unpack(data)[1] in (0, files.geteuid())


endpoint = Endpoint()
in_child(endpoint.after_fork)
