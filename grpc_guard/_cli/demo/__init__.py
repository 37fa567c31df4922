"""The demo: what grpcio does when the contract is broken, without the guard and with it."""
