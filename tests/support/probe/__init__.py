"""What the tests of the probe share: racy programs, synchronised ones, and schedules."""
