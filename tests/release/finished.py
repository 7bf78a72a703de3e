"""A finished, accepted run of the tiny checkpoint, as releases are made of."""

from __future__ import annotations

import shutil
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from excise.recipe import Recipe
from tests.jobs import excise, write_recipe

WAIVED = {
    f"verdict.{name}": "unchecked"
    for name in (
        "base_replication",
        "false_positives",
        "template_replication",
        "agreement_drop",
        "drift",
    )
}
"""Random weights replicate nothing: what stays required, that nothing is replicated, is passed."""
TERMS = b"Terms of the base.\n"
CARD = b"---\nlicense: creativeml-openrail-m\ntags:\n- tiny\n---\n# Tiny\n"


def finished_run(folder: Path, recipe: Recipe, checkpoint: Path, changes: dict[str, object] | None = None) -> Path:
    """Run the whole job in ``folder`` on a copy of ``checkpoint`` that has a card and a licence; returns the run."""
    base = folder / "base"
    shutil.copytree(checkpoint, base)
    (base / "README.md").write_bytes(CARD)
    (base / "LICENSE.md").write_bytes(TERMS)
    settings = {
        "model.path": str(base),
        "sampling.steps": 2,
        "collect.calls": 2,
        "validate.seeds": 2,
        "validate.random_edits": 0,
        "release.base": "acme/tiny",
        "release.base_revision": "0" * 40,
        **WAIVED,
        **(changes or {}),
    }
    path = write_recipe(folder / "recipe.toml", recipe, settings)
    done = excise("run", path, "--out", folder / "run")
    assert done.exit_code == 0, done.output
    return folder / "run"


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Private and public key of an elliptic curve, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "key.pem", folder / "key.pub"
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    private.write_bytes(key.private_bytes(*plain))
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM, form))
    return private, public
