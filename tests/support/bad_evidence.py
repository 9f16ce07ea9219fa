"""Keys and evidence that are refused, as they are written into a workplace."""

from __future__ import annotations

import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from bench.records.evidence import EVIDENCE


def keys(folder: Path) -> None:
    """One of Ed25519, public, private and encrypted, and one of another kind."""
    key = ed25519.Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "public.pem").write_bytes(public)
    for name, encryption in (("key.pem", NoEncryption()), ("locked.pem", BestAvailableEncryption(b"word"))):
        (folder / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    other = ec.generate_private_key(ec.SECP256R1())
    (folder / "ec.pem").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def leading_out(folder: Path) -> None:
    """Evidence of a file that lies elsewhere."""
    (folder / "out").mkdir()
    (folder / "out" / EVIDENCE).write_text(json.dumps({"files": {"../best_model.tar": {"sha256": "0" * 64}}}))


def half(folder: Path) -> None:
    (folder / "out").mkdir()
    (folder / "out" / EVIDENCE).write_text('{"bench": "0.1.0", "files"')
