"""The proxies of the asyncio api, ``grpc.aio``."""
