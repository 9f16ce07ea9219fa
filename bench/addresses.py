"""Addresses of stores, such as s3://bucket/faces: what can be none, and where on this machine its files lie."""

from __future__ import annotations

from pathlib import Path

from bench import seals
from bench.errors import quoted, resolve_path

FOLDER = Path("datasets", ".remote")
"""Where copies of what lies at addresses are, below the folder of the experiment file."""
_ON_THIS_MACHINE = ("file", "local")
_DIGITS = 16


def is_address(path: str) -> bool:
    return "://" in path


def checked(path: str) -> str:
    """A path, or an address without credentials in it; `ValueError` for any other address, which is not repeated
    where it may hold a secret.
    """
    if not is_address(path):
        return path
    scheme, _, rest = path.partition("://")
    host, *names = rest.rstrip("/").split("/")
    if ":" in host.rpartition("@")[0] or "?" in rest:
        raise ValueError(
            "an address that holds a password, a key or a signature is not taken: it would end up in logs and reports; "
            "write it without, such as s3://bucket/faces, and give credentials by the environment (docs/scale.md)"
        )
    if "::" in path or "://" in rest:
        raise ValueError(f"{quoted(path)} is several addresses in one; expected one, such as s3://bucket/faces")
    if scheme.lower() in _ON_THIS_MACHINE:
        raise ValueError(f"{quoted(path)} is on this machine: write its path, without {scheme}://")
    if not host or {"", ".", ".."} & {*names} or not path.isprintable():
        raise ValueError(f"{quoted(path)} names no place; expected such as s3://bucket/faces")
    return path


def joined(address: str, *names: str) -> str:
    """The address of what lies below another."""
    return "/".join([address.rstrip("/"), *names])


def parent_of(address: str) -> tuple[str, str]:
    """The address of the folder that something lies in, and its name there."""
    folder, _, name = address.rstrip("/").rpartition("/")
    return folder, name


def folder_of(base: Path, address: str) -> Path:
    """The folder of what is copied from an address: of each user's own, since a stranger may have put others there."""
    plain = address.rstrip("/").encode("utf-8", "surrogatepass")
    return base / FOLDER / seals.seal_of(plain, seals.lasting_secret(), "copy")[:_DIGITS]


def local_path(base: Path, address: str) -> Path:
    """Where the copy of what lies at an address is, or will be."""
    return folder_of(base, address) / parent_of(address)[1]


def resolve(base: Path, path: str) -> Path:
    """A path as a person writes it, relative to `base`; of an address, that of its copy."""
    return local_path(base, path) if is_address(path) else resolve_path(base, path)
