"""What stores refuse, as a person can act on it; no credentials are in it."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.errors import UserError, shown

_CREDENTIALS = (
    "credentials come from the environment (docs/scale.md), such as AWS_ACCESS_KEY_ID, GOOGLE_APPLICATION_CREDENTIALS "
    "or a role"
)
_AGAIN = "run the same command again: what is finished is kept"
_OF_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EMFILE, errno.ENAMETOOLONG}
_UNKNOWN_USER = {
    "NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound",
    "TokenRetrievalError", "UnauthorizedSSOTokenError", "DefaultCredentialsError", "RefreshError",
}  # fmt: skip
_NETWORK = {
    "ConnectionError", "TimeoutError", "ConnectTimeoutError", "ReadTimeoutError", "EndpointConnectionError",
    "HTTPClientError", "ClientConnectionError", "FSTimeoutError", "gaierror", "TransportError", "SSLError",
}  # fmt: skip
_CLIENTS = {"botocore", "aiobotocore", "aiohttp", "s3fs", "gcsfs", "google", "fsspec", "adlfs", "azure", "paramiko"}
_SECRET_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|CREDENTIAL|_KEY")
_LEAST_SECRET = 8


@contextmanager
def explained(address: str, local: Path | None = None) -> Iterator[None]:
    """`UserError` for what a store at this address refuses, and for what keeps it from being reached.

    What the disk of this machine refuses, and what is a bug, stays what it is. `local` is the file that is copied to
    or from.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        why = _why(error, local)
        if why is None:
            raise
        raise UserError(f"{address}: {why}") from None


def _why(error: Exception, local: Path | None) -> str | None:
    """Why a store did not do it, and what to do; None where it was no store that did not."""
    if isinstance(error, OSError) and (error.errno in _OF_DISK or _is_local(error, local)):
        return None
    if isinstance(error, FileNotFoundError):
        return "there is no such bucket, folder or object (any more); look at the address and its region"
    if isinstance(error, PermissionError) or _is_google_denial(error):
        return f"access is denied ({_text(error)}); {_CREDENTIALS}"
    kind, kinds = type(error), {kind.__name__ for kind in type(error).__mro__}
    is_of_store = isinstance(error, OSError) or kind.__module__.partition(".")[0] in _CLIENTS
    why = f"the store refused ({kind.__name__}: {_text(error)}); {_AGAIN}" if is_of_store else None
    if isinstance(error, NotImplementedError):
        why = f"its package for fsspec cannot do that ({_text(error) or kind.__name__}); use a store such as s3://"
    elif kinds & _UNKNOWN_USER:
        why = f"no credentials ({kind.__name__}); {_CREDENTIALS}"
    elif kinds & _NETWORK:
        why = f"the store cannot be reached ({kind.__name__}); look at the network and the endpoint, then {_AGAIN}"
    return why


def _is_google_denial(error: Exception) -> bool:
    """Whether gcsfs says so, in the two ways that it has."""
    if type(error).__module__.startswith("gcsfs."):
        return getattr(error, "code", None) in (401, 403)
    return type(error) is OSError and str(error).startswith("Forbidden: ")


def _is_local(error: OSError, local: Path | None) -> bool:
    """Whether it names a file of this machine: clients of stores name addresses in their text alone.

    Of a file that is copied to a folder that has gone, only its name tells.
    """
    if not isinstance(error.filename, str):
        return False
    file = Path(error.filename)
    if local is not None and file.absolute().is_relative_to(local.parent.absolute()):
        return True
    return file.is_absolute() and os.path.lexists(file)


def _text(error: Exception) -> str:
    """What a client says, on one line, without secrets that the environment holds."""
    text = str(error)
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name.upper()) and len(value) >= _LEAST_SECRET:
            text = text.replace(value, "…")
    return shown(text, 200)
