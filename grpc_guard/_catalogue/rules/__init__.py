"""One file for each rule: its texts, with its page beside it."""
