"""Public clients that keep streams open, against small servers that speak their protocol."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import grpc.aio
import pytest
from support.comparing import ROUNDS, compare, compare_async, connected
from support.staging import PATIENCE, aio_server, sync_server


def test_a_pubsub_subscriber() -> None:
    """google-cloud-pubsub pulls and acknowledges messages, over a stream that breaks once."""
    pubsub_v1 = pytest.importorskip("google.cloud.pubsub_v1")
    types = pytest.importorskip("google.pubsub_v1.types")
    transports = pytest.importorskip("google.pubsub_v1.services.subscriber.transports")
    empty_pb2 = pytest.importorskip("google.protobuf.empty_pb2")

    class Service:
        """Gives each stream that is opened the next of the batches, keeps the last one open."""

        def __init__(self) -> None:
            self.batches = [["a", "b"], ["c", "d"]]
            self.acknowledged = queue.Queue[list[str]]()

        def streaming_pull(self, requests: Iterator[Any], context: Any) -> Iterator[Any]:
            next(requests)
            batch = self.batches.pop(0)
            yield types.StreamingPullResponse(
                received_messages=[
                    types.ReceivedMessage(
                        ack_id=f"ack-{name}",
                        message=types.PubsubMessage(data=name.encode(), message_id=name),
                    )
                    for name in batch
                ]
            )
            if self.batches:
                context.abort(grpc.StatusCode.UNAVAILABLE, "open another")
            for _ in requests:  # heartbeats, until the subscriber goes
                pass

        def acknowledge(self, request: Any, context: Any) -> Any:
            self.acknowledged.put(list(request.ack_ids))
            return empty_pb2.Empty()

        def modify_ack_deadline(self, request: Any, context: Any) -> Any:
            return empty_pb2.Empty()

        def register(self, server: Any) -> None:
            stream = grpc.stream_stream_rpc_method_handler(
                self.streaming_pull,
                types.StreamingPullRequest.deserialize,
                types.StreamingPullResponse.serialize,
            )
            unary = grpc.unary_unary_rpc_method_handler
            to_bytes = empty_pb2.Empty.SerializeToString
            handlers = {
                "StreamingPull": stream,
                "Acknowledge": unary(
                    self.acknowledge, types.AcknowledgeRequest.deserialize, to_bytes
                ),
                "ModifyAckDeadline": unary(
                    self.modify_ack_deadline, types.ModifyAckDeadlineRequest.deserialize, to_bytes
                ),
            }
            server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers),)
            )

    def program() -> Any:
        service, received = Service(), queue.Queue[bytes]()

        def receive(message: Any) -> None:
            received.put(message.data)
            message.ack()

        with connected(service.register) as channel:
            transport = transports.SubscriberGrpcTransport(channel=channel)
            with pubsub_v1.SubscriberClient(transport=transport) as client:
                future = client.subscribe("projects/p/subscriptions/s", receive)
                seen = sorted(received.get(timeout=PATIENCE) for _ in range(4))
                acknowledged: list[str] = []
                while len(acknowledged) < 4:
                    acknowledged += service.acknowledged.get(timeout=PATIENCE)
                future.cancel()
                future.result(timeout=PATIENCE)
        return seen, sorted(acknowledged)

    seen, acknowledged = compare(program)
    assert seen == [b"a", b"b", b"c", b"d"]
    assert acknowledged == ["ack-a", "ack-b", "ack-c", "ack-d"]


@pytest.mark.filterwarnings("ignore:Protobuf gencode version:UserWarning")
def test_an_etcd_watcher() -> None:
    """aetcd watches two keys on one stream, each by an async generator and a queue of requests."""
    aetcd = pytest.importorskip("aetcd")
    rpc_pb2 = pytest.importorskip("aetcd.rpc.rpc_pb2")
    rpc_pb2_grpc = pytest.importorskip("aetcd.rpc.rpc_pb2_grpc")

    class Watch(rpc_pb2_grpc.WatchServicer):  # type: ignore[misc, name-defined]
        """Puts a value into each key as soon as a client watches it."""

        async def Watch(  # noqa: N802
            self, requests: AsyncIterator[Any], context: Any
        ) -> AsyncIterator[Any]:
            watch_id = 0
            async for request in requests:
                if request.HasField("cancel_request"):
                    cancelled = request.cancel_request.watch_id
                    yield rpc_pb2.WatchResponse(watch_id=cancelled, canceled=True)
                    continue
                yield rpc_pb2.WatchResponse(watch_id=watch_id, created=True)
                events = rpc_pb2.WatchResponse(watch_id=watch_id)
                for number in range(ROUNDS):
                    event = events.events.add()
                    event.kv.key = request.create_request.key
                    event.kv.value = b"%d" % number
                yield events
                watch_id += 1

    async def watched(client: Any, key: bytes) -> list[bytes]:
        seen: list[bytes] = []
        watch = await client.watch(key)
        async for event in watch:
            seen.append(event.kv.value)
            if len(seen) == ROUNDS:
                break
        await watch.cancel()
        return seen

    async def program() -> Any:
        def register(server: Any) -> None:
            rpc_pb2_grpc.add_WatchServicer_to_server(Watch(), server)

        async with aio_server(register, mode=None) as address:
            host, _, port = address.rpartition(":")
            async with aetcd.Client(host=host, port=int(port)) as client:
                one, other = watched(client, b"one"), watched(client, b"other")
                return await asyncio.gather(one, other), await watched(client, b"again")

    seen = compare_async(program)
    assert seen == ([[b"0", b"1", b"2", b"3"]] * 2, [b"0", b"1", b"2", b"3"])


def _infer(pb2: Any, request: Any) -> Any:
    if not request.id:
        return pb2.ModelStreamInferResponse(error_message="no id")
    return pb2.ModelStreamInferResponse(infer_response=pb2.ModelInferResponse(id=request.id))


def test_a_triton_stream() -> None:
    """tritonclient sends from one thread and reads in another, and stops its stream."""
    triton = pytest.importorskip("tritonclient.grpc")
    pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

    class Inference(pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc, name-defined]
        def ModelStreamInfer(self, requests: Iterator[Any], context: Any) -> Any:  # noqa: N802
            for request in requests:
                yield _infer(pb2, request)

    def program() -> Any:
        def register(server: Any) -> None:
            pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(), server)

        inbox, seen = queue.Queue[Any](), []
        with (
            sync_server(register, mode=None) as address,
            triton.InferenceServerClient(address) as client,
        ):
            for cancel in (False, True):
                client.start_stream(lambda result, error: inbox.put((result, error)))
                for request_id in ("a", "b", ""):
                    client.async_stream_infer("model", [], request_id=request_id)
                for _ in range(3):
                    result, error = inbox.get(timeout=PATIENCE)
                    seen.append(str(error) if result is None else result.get_response().id)
                client.stop_stream(cancel_requests=cancel)
        return seen

    assert len(compare(program)) >= 6


def test_an_aio_triton_stream() -> None:
    """tritonclient.grpc.aio sends what an async generator yields, and reads by async for."""
    triton = pytest.importorskip("tritonclient.grpc.aio")
    pb2 = pytest.importorskip("tritonclient.grpc.service_pb2")
    pb2_grpc = pytest.importorskip("tritonclient.grpc.service_pb2_grpc")

    class Inference(pb2_grpc.GRPCInferenceServiceServicer):  # type: ignore[misc, name-defined]
        async def ModelStreamInfer(  # noqa: N802
            self, requests: AsyncIterator[Any], context: Any
        ) -> AsyncIterator[Any]:
            async for request in requests:
                yield _infer(pb2, request)

    async def inputs() -> AsyncIterator[Any]:
        for request_id in ("a", "b", ""):
            yield {"model_name": "model", "inputs": [], "request_id": request_id}

    async def program() -> Any:
        def register(server: Any) -> None:
            pb2_grpc.add_GRPCInferenceServiceServicer_to_server(Inference(), server)

        async with (
            aio_server(register, mode=None) as address,
            triton.InferenceServerClient(address) as client,
        ):
            return [
                str(error) if result is None else result.get_response().id
                async for result, error in client.stream_infer(inputs())
            ]

    assert compare_async(program)[:2] == ["a", "b"]
