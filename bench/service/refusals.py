"""Why a request is not answered: the status, and a sentence for people."""

from __future__ import annotations

import errno


class RefusedError(Exception):
    """A request that gets no answer. `retry_after` are seconds after which to ask again, None where that is no use."""

    def __init__(self, status: int, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.retry_after = status, detail, retry_after

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"Retry-After": str(self.retry_after)}


def of_disk(error: BaseException | None) -> RefusedError | None:
    """What is said where a disk is full or broken; None for any other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS):
            return RefusedError(507, "the service has no room on its disk for this upload; try again later", 60)
        error = error.__cause__
    return None
