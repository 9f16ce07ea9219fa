"""Why a request is not answered: the status, and a sentence for people."""

from __future__ import annotations

import errno
import logging

from bench.errors import on_one_line

_log = logging.getLogger("bench")
OWN_FAULT = "an error of the service itself, which its log describes"
"""What is answered where the service is to blame."""


class RefusedError(Exception):
    """A request that gets no answer. `retry_after` are seconds after which to ask again, None where that is no use."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after

    def body(self, path: str) -> dict[str, str]:
        """The answer's JSON: clients of the Open Inference Protocol read `error`, all others `detail`."""
        return as_json(self.detail, path)

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def as_json(detail: str, path: str) -> dict[str, str]:
    """A sentence as the JSON of an error, at an address."""
    sentence = on_one_line(detail)
    return {"detail": sentence, "error": sentence} if path.startswith("/v2") else {"detail": sentence}


class NoFaceError(RefusedError):
    """There is no face in a picture, and a detector wants one."""

    def __init__(self, preset: str) -> None:
        super().__init__(
            422,
            f"no face was found, and this detector judges faces (crop {preset}); faces=never judges the whole picture",
        )


def as_refusal(error: Exception, what: str) -> RefusedError:
    """What is said where `what` got no answer for this reason; one that is the service's fault is logged."""
    if isinstance(error, RefusedError):
        return error
    if full := of_disk(error):
        return full
    if isinstance(error, MemoryError):
        return RefusedError(503, "the service has no memory left for this; ask again later", 10)
    _log.error("%s got no answer", what, exc_info=error)
    return RefusedError(500, OWN_FAULT)


def of_disk(error: BaseException | None) -> RefusedError | None:
    """What is said where a disk is full or broken; None for any other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            return RefusedError(507, "the service has no room on its disk for this upload; try again later", 60)
        error = error.__cause__
    return None
