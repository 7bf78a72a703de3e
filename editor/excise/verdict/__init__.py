"""From measures to a decision: models, estimates, checks."""
