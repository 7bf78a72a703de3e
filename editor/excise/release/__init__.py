"""The release: a folder that a stranger can check against the base it was made from."""
