"""What may be said: rules, modes, thresholds; doors to what is not ours. Imports nothing of the guard."""
