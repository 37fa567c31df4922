"""What was found: records, the ledger, wording, stacks, parties and origins."""
