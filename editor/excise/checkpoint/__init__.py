"""A checkpoint's folder: opened and checked once; its files read, compared, copied and patched byte by byte."""

from excise.checkpoint.checkpoint import Checkpoint

__all__ = ["Checkpoint"]
