"""Workers of a Ray cluster: links of chains as tasks that wait for their parents, shards by actors that hold sessions.

All machines see the folder of the experiment under one path, or share what is made by a store. A worker that is lost
costs the shards that it had under way: they are given to others. Nothing is timed here.
"""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from bench.errors import UserError, counted, shown
from bench.executors import Request
from bench.executors.worker import WHOLE, NotSharedError, Worker, build_link
from bench.files import advice
from bench.pipeline.build import BuiltVariants, build_context
from bench.pipeline.prepared import Prepared
from bench.pipeline.sharding import joining, records, sharing
from bench.pipeline.sharding.passes import passes_of
from bench.pipeline.sharding.sharing import SharedStore
from bench.records import Event, OnEvent, ResultKey, silent
from bench.variants import cache, ids

UNDER_WAY = 2
"""Shards that a worker has at once: it evaluates one while the next is on its way."""
MOST_LOSSES = 5
_WORDS = ("local", "auto")
"""What an address may be beside HOST:PORT: a new cluster of this machine, or the one that runs on it."""
_LISTENS_WITHIN_S = 10.0
_PATIENCE = {"RAY_agent_register_timeout_ms": "300000", "RAY_raylet_start_wait_time_s": "300"}
"""On a busy machine, Ray's processes take longer to start than it waits for them."""
_POLL_SECONDS = 1.0
_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_SILENCE_S = 300.0
"""After so long without an answer, the run says so."""
_MOST_LETTERS = 500

_log = logging.getLogger("bench")

Shard = tuple[int, int]
"""A shard: the number of its pass, and its first row."""


@dataclass(frozen=True)
class Cluster:
    """What a cluster has for this experiment: its nodes, and how many workers of so many threads or one GPU each."""

    nodes: int
    workers: int
    threads: int
    gpus: int

    @property
    def text(self) -> str:
        each = "one GPU each" if self.gpus else f"{counted(self.threads, 'thread')} each"
        return f"{counted(self.workers, 'worker')} ({each}) on {counted(self.nodes, 'node')}"


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to the cluster at an address, or to one of this machine's own; `UserError` where none answers."""
    address = _resolved(address)
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        options |= {"include_dashboard": False}
        for name, patience in _PATIENCE.items():
            os.environ.setdefault(name, patience)
    refuse_silent(address)
    import ray

    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises bare exceptions too
        where = "starts on this machine" if address == "local" else f"answers at {shown(address, 100)}"
        raise UserError(f"--executor ray: no Ray cluster {where}: {shown(str(error))}") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _resolved(address: str | None) -> str:
    """The address of a cluster: what is given, else the environment's, else one of this machine's own."""
    return (os.environ.get("RAY_ADDRESS") or "local") if address is None else address.strip()


