"""Prompt tables, near-duplicates, the splits that keep a template on one side, and the questions asked."""
