"""The claim: streams, their directions, and whose turn it is."""
