"""Everything that touches diffusers and checkpoint files. No code that comes with a checkpoint is ever run."""

import os

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # its import warns of image processors that nobody asked for
os.environ["DIFFUSERS_DISABLE_REMOTE_CODE"] = "true"  # diffusers reads it once, when it is imported