def refuse_silent(address: str | None) -> None:
    """Raise `UserError` for what is no address, and where nothing listens at one: Ray itself goes on for minutes."""
    address = _resolved(address)
    if address in _WORDS:
        return
    try:
        parts = urlsplit(address if "://" in address else f"ray://{address}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or port is None:
        raise UserError(
            f"--address: {shown(address, 100) or 'nothing'}: expected ray://HOST:PORT, HOST:PORT, or one of "
            f"{', '.join(_WORDS)}"
        )
    try:
        socket.create_connection((host, port), _LISTENS_WITHIN_S).close()
    except OSError as error:
        raise UserError(f"--executor ray: no Ray cluster answers at {shown(address, 100)}: {error}") from error


def cluster_of(ray: Any, threads: int, device: str) -> Cluster:
    """What a connected cluster offers. `UserError` where it has no GPU and one is needed."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = int(sum(node.get("GPU", 0) for node in nodes)) if device == "cuda" else 0
    if device == "cuda" and not gpus:
        raise UserError("--executor ray: the experiment runs on cuda, and the cluster has no GPU; give --device cpu")
    usable = [node for node in nodes if node.get("CPU", 0) >= 1 and (not gpus or node.get("GPU", 0) >= 1)]
    # Workers of one node, one for each of its GPUs, share its cores.
    cores = [int(node["CPU"]) // (int(node["GPU"]) if gpus else 1) for node in usable]
    threads = max(1, min([threads, *cores]))
    workers = gpus or sum(of_node // threads for of_node in cores)
    return Cluster(len(nodes), max(1, workers), threads, gpus)


class RayExecutor:
    """Builds and evaluates in a cluster; see `bench.pipeline.sharding.executor`."""

    def __init__(self, request: Request, address: str | None) -> None:
        self._request, self._address = request, address

    def build(self, prepared: Prepared, on_event: OnEvent) -> None:
        """Build what is missing, each link as soon as the one before it is there; what fails is left to the run."""
        due = _links_due(prepared)
        if not due:
            return
        store = self._store(prepared)
        links = {link for _, _, _, lineage in _lineages(prepared) for link in lineage}
        if store and store.offer_artifacts(links, on_event):
            raise _changed_meanwhile(self._request)
        with connected(self._address) as ray:
            cluster = cluster_of(ray, prepared.first.threads, prepared.first.device)
            work, tasks = f"building on {cluster.text}", dict[str, Any]()
            task = ray.remote(build_link).options(**_resources(cluster))
            for link, (parent, arguments) in due.items():
                after = [tasks[parent]] if parent in tasks else []
                tasks[link] = task.remote(self._request, cluster.threads, *arguments, *after)
            variant_of = {tasks[link]: variant for link, (_, (_, variant, _)) in due.items()}
            waiting, reasons = list(tasks.values()), dict[str, str]()
            while waiting:
                on_event(Event(work, len(tasks) - len(waiting), len(tasks), "links"))
                done, waiting = ray.wait(waiting, timeout=_POLL_SECONDS)
                for each in done:
                    if reason := _reason(ray, each):
                        reasons.setdefault(reason, variant_of[each])
            for reason, variant in reasons.items():
                text = f"a worker could not build {variant} ({shown(reason, _MOST_LETTERS)}): it is tried again here"
                on_event(Event(text, 1, 1, "warning"))
            on_event(Event(work, len(tasks), len(tasks), "links"))
        if store:
            store.take_over(on_event)

    def fill(self, prepared: Prepared, built: BuiltVariants, on_event: OnEvent) -> dict[ResultKey, str]:
        """Evaluate all shards that are missing; the reasons of variants that failed."""
        passes = passes_of(prepared, built)
        shards = [(index, low) for index, each in enumerate(passes) for low in joining.lacking(each, {})]
        if not shards:
            return {}
        store = self._store(prepared)
        if store and store.offer_variants(built, on_event):
            raise _changed_meanwhile(self._request)
        expected = records.begun(WHOLE, prepared, passes)
        with connected(self._address) as ray:
            cluster = cluster_of(ray, prepared.first.threads, prepared.first.device)
            actor = ray.remote(Worker).options(max_restarts=-1, **_resources(cluster))
            workers = [
                actor.remote(self._request, cluster.threads, expected, number)
                for number in range(min(cluster.workers, len(shards)))
            ]
            failed = _Distribution(ray, workers, deque(shards)).done(
                partial(Event, f"evaluating on {cluster.text}", total=len(shards), unit="shards"), on_event
            )
        if store:
            store.fetch_shards(passes, WHOLE, on_event)
        return joining.failed_of(passes, failed)

    def _store(self, prepared: Prepared) -> SharedStore | None:
        return sharing.opened(self._request.store, prepared.first.base, prepared.first.name)


def _changed_meanwhile(request: Request) -> UserError:
    return UserError(
        f"{request.store}: another run has put other artifacts there meanwhile, and they are used from now on: run the "
        "same command again"
    )


def _reason(ray: Any, task: Any) -> str:
    """Why a link could not be built, empty where it was or its worker is lost.

    `UserError` where a worker can't work at all, as where it does not see the folder.
    """
    try:
        reason: str = ray.get(task)
    except ray.exceptions.RayTaskError as error:
        raise UserError(f"a worker can't build anything: {_message(error)}") from error
    except _lost(ray):
        return ""
    return reason


def _message(error: Any) -> str:
    """What a worker's error tells people: that of its cause where it is one for people."""
    cause = error.cause
    if isinstance(cause, UserError):
        return str(cause)
    return shown((isinstance(cause, OSError) and advice(cause)) or str(error), _MOST_LETTERS)


def _lost(ray: Any) -> tuple[type[Exception], ...]:
    """What Ray raises where a worker is gone."""
    gone = ray.exceptions
    return gone.RayActorError, gone.WorkerCrashedError, gone.NodeDiedError, gone.OutOfMemoryError


def _resources(cluster: Cluster) -> dict[str, Any]:
    return {"num_cpus": cluster.threads, "num_gpus": 1 if cluster.gpus else 0}


def _lineages(prepared: Prepared) -> Iterator[tuple[str, str, Path, list[str]]]:
    """Of each selected variant its detector and name, where its artifacts lie, and the ids of all its links."""
    for detector, setup in prepared.by_detector.items():
        context = build_context(setup, silent)
        for variant, chain in setup.chains.items():
            if variant in setup.selected:
                yield detector, variant, context.folder, ids.of_chain(setup.source, chain, context)


def _links_due(prepared: Prepared) -> dict[str, tuple[str, tuple[str, str, int]]]:
    """Each link that is not built, by its id, parents first: its parent's id, and what `build_link` builds it by."""
    due: dict[str, tuple[str, tuple[str, str, int]]] = {}
    for detector, variant, folder, lineage in _lineages(prepared):
        for length, link in enumerate(lineage):
            if link not in due and not cache.is_built(folder, link):
                due[link] = (lineage[length - 1] if length else "", (detector, variant, length))
    return due


@dataclass
class _Distribution:
    """Shards that are shared out among workers until all are there.

    Those of a worker that is lost are given out again, and it gets others after a pause: until it is back, each call
    of it fails at once. Once none are left to give, workers without any take those that others have longest: a shard
    that is written twice is the same file.
    """

    ray: Any
    workers: list[Any]
    left: deque[Shard]
    under_way: dict[Any, tuple[int, Shard]] = field(default_factory=dict)
    losses: dict[Shard, int] = field(default_factory=dict)
    finished: set[Shard] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    pauses: dict[int, float] = field(default_factory=dict)
    resting: dict[int, float] = field(default_factory=dict)

    def done(self, progress: Any, on_event: OnEvent) -> dict[str, str]:
        """Have all evaluated; the reasons of what failed, by title."""
        count, answered = len(self.left), time.monotonic()
        while len(self.finished) < count:
            self._give()
            on_event(progress(done=len(self.finished)))
            if not self.under_way:  # all workers rest
                time.sleep(_POLL_SECONDS)
                continue
            ready, _ = self.ray.wait(list(self.under_way), timeout=_POLL_SECONDS)
            for answer in ready:
                self._take(answer)
            if ready:
                answered = time.monotonic()
            elif time.monotonic() - answered > _SILENCE_S:
                text = f"no worker has answered for {_SILENCE_S / 60:.0f} minutes: `ray status` says what they wait for"
                on_event(Event(text, 1, 1, "note"))
                answered = math.inf  # once is enough
        on_event(progress(done=count))
        return self.failed

    def _give(self) -> None:
        """Give each worker as many shards as it may have."""
        busy = Counter(number for number, _ in self.under_way.values())
        for number, worker in enumerate(self.workers):
            if time.monotonic() < self.resting.get(number, 0.0):
                continue
            while busy[number] < UNDER_WAY and (shard := self._next(is_idle=not busy[number])) is not None:
                self.under_way[worker.evaluate.remote(*shard)] = number, shard
                busy[number] += 1

    def _next(self, *, is_idle: bool) -> Shard | None:
        """A shard that nobody has yet; for a worker that has none, the one that is under way for longest."""
        if self.left:
            return self.left.popleft()
        if not is_idle:
            return None
        others = [shard for _, shard in self.under_way.values() if shard not in self.finished]
        single = [shard for shard in others if others.count(shard) == 1]
        return single[0] if single else None

    def _take(self, answer: Any) -> None:
        """Note what became of a shard. `UserError` for what the worker refused, or what is lost again and again."""
        exceptions = self.ray.exceptions
        number, shard = self.under_way.pop(answer)
        try:
            evaluated = self.ray.get(answer)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, NotSharedError):
                self._again(number, shard, f"{error.cause} (tried {MOST_LOSSES} times)")
            elif isinstance(error.cause, UserError):
                raise UserError(_message(error)) from error
            elif isinstance(error.cause, OSError):
                raise UserError(f"a worker could not go on: {_message(error)}") from error
            else:
                raise
        except _lost(self.ray) as error:
            # One that is on its way back has not begun with the shard.
            has_begun = not isinstance(error, exceptions.ActorUnavailableError)
            why = (
                f"the workers that evaluate the shard from row {shard[1]} on were lost {MOST_LOSSES} times, perhaps "
                f"for want of memory: use fewer threads or larger nodes ({shown(str(error))})"
            )
            self._again(number, shard, why, counts=has_begun)
        else:
            for text in evaluated.errors:
                _log.error("a worker: %s", text)
            self.failed |= evaluated.failed
            self.finished.add(shard)
            self.pauses.pop(number, None)

    def _again(self, number: int, shard: Shard, why: str, *, counts: bool = True) -> None:
        """Give a shard out again, and its worker nothing for a while; `UserError` with `why` after so many losses."""
        self._rest(number)
        self.losses[shard] = self.losses.get(shard, 0) + counts
        if shard in self.finished:
            return
        if self.losses[shard] >= MOST_LOSSES:
            raise UserError(why)
        self.left.append(shard)

    def _rest(self, number: int) -> None:
        """Give a worker nothing for a while, each time twice as long."""
        self.pauses[number] = min(2 * self.pauses[number], _LONGEST_PAUSE_S) if number in self.pauses else _PAUSE_S
        self.resting[number] = time.monotonic() + self.pauses[number]
