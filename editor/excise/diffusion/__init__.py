"""Everything that touches diffusers and checkpoint files. No code that comes with a checkpoint is ever run."""
