"""Mutants of safetensors files: ours must refuse every one that the format's own library refuses, and see the same
tensors in every other, save the ones that only ours refuses, for a reason that it names.

Run with: python -m tests.checkpoint.mutants [COUNT [SEED]]
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from excise.checkpoint.tensorfile import read_header
from excise.errors import ExciseError

STRICTER = (
    "is in the header twice",
    "tensors end at byte",
    "needs dtype, shape and data_offsets",
    "must be whole numbers",
)
"""Why ours may refuse what the library takes: two tensors of one name, a file without tensors, unknown keys, and a side
of 2^63 or more beside a side of 0, which no tensor has."""
WORDS = ("F32", "F64", "F16", "I8", "F4", "BOOL", "dtype", "shape", "data_offsets", "__metadata__", "a", "", "é")
NUMBERS = (0, 1, -1, 2, 7, 8, 16, 2**31, 2**63, 2**64, 1.5, 1e300, True, None)


def original(rng: random.Random) -> bytes:
    """A valid file of one to four tensors."""
    tensors = {}
    for name in rng.sample(["a", "b.weight", "c", "d"], rng.randint(1, 4)):
        shape = [rng.randint(0, 3) for _ in range(rng.randint(0, 3))]
        tensors[name] = torch.zeros(shape, dtype=rng.choice([torch.float32, torch.float16, torch.int8, torch.bool]))
    return save(tensors, {"format": "pt"} if rng.random() < 0.5 else None)


def mutate(rng: random.Random, data: bytes) -> bytes:
    """One to three changes: to bytes, to the length field, to the file's end, or to the header as text or as JSON."""
    for _ in range(rng.randint(1, 3)):
        length = int.from_bytes(data[:8], "little")
        header, body = data[8 : 8 + length], data[8 + length :]
        way = rng.randrange(7)
        if way == 0 and data:
            place = rng.randrange(min(len(data), 8 + length + 4))
            data = data[:place] + bytes([rng.randrange(256)]) + data[place + 1 :]
        elif way == 1:
            changed = rng.choice([0, 1, length - 1, length + 1, 2**40, 2**63, 2**64 - 1]) % 2**64
            data = changed.to_bytes(8, "little") + data[8:]
        elif way == 2:
            data = data[: rng.randrange(len(data) + 1)] if rng.random() < 0.5 else data + bytes(rng.randint(1, 9))
        elif way == 3:
            text = header.decode("utf-8", "replace").strip()
            place = rng.randrange(len(text) + 1)
            text = (
                text[:place]
                + rng.choice(["{", "}", "[", "]", ",", ":", '"', "0", "-", "NaN", " ", "\\u0000"])
                + text[place:]
            )
            data = _packed(text.encode(), body)
        elif way == 4:
            text = header.decode("utf-8", "replace").strip()
            inner = text[1:-1]
            data = _packed(("{" + inner + "," + inner + "}").encode(), body)  # every tensor named twice
        else:
            try:
                tree = json.loads(header)
            except ValueError:
                continue
            data = _packed(json.dumps(_changed(rng, tree)).encode(), body)
    return data


def _packed(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def _changed(rng: random.Random, tree: object) -> object:
    """One value, key or element somewhere in the tree replaced, removed or added."""
    if isinstance(tree, dict) and tree and rng.random() < 0.8:
        key = rng.choice(list(tree))
        tree = dict(tree)
        if rng.random() < 0.2:
            tree[rng.choice(WORDS)] = tree.pop(key)
        elif rng.random() < 0.1:
            del tree[key]
        else:
            tree[key] = _changed(rng, tree[key])
        return tree
    if isinstance(tree, list) and tree and rng.random() < 0.8:
        place = rng.randrange(len(tree))
        return [*tree[:place], _changed(rng, tree[place]), *tree[place + 1 :]]
    return rng.choice(
        [rng.choice(NUMBERS), rng.choice(WORDS), [], {}, [0, 4], [rng.randint(0, 40), rng.randint(0, 40)]]
    )


def judge(path: Path, data: bytes) -> str:
    """``refused``, ``stricter`` or ``accepted``.

    Raises:
        AssertionError: ours accepts what the library refuses, sees other tensors, or refuses for no reason of its own.
    """
    path.write_bytes(data)
    try:
        with safe_open(path, "pt") as file:
            expected = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except SafetensorError:
        expected = None
    try:
        found = read_header(path)
    except ExciseError as error:
        if expected is None:
            return "refused"
        assert any(reason in str(error) for reason in STRICTER), (str(error), data)
        return "stricter"
    assert expected is not None, data
    assert {name: entry.shape for name, entry in found.items()} == expected, data
    return "accepted"


def run(count: int, seed: int) -> Counter[str]:
    """Judge ``count`` mutants."""
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mutant.safetensors"
        return Counter(judge(path, mutate(rng, original(rng))) for _ in range(count))


if __name__ == "__main__":
    count, seed = (int(value) for value in (*sys.argv[1:], *("10000", "0")[len(sys.argv) - 1 :]))
    print(f"{count} mutants: {dict(run(count, seed))}")
