"""A job: stages in order, resume, fingerprints, what is refused before work, estimate, sweep."""
