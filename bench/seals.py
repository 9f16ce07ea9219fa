"""How this user knows again what this user has made: a secret in the user's own folder, and seals made with it.

Folders come from strangers too, who can write any file and any sum beside it. What would be executed or believed
without being made anew carries a seal that only this user can make.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
import stat
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from bench import stored
from bench.errors import UserError
from bench.files import rename, sweep, temporary_name, write_text

_SECRET_BYTES = 32
_MOST_BYTES = 1000
# An ONNX file has at most 2 GiB; reading a hole of terabytes takes for ever.
_MOST_SEALED_BYTES = 4 * 2**30
_LONGEST_SEAL = 100
_FILE = "secret"
_PASSING = "BENCH_PASSING_SECRET"
GIVEN = "BENCH_SECRET"
"""The environment variable that a CI system may pass a secret in."""


def seal(file: Path, secret: bytes, key: str) -> str:
    """HMAC-SHA256 of a file's bytes under the secret, in hexadecimal; one key's seal is not another's."""
    code = begun(secret, key)
    with file.open("rb") as source:
        while part := source.read(2**20):
            code.update(part)
    return code.hexdigest()


def seal_of(data: bytes | memoryview, secret: bytes, key: str) -> str:
    """The same of bytes."""
    code = begun(secret, key)
    code.update(data)
    return code.hexdigest()


def begun(secret: bytes, key: str) -> hmac.HMAC:
    """What to update with the bytes, piece by piece: its `hexdigest()` is their seal."""
    return hmac.new(secret, f"{key}\n".encode(), hashlib.sha256)


def sealed(text: str, key: str) -> str:
    """ASCII text behind a line with its seal, as `unsealed` reads it."""
    return f"{seal_of(text.encode('ascii'), lasting_secret(), key)}\n{text}"


def unsealed(content: bytes, key: str) -> bytes | None:
    """The text behind its seal; None where this user did not seal it under the key."""
    line, _, data = content.partition(b"\n")
    given = line[:_LONGEST_SEAL].strip()
    expected = seal_of(data, lasting_secret(), key).encode("ascii")
    return data if hmac.compare_digest(expected, given) else None


def recall(file: Path, key: str, most_bytes: int = stored.MOST_CACHE_BYTES) -> Any:
    """What `remember` kept in a file under the key, as JSON holds it.

    None where there is nothing, where it is damaged or a link, or where another user wrote it.
    """
    try:
        if file.parent.is_symlink():
            return None
        data = unsealed(stored.read_bytes(file, most_bytes, links=False), key)
        return None if data is None else json.loads(data)
    except (OSError, ValueError):
        return None


def remember(file: Path, key: str, content: Any) -> None:
    """Keep what JSON can hold for `recall`. Where it can't be written, that costs time and no results."""
    if file.parent.is_symlink():  # it may lead to anybody's folder
        return
    with suppress(OSError):
        write_text(file, sealed(json.dumps(content), key))
        sweep(file.parent)


def is_sealed(file: Path, key: str, sealed: Path) -> bool:
    """Whether a regular file is what this user sealed under the key; the seal lies in the file `sealed`."""
    try:
        stored.refuse_other_than_file(file, links=False)
        if file.stat().st_size > _MOST_SEALED_BYTES:
            return False
        expected = stored.read_text(sealed, _MOST_BYTES).strip()
        return equal(seal(file, lasting_secret(), key), expected)
    except (OSError, ValueError):
        return False


def equal(first: str, second: str) -> bool:
    """Without telling by its duration how much of it is."""
    return hmac.compare_digest(first.encode(), second.encode())


def secret() -> bytes:
    """This user's secret, made where there is none, or none that nobody else can have read or written.

    Two processes that make it at once may each seal with their own; the last one stays, and what was sealed with the
    other is compiled once more. Raises `UserError` where it cannot be kept.
    """
    if given := os.environ.get(GIVEN):
        return _given(given)
    try:
        file = own_folder() / _FILE
        if (stored_secret := _read(file)) is None:
            _write(file, secrets.token_bytes(_SECRET_BYTES))
            stored_secret = _read(file)
    except OSError as error:
        raise UserError(f"bench {_unwritable(error.strerror or str(error))}") from error
    if stored_secret is None:
        raise UserError(f"bench {_unwritable('others can read or change what is written there')}")
    return stored_secret


def lasting_secret() -> bytes:
    """This user's secret; where none can be kept, one for this run and the processes that it starts."""
    try:
        return secret()
    except UserError:
        if os.environ.get(GIVEN):
            raise
        return bytes.fromhex(os.environ.setdefault(_PASSING, secrets.token_hex(_SECRET_BYTES)))


def _given(text: str) -> bytes:
    """A secret from the environment: machines of a CI system are new for every job, and have no folder that lasts."""
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) < _SECRET_BYTES:
        raise UserError(
            f"{GIVEN}: expected at least {2 * _SECRET_BYTES} hexadecimal digits, such as `openssl rand -hex 32` gives"
        )
    return value


def why_no_secret() -> str | None:
    """Why the secret cannot be kept; nothing is written."""
    if os.environ.get(GIVEN):
        return None
    try:
        folder = own_folder()
        if _read(folder / _FILE):
            return None
    except OSError as error:
        return _unwritable(error.strerror or str(error))
    above = next((parent for parent in (folder, *folder.parents) if parent.exists()), folder)
    return None if above.is_dir() and os.access(above, os.W_OK | os.X_OK) else _unwritable("permission denied")


def own_folder() -> Path:
    """Where this user's programs keep what is to last, by each system's custom. OSError where there is no home."""
    try:
        if sys.platform == "win32":
            return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "bench"
        if sys.platform == "darwin":
            return Path.home() / "Library" / "Application Support" / "bench"
        named = os.environ.get("XDG_STATE_HOME", "")
        # By the specification of these folders, a relative path does not count.
        return (Path(named) if Path(named).is_absolute() else Path.home() / ".local" / "state") / "bench"
    except RuntimeError as error:
        raise OSError(str(error)) from error


def _read(file: Path) -> bytes | None:
    """The secret, where it is whole and only this user can read and change it."""
    try:
        with stored.open_file(file) as source:
            status = os.fstat(source.fileno())
            value = source.read(_SECRET_BYTES + 1)
    except (FileNotFoundError, stored.DamagedError):
        return None
    private = not hasattr(os, "geteuid") or (
        stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
    )
    return value if private and len(value) == _SECRET_BYTES else None


def _write(file: Path, value: bytes) -> None:
    """Write the secret whole, readable by this user alone."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = file.with_name(temporary_name())
    try:
        # Windows would write every line feed as two bytes.
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        descriptor = os.open(temporary, flags, 0o600)
        with os.fdopen(descriptor, "wb") as target:
            target.write(value)
        rename(temporary, file)
    finally:
        temporary.unlink(missing_ok=True)


def _unwritable(reason: str) -> str:
    """Where the secret should be kept, why it cannot be, and what to do."""
    try:
        location = f"in {own_folder()}"
    except OSError:
        location = "in a home folder"
    mend = "let this user write there"
    if sys.platform not in ("win32", "darwin"):
        mend += ", or set XDG_STATE_HOME to a folder where this user can"
    return (
        f"must keep a secret {location}, by which this user's own files are known from strangers', and cannot "
        f"({reason}): {mend}"
    )
