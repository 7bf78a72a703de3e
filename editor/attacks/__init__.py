"""One file per attack: ways to make a model replicate an image."""
