"""Writing a stage's outputs whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """A safetensors file; equal tensors give equal bytes, in any order (so nothing goes into its metadata)."""
    unfinished = path.with_name(f"{path.name}.tmp")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, unfinished)
    os.replace(unfinished, path)


def write_json(path: Path, value: Any) -> None:
    """A JSON file, keys in the order given; NaN is refused, as JSON has none."""
    unfinished = path.with_name(f"{path.name}.tmp")
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    unfinished.write_text(text + "\n", encoding="utf-8")
    os.replace(unfinished, path)
