"""`bench serve --track`: the answers of a service in each tracker, of an ensemble with each member's."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.support import ROOT, mlflow_store

CODE = """
    import sys
    from functools import partial
    from pathlib import Path
    import numpy as np
    from bench.commands.serve import tell
    from bench.records.ensembles import Ensemble
    from bench.tracking.predictions import prediction_log
    from tests.support.drawn_service import Brightness, application, member, served
    from tests.support.service import encoded, post
    log = prediction_log({"mlflow": "sqlite:///a.db", "wandb": "offline"}, "shop", Path(sys.argv[1]))
    pair = served(member("a", Brightness()), member("b", Brightness()), name="pair", rule=Ensemble({"a": 3, "b": 1}))
    app = application(pair, on_predicted=partial(tell, log))
    picture = encoded(np.full((80, 80, 3), 120, np.uint8))
    print(post(app, "/api/detect/image", files={"file": ("grey.png", picture)}).status_code)
    log.close(900)
    print(log.logged, log.lost)
"""


@pytest.mark.slow
def test_each_tracker_has_the_answers(tmp_path: Path) -> None:
    """In a process of its own: both trackers hook themselves into the end of theirs."""
    for package in ("mlflow", "wandb"):
        pytest.importorskip(package)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": ""}
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False, cwd=tmp_path)
    assert done.stdout.splitlines()[-2:] == ["200", "1 0"], done.stdout + done.stderr
    (run,) = mlflow_store.runs(tmp_path / "a.db")
    assert run.experiment == "shop-predictions"
    assert (run.parameters["prediction"], run.parameters["models_used"]) == ("FAKE", "a, b")
    assert run.parameters["variant"] == "pair"
    p_fake = run.metrics["fake_probability"]
    assert run.metrics["a_fake_prob"] == run.metrics["b_fake_prob"] == p_fake
    (written,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"a_fake_prob" in written.read_bytes()
