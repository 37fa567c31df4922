"""A legal program: a total of numbers over one stream to and fro."""

import concurrent.futures

import grpc


class Service(grpc.GenericRpcHandler):
    def service(self, handler_call_details):
        return grpc.stream_stream_rpc_method_handler(lambda requests, context: requests)


with concurrent.futures.ThreadPoolExecutor(1) as pool:
    server = grpc.server(pool, handlers=(Service(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        requests = (b"%d" % number for number in (1, 2, 3))
        print(sum(map(int, channel.stream_stream("/x/Echo")(requests, timeout=20))))
    server.stop(None).wait()
