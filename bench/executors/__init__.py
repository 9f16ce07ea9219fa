"""Where variants are built and shards evaluated: one file an executor, named as after `--executor`.

`local` is this process, `ray` the workers of a Ray cluster. Both end in the same results: what a cluster does is
artifacts under their ids and shards under their keys, and the run goes on with them as with those of an earlier run.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.errors import UserError, nearest, quoted
from bench.experiment import read
from bench.pipeline.prepare import refuse_unshared
from bench.pipeline.sharding import local
from bench.pipeline.sharding.executor import Executor

NAMES = ("local", "ray")
PACKAGE = "ray"


@dataclass(frozen=True)
class Request:
    """What a run is asked for, as workers read it again: the experiment file by its absolute path, and options.

    With a `store`, workers see no folder of the run's: they have the file's `text`, and share the rest by that address.
    """

    path: Path
    name: str | None
    only: tuple[str, ...] = ()
    device: str | None = None
    store: str | None = None
    text: str = ""


def find(name: str, address: str | None, request: Request) -> Executor:
    """The executor of this name.

    `UserError` for one that there is not, that is not installed or that nobody answers for, and where workers would not
    find the files that the experiment names.
    """
    check(name, address)
    if name == "local":
        return local
    from bench.executors.ray import RayExecutor

    if request.store is not None:
        refuse_unshared(read(request.path), request.path, request.name, request.only)
    return RayExecutor(request, address)


def check(name: str, address: str | None) -> None:
    """Raise `UserError` where there is no such executor, it takes no address, or nobody answers at that."""
    if name not in NAMES:
        raise UserError(f"--executor: there is no {quoted(name)}{nearest(name, NAMES)}; there are {', '.join(NAMES)}")
    if name != "ray" and address is not None:
        raise UserError("--address is that of a Ray cluster: give --executor ray too, or leave it out")
    if name == "ray":
        if importlib.util.find_spec(PACKAGE) is None:
            raise UserError('--executor ray: Ray is not installed: python -m pip install "bench[ray]"')
        from bench.executors.ray import refuse_silent

        refuse_silent(address)


def request(path: Path, name: str | None, only: Sequence[str], device: str | None, store: str | None = None) -> Request:
    return Request(path.absolute(), name, tuple(only), device, store, path.read_text(encoding="utf-8") if store else "")
