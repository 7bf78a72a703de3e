"""Speed and memory of collecting, beside the bare model and beside the plain way of doing it: ``make bench``."""
