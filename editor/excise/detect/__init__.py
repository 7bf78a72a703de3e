"""What is memorized, and why: scan, explain."""
