"""The services that come with grpcio: health, reflection, rich statuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import aio_connected, compare, compare_async, connected, outcome_of
from support.staging import outcomes, path, settle


def test_watching_health() -> None:
    """The Watch of grpcio-health-checking tells each change of status, to two watchers."""
    health = pytest.importorskip("grpc_health.v1.health")
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")

    def program() -> Any:
        servicer = health.HealthServicer()

        def register(server: Any) -> None:
            pb2_grpc.add_HealthServicer_to_server(servicer, server)

        with connected(register) as channel:
            stub = pb2_grpc.HealthStub(channel)
            watchers = [stub.Watch(pb2.HealthCheckRequest(service="a")) for _ in range(2)]
            seen = [next(watcher).status for watcher in watchers]
            for status in ("SERVING", "NOT_SERVING"):
                servicer.set("a", pb2.HealthCheckResponse.ServingStatus.Value(status))
                seen += [next(watcher).status for watcher in watchers]
            servicer.enter_graceful_shutdown()
            for watcher in watchers:
                watcher.cancel()
            seen += [outcome_of(watcher)[-1] for watcher in watchers]
        return seen

    seen = compare(program)
    assert seen[:6] == [3, 3, 1, 1, 2, 2]


def test_watching_health_in_aio() -> None:
    """The asyncio Watch tells each change of status, to two watchers."""
    health = pytest.importorskip("grpc_health.v1.health")
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")

    async def program() -> Any:
        servicer = health.aio.HealthServicer()

        def register(server: Any) -> None:
            pb2_grpc.add_HealthServicer_to_server(servicer, server)

        async with aio_connected(register) as channel:
            stub = pb2_grpc.HealthStub(channel)
            watchers = [stub.Watch(pb2.HealthCheckRequest(service="a")) for _ in range(2)]
            seen = [(await watcher.read()).status for watcher in watchers]
            for status in ("SERVING", "NOT_SERVING"):
                await servicer.set("a", pb2.HealthCheckResponse.ServingStatus.Value(status))
                seen += [(await watcher.read()).status for watcher in watchers]
            seen += [watcher.cancel() for watcher in watchers]
            seen += [await watcher.code() for watcher in watchers]
        return seen

    assert compare_async(program)[:6] == [3, 3, 1, 1, 2, 2]


def test_reflection() -> None:
    """The database of grpcio-reflection finds services, files and symbols by streams."""
    reflection = pytest.importorskip("grpc_reflection.v1alpha.reflection")
    database = pytest.importorskip("grpc_reflection.v1alpha.proto_reflection_descriptor_database")

    def register(server: Any) -> None:
        reflection.enable_server_reflection([reflection.SERVICE_NAME], server)

    def program() -> Any:
        with connected(register) as channel:
            client = database.ProtoReflectionDescriptorDatabase(channel)
            file = client.FindFileContainingSymbol(reflection.SERVICE_NAME)
            missing = None
            try:
                client.FindFileByName("nowhere.proto")
            except KeyError as error:
                missing = str(error)
            return client.get_services(), file.name, missing

    services, _, missing = compare(program)
    assert services == ["grpc.reflection.v1alpha.ServerReflection"]
    assert missing is not None


def test_reflection_in_aio() -> None:
    """The asyncio reflection service answers several questions on one stream."""
    reflection = pytest.importorskip("grpc_reflection.v1alpha.reflection")
    pb2 = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2")
    pb2_grpc = pytest.importorskip("grpc_reflection.v1alpha.reflection_pb2_grpc")

    def register(server: Any) -> None:
        reflection.enable_server_reflection([reflection.SERVICE_NAME], server)

    async def program() -> Any:
        async with aio_connected(register) as channel:
            call = pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo()
            seen = []
            for request in (
                pb2.ServerReflectionRequest(list_services=""),
                pb2.ServerReflectionRequest(file_containing_symbol=reflection.SERVICE_NAME),
                pb2.ServerReflectionRequest(file_by_filename="nowhere.proto"),
            ):
                await call.write(request)
                seen.append(await call.read())
            await call.done_writing()
            return seen, await call.code()

    seen, code = compare_async(program)
    assert seen[0].list_services_response.service[0].name == reflection.SERVICE_NAME
    assert code is grpc.StatusCode.OK


def _rich_status() -> Any:
    rpc_status = pytest.importorskip("grpc_status.rpc_status")
    code_pb2 = pytest.importorskip("google.rpc.code_pb2")
    status_pb2 = pytest.importorskip("google.rpc.status_pb2")
    return rpc_status, status_pb2.Status(code=code_pb2.DATA_LOSS, message="no more of it")


def test_rich_statuses() -> None:
    """A rich status that aborts a stream is read from the call, and from its error."""
    rpc_status, status = _rich_status()

    def fail(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"one"
        context.abort_with_status(rpc_status.to_status(status))

    def program() -> Any:
        methods = {"Fail": grpc.unary_stream_rpc_method_handler(fail)}
        with connected(methods) as channel:
            call = channel.unary_stream(path("Fail"))(b"")
            seen = [next(call)]
            try:
                next(call)
            except grpc.RpcError as error:
                seen.append(rpc_status.from_call(error))
            return [*seen, rpc_status.from_call(call)]

    assert compare(program) == [b"one", status, status]


def test_rich_statuses_in_aio() -> None:
    """A rich status that aborts a stream is read from the asyncio call."""
    rpc_status, status = _rich_status()

    async def fail(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield b"one"
        await context.abort_with_status(rpc_status.to_status(status))

    async def program() -> Any:
        methods = {"Fail": grpc.unary_stream_rpc_method_handler(fail)}
        async with aio_connected(methods) as channel:
            call = channel.unary_stream(path("Fail"))(b"")
            return await call.read(), await rpc_status.aio.from_call(call)

    assert compare_async(program) == (b"one", status)


def test_a_watch_that_is_cancelled_while_it_is_read_in_aio() -> None:
    """A task inside the watch sees the same error when another task cancels it."""
    health = pytest.importorskip("grpc_health.v1.health")
    pb2 = pytest.importorskip("grpc_health.v1.health_pb2")
    pb2_grpc = pytest.importorskip("grpc_health.v1.health_pb2_grpc")

    async def program() -> Any:
        def register(server: Any) -> None:
            pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)

        async with aio_connected(register) as channel:
            watch = pb2_grpc.HealthStub(channel).Watch(pb2.HealthCheckRequest(service="a"))
            messages = aiter(watch)
            seen = [(await anext(messages)).status]
            reader = asyncio.ensure_future(anext(messages))
            await settle()
            cancelled = watch.cancel()
            (error,) = await outcomes(reader)
            return seen, cancelled, type(error), await watch.code()

    seen, _, error, _ = compare_async(program)
    assert (seen, error) == ([3], asyncio.CancelledError)
