"""A variant's artifact loaded into its runtime, only as long as its file is what was built.

Apart from `variants`, since a process that computes imports this alone.
"""

from __future__ import annotations

from bench import runtimes, stored
from bench.errors import UserError
from bench.provenance import file_digest
from bench.records import Built, Session
from bench.runtimes import Device


def load_checked(built: Built, runtime: str, device: Device, threads: int, *, tf32: bool) -> Session:
    """The session of an artifact.

    `UserError` where its file is no longer `built`: whoever loads it later, as a process that is started again does,
    would give another network's answers under its name.
    """
    digest = file_digest(built.file) if stored.is_file(built.file) else "no file"
    if digest != built.digest:
        raise UserError(
            f"{built.file}: expected the artifact that was loaded first (SHA-256 {built.digest}), found {digest}; "
            "put that file back, or end this program and start it again, which loads what is there now"
        )
    return runtimes.find(runtime).load(built, device, threads, tf32=tf32)
