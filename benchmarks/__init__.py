"""What the guard costs: a program, ``python -m benchmarks``. No part of it is a test."""
