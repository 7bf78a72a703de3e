"""Files of any kind: hashes taken once, and writing whole or not at all."""
