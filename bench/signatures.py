"""Ed25519 signatures (RFC 8032) of whole files, by keys in PEM: 64 bytes each, which openssl makes and checks too."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from bench import stored
from bench.errors import UserError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SIGNATURE_BYTES = 64
_MOST_KEY_BYTES = 100_000
_MAKE = "`openssl genpkey -algorithm ed25519 -out key.pem` makes one"
_PUBLIC = "`openssl pkey -in key.pem -pubout -out public.pem` writes the public one"


def private_key(path: Path, option: str) -> Ed25519PrivateKey:
    """The private key in a PEM file; `UserError`, which names the option, for what is none of Ed25519."""
    serialization, ed25519 = _library(option)
    data = _data(path, option)
    if b"ENCRYPTED" in data:
        raise UserError(
            f"{option}: {path} is encrypted, and bench asks for no password; `openssl pkey -in {path} -out plain.pem` "
            "decrypts it, where nobody else can read it"
        )
    if b"PUBLIC KEY" in data and b"PRIVATE KEY" not in data:
        raise UserError(f"{option}: {path} is a public key, which only checks; expected the private one, {_MAKE}")
    key = _loaded(
        lambda: serialization.load_pem_private_key(data, password=None), path, option, f"private key, {_MAKE}"
    )
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise UserError(f"{option}: {path} is a key of another kind ({_kind(key)}); expected Ed25519: {_MAKE}")
    return cast("Ed25519PrivateKey", key)


def public_key(path: Path, option: str) -> Ed25519PublicKey:
    """The public key in a PEM file; `UserError`, which names the option, for what is none of Ed25519."""
    serialization, ed25519 = _library(option)
    data = _data(path, option)
    if b"PRIVATE KEY" in data:
        raise UserError(f"{option}: {path} is a private key, which is to leave its owner never; {_PUBLIC}")
    key = _loaded(partial(serialization.load_pem_public_key, data), path, option, f"public key; {_PUBLIC}")
    if not isinstance(key, ed25519.Ed25519PublicKey):
        raise UserError(f"{option}: {path} is a key of another kind ({_kind(key)}); expected Ed25519; {_PUBLIC}")
    return cast("Ed25519PublicKey", key)


def named_key(digits: str) -> Ed25519PublicKey:
    """The public key of 32 bytes in hexadecimal, whatever bytes these are."""
    _, ed25519 = _library("a signature")
    key: Ed25519PublicKey = ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(digits))
    return key


def digits_of(key: Ed25519PublicKey) -> str:
    """A public key in hexadecimal: 64 digits."""
    return key.public_bytes_raw().hex()


def is_signed(data: bytes, signature: bytes, key: Ed25519PublicKey) -> bool:
    """Whether the signature of these bytes was made with the private key of this public one."""
    from cryptography.exceptions import InvalidSignature

    try:
        key.verify(signature, data)
    except InvalidSignature:
        return False
    return True


def _library(what: str) -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UserError(f'{what}: needs cryptography, which is not installed: `pip install "bench[sign]"`') from error
    return serialization, ed25519


def _data(path: Path, option: str) -> bytes:
    try:
        return stored.read_bytes(path, _MOST_KEY_BYTES)
    except FileNotFoundError as error:
        raise UserError(f"{option}: {path}: no such file; expected a key in PEM, {_MAKE}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{option}: {path}: cannot be read ({reason}); expected a key in PEM") from error


def _loaded(load: Callable[[], Any], path: Path, option: str, expected: str) -> Any:
    try:
        return load()
    except Exception as error:  # what is damaged makes the library fail in many ways
        raise UserError(f"{option}: {path} is no key in PEM, or damaged; expected a {expected}") from error


def _kind(key: Any) -> str:
    """ "RSA" of an RSAPublicKey."""
    name: str = type(key).__name__
    return name.removesuffix("PublicKey").removesuffix("PrivateKey")
