"""What users hold: the guarded twins of gRPC objects, ``sync`` and ``aio`` beside each other."""
