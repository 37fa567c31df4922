import grpc_guard
from grpc_guard.demo import RouteGuideStub

registry = grpc_guard.ChannelRegistry.default()  # or grpc_guard.aio.ChannelRegistry

stub = registry.stub(RouteGuideStub, "localhost:50051")  # the same stub for all who ask
with registry.get("localhost:50051") as channel:  # a lease of the same, guarded channel
    ...  # closing it leaves the others alone
