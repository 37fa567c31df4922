"""From a failed claim to a finding: owners, violations, generators."""
