"""From a claim that failed to a finding: owners, violations, generators."""
