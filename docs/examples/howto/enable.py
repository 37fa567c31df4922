import grpc_guard

grpc_guard.enable()  # every stream that this process starts or serves from now on
