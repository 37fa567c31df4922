"""Rules, modes and thresholds; access to private names of other libraries. Imports nothing of ours."""
