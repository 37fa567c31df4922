"""What was said: records, the ledger, wording, stacks, parties and origins."""
