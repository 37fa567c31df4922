import grpc_guard
from grpc_guard.demo import FEATURES, Rectangle, RouteGuide, RouteGuideStub, serving


@grpc_guard.guarded("warn")
def count_features(stub: RouteGuideStub) -> int:
    return sum(1 for _ in stub.ListFeatures(Rectangle(hi=FEATURES[-1].location)))


with serving(RouteGuide(), mode="off") as (stub,):
    print(count_features(stub))  # prints: 12
    with grpc_guard.guarded("raise"):
        print(grpc_guard.is_enabled())  # prints: True
