"""The probe: it delays operations at which two parties came near each other, so that they meet.

policy.py decides and learns, and knows neither clock, thread nor task. watch.py applies it to the
operations of a direction. limits.py says how long one may be held back. memory.py stores what one
run leaves to the next. process.py switches it on.
"""
