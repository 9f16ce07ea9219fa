"""Whatever lies in a weights file: tensors or one clean message, soon, in little memory, and nothing of it is run.

Files are made by rule (`checkpoint_rules`), each read in a forked process. `python -m pytest -m slow
tests/detectors/test_fuzz_checkpoints.py` reads thousands; this module as a script (`python -m`) reads the seeds that
it is given.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT

if TYPE_CHECKING:
    from torch import Tensor

SECONDS, MEMORY_BYTES = 20, 2**30

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux tells it")


def judge(first: int, count: int) -> tuple[Counter[str], list[str]]:
    """How the files of so many seeds ended, and what is wrong with those that should have ended otherwise."""
    command = [sys.executable, "-m", __name__, str(first), str(count)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    answer = json.loads(ran.stdout.splitlines()[-1])
    return Counter(answer["ends"]), answer["wrong"]


def test_dozens_of_checkpoints() -> None:
    ends, wrong = judge(0, 80)
    assert not wrong, "\n\n".join(wrong)
    assert ends["tensors"] > 3
    assert ends["refused"] > 30


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_thousands_of_checkpoints() -> None:
    ends, wrong = judge(1_000, 5_000)
    assert not wrong, f"{len(wrong)} of {ends}:\n" + "\n\n".join(wrong[:20])


# ------------------------------------------------------------------------------------ as a script
def _read(path: Path, expected: dict[str, Tensor] | None) -> str:
    """All that `bench` does with a weights file before frames are read."""
    from bench import detectors
    from bench.detectors import families
    from bench.detectors.families import efficientnet
    from bench.errors import UserError
    from tests.support import tiny
    from tests.support.weights import all_tensors

    families.modules = lambda: (tiny, efficientnet)  # type: ignore[assignment, return-value]
    try:
        state = all_tensors(path)
        if expected is not None and len(state) == len(expected):
            # Wrappers have names too, in front of all others.
            any_name = next(iter(expected))
            start = next(name for name in state if name.endswith(any_name)).removesuffix(any_name)
            wrong = [name for name, tensor in expected.items() if not tensor.equal(state[f"{start}{name}"])]
            assert not wrong, f"other numbers in {wrong}"
        detectors.load("tiny", path, tiny.PREPROCESSING)
    except UserError as error:
        text = str(error)
        text.encode("utf-8")
        lines = text.split("\n")
        assert all(line.isprintable() for line in lines), text
        assert lines[0].startswith(str(path)), text
        assert all(line.startswith("  ") for line in lines[1:]), text
        assert len(text) < 4000, text
        assert "Traceback" not in text, text
        assert "weights_only" not in text, text
        return "refused"
    return "tensors"


def _in_child(path: Path, expected: dict[str, Tensor] | None, pipe: int) -> None:
    """The end of one file, told through the pipe; whatever is printed or warned of goes there too."""
    os.dup2(pipe, 1)
    os.dup2(pipe, 2)
    try:
        end = _read(path, expected)
    except BaseException:
        end = traceback.format_exc()
    os.write(pipe, end.encode("utf-8", "backslashreplace")[:60_000])
    os._exit(0)


def _ended(path: Path, expected: dict[str, Tensor] | None) -> str:
    """How a forked process ended that read the file: a word, or what is wrong."""
    read_end, write_end = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if not child:
        _in_child(path, expected, write_end)
    os.close(write_end)
    text = b""
    while select.select([read_end], [], [], max(0.0, started + SECONDS - time.monotonic()))[0]:
        chunk = os.read(read_end, 65_536)
        if not chunk:
            break
        text += chunk
    else:
        os.kill(child, signal.SIGKILL)
        text += b"\n(took too long)"
    os.close(read_end)
    _, status, usage = os.wait4(child, 0)
    if status:
        return f"{text.decode()} (ended with {status})"
    return (
        text.decode() if usage.ru_maxrss * 1024 - _resident() < MEMORY_BYTES else f"{text.decode()} (too much memory)"
    )


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(first: int, count: int) -> None:
    import torch
    from safetensors.torch import save_file

    from tests.support import tiny
    from tests.support.checkpoint_rules import Rules

    torch.set_num_threads(1)
    state = tiny.lively(tiny.build("tiny", "tiny", tiny.PREPROCESSING)).state_dict()
    ends, wrong = Counter[str](), []
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        save_file(state, "whole.safetensors")
        assert _read(Path(name, "whole.safetensors"), state) == "tensors"  # and all is imported, once for all processes
        Path("whole.safetensors").unlink()
        gc.freeze()  # or every process would copy what it only looks at
        for seed in range(first, first + count):
            rules = Rules(seed, state)
            path = rules.file(Path(name))
            end = _ended(path, rules.expected)
            path.unlink()
            left = [item.name for item in Path(name).iterdir()]
            if left or end not in ("tensors", "refused"):
                wrong.append(f"{rules.text}\n{end} {left}")
            ends[end if end in ("tensors", "refused") else "wrong"] += 1
        os.chdir("/")
    print(json.dumps({"ends": ends, "wrong": wrong}))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
