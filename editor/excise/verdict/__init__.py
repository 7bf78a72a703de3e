"""From measures to a decision: models, statistics, checks."""
