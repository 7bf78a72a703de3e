"""Usefulness and memorization measures that attacks and reports share."""
