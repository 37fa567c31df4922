"""One file for each rule: texts, evidence, thresholds and excuses, with its page beside it."""
