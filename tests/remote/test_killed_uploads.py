"""A part whose process is killed while it uploads, and whose machine is lost: others go on, to the same results."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.pipeline import test_interrupted
from tests.pipeline.test_interrupted import Warm, results, set_up, untimed
from tests.support import stores
from tests.support.stores import BUCKET

pattern, warm, undisturbed = test_interrupted.pattern, test_interrupted.warm, test_interrupted.undisturbed

STORE = ("--store", f"s3://{BUCKET}/team")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module", autouse=True)
def client(server: stores.Server) -> Iterator[Any]:
    """Before the warmed-up process is started, which inherits the environment."""
    with pytest.MonkeyPatch.context() as patch:
        yield server.emptied(patch)


def test_killed_in_its_upload_and_lost_it_ends_as_one_run(
    pattern: Path, warm: Warm, undisturbed: dict[str, Any], client: Any
) -> None:
    first, second, third = (set_up(pattern, pattern / name) for name in ("first", "second", "third"))
    assert warm.run(first, arguments=["run", "--build-only", *STORE]) == 0, output(first)
    child = warm.start(second, arguments=["run", "first", "--shard", "1/2", *STORE])
    _kill_at_the_first_upload(client, child)
    assert warm.wait() == -signal.SIGKILL, output(second)
    shutil.rmtree(second)
    uploaded = _shards(client)
    for number in (2, 1):
        assert warm.run(first, arguments=["run", "first", "--shard", f"{number}/2", *STORE]) == 0, output(first)
    assert uploaded.items() <= _shards(client).items()
    assert warm.run(third, arguments=["merge", *STORE]) == 0, output(third)
    assert results(third) == untimed(undisturbed)


def output(folder: Path) -> str:
    return Path(f"{folder}.out").read_text()


def _shards(client: Any) -> dict[str, Any]:
    """The shards in the store, each with when it was written."""
    objects = client.list_objects_v2(Bucket=BUCKET).get("Contents", ())
    return {each["Key"]: each["LastModified"] for each in objects if each["Key"].endswith(".npz")}


def _kill_at_the_first_upload(client: Any, child: int) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and psutil.pid_exists(child):
        if _shards(client):
            return test_interrupted._kill(child, signal.SIGKILL)
        time.sleep(0.002)
