"""Prints each signal that it gets, until its standard input ends."""

import os
import select
import signal

told, teller = os.pipe()
os.set_blocking(teller, False)
signal.set_wakeup_fd(teller)  # a byte for each, at any moment of the interpreter
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda number, frame: None)
print("ready", flush=True)
while True:
    ready, _, _ = select.select([told, 0], [], [])
    if told in ready:
        for number in os.read(told, 64):
            print(signal.Signals(number).name, flush=True)
    elif not os.read(0, 64):
        break
print("end")
