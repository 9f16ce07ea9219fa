"""Addresses of stores, such as s3://bucket/faces: what can be none, and where on this machine its files lie."""

from __future__ import annotations

import re
from pathlib import Path

from bench import seals
from bench.errors import quoted, resolve_path

FOLDER = Path("datasets", ".remote")
"""Where copies of what lies at addresses are, below the folder of the experiment file."""
FILES = "files"
"""What is copied from one address lies here, in a folder of that address; beside it, what was copied is noted."""
_ON_THIS_MACHINE = ("asynclocal", "file", "local")
_WEB = ("http", "https")
_PATTERN = re.compile(r"[*\[]")
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
    if _may_hold_a_secret(scheme.lower(), rest):
        raise ValueError(
            "an address that holds a password, a key or a signature is not taken: it would end up in logs and reports; "
            "write it without, such as s3://bucket/faces, and give credentials by the environment (docs/scale.md)"
        )
    if "::" in path or "://" in rest:
        raise ValueError(f"{quoted(path)} is several addresses in one; expected one, such as s3://bucket/faces")
    if scheme.lower() in _ON_THIS_MACHINE:
        raise ValueError(f"{quoted(path)} is on this machine: write its path, without {scheme}://")
    if {"", ".", ".."} & {host, *names} or not path.isprintable():
        raise ValueError(f"{quoted(path)} names no place; expected such as s3://bucket/faces")
    if sign := _PATTERN.search(rest):
        raise ValueError(
            f"{quoted(path)}: has a {sign[0]} in it, which clients of stores take for a pattern; expected the address "
            "of one folder or file; rename what is called so"
        )
    return path


def checked_file(path: str) -> str:
    """The same of a file, which a bucket alone is not."""
    checked(path)
    if is_address(path) and "/" not in path.partition("://")[2].rstrip("/"):
        raise ValueError(
            f"{quoted(path)} names a bucket and nothing in it; expected both, such as s3://bucket/best.pth"
        )
    return path


def _may_hold_a_secret(scheme: str, rest: str) -> bool:
    """Whether it may be user:password@host/…, a token, or signed. Keys may hold slashes, so all of it is looked at."""
    user = rest.rpartition("@")[0]
    return ":" in user or "?" in rest or "@" in scheme or (scheme in _WEB and "@" in rest)


def joined(address: str, *names: str) -> str:
    """The address of what lies below another."""
    return "/".join([address.rstrip("/"), *names])


def parent_of(address: str) -> tuple[str, str]:
    """The address of the folder that something lies in, and its name there."""
    folder, _, name = address.rstrip("/").rpartition("/")
    return folder, name


def folder_of(base: Path, address: str) -> Path:
    """The folder of one address: of each user's own, since a stranger may have put others there."""
    plain = address.rstrip("/").encode("utf-8", "surrogatepass")
    return base / FOLDER / seals.seal_of(plain, seals.lasting_secret(), "copy")[:_DIGITS]


def local_path(base: Path, address: str) -> Path:
    """Where the copy of what lies at an address is, or will be."""
    return folder_of(base, address) / FILES / parent_of(address)[1]


def resolve(base: Path, path: str) -> Path:
    """A path as a person writes it, relative to `base`; of an address, that of its copy."""
    return local_path(base, path) if is_address(path) else resolve_path(base, path)
