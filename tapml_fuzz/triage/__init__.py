"""From a failure to a finding: fingerprints and filing."""
