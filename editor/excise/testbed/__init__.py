"""The embedded model: its data, its training, and the twin that never saw the memorized images."""
