"""The proxies of the sync api, ``grpc``."""
