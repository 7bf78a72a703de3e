"""The run's folder: what its files are called, who writes and reads them, who works on it."""
