"""excise: make a text-to-image diffusion model forget the training images it copied, and prove it."""

__version__ = "0.1.0"
