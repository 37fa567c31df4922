"""What the tests share: servers and channels, gates, parties, and the subjects of the suites."""
