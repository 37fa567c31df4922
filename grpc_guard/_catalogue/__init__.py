"""What may be said: the rules, the modes, the thresholds. Imports nothing of the guard."""
