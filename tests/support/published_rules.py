"""The rules of docs/verdicts.md, written down anew: they judge the numbers of a scores.json, and nothing else.

Nothing of `bench` is imported, so that what the page promises is held against what the file says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix, roc_auc_score
from statsmodels.stats.multitest import multipletests

Numbers = Mapping[str, Any]
SHOWN_LESS = 1e-12


def verdict(delta: float, ends: tuple[float, float], hidden: float, margin: float) -> str:
    """The table of the section "The verdict"; `hidden` is what rounding may hide of the difference."""
    low, high = ends
    if low > -margin:
        return "improved" if low > 0 and delta - hidden > margin else "stable"
    return "degraded" if high < 0 and delta + hidden < -margin else "inconclusive"


def holm(p: Mapping[str, float]) -> dict[str, float]:
    return dict(zip(p, multipletests(list(p.values()), method="holm")[1].tolist(), strict=True)) if p else {}


def parts(content: Numbers) -> Iterator[tuple[str, Numbers, str]]:
    """Every group of variants in a file, with the name of its baseline: of each detector, frame set, frames or videos.

    A variant's numbers of videos are called as those of frames.
    """
    baseline = content.get("baseline")
    if "variants" in content:
        assert baseline is not None
        yield "frames", content["variants"], baseline
        of_videos = {name: each["video"] for name, each in content["variants"].items() if each["video"]}
        if of_videos:
            yield "videos", of_videos, baseline
    for key in ("detectors", "sets"):
        for name, below in content.get(key, {}).items():
            for title, variants, first in parts({"baseline": baseline, **below}):
                yield f"{name}, {title}", variants, first


def check_verdicts(content: Numbers) -> int:
    """Assert that each verdict of a file follows from its numbers; how many there were."""
    count, margin = 0, content["margin"]
    for title, variants, baseline in parts(content):
        assert variants[baseline]["verdict"] in ("baseline", None)
        compared = {name: each for name, each in variants.items() if name != baseline and each["auc_delta"] is not None}
        for name, each in compared.items():
            _check_comparison(f"{title}: {name}", each, variants[baseline], margin)
        corrected = holm({name: each["auc_delta_p"] for name, each in compared.items()})
        assert {name: each["auc_delta_p_holm"] for name, each in compared.items()} == _about(corrected), title
        count += len(compared)
        _check_robustness(variants, margin)
    for overall in content.get("overall", {}).items():
        _check_overall(content, *overall)
    return count


def _check_comparison(title: str, each: Numbers, baseline: Numbers, margin: float) -> None:
    delta, (low, high), hidden = each["auc_delta"], each["auc_delta_ci"], each["auc_delta_unresolved"]
    assert delta == _about(each["auc"] - baseline["auc"]), title
    assert low <= delta <= high, title
    assert hidden >= 0, title
    assert high - low >= 2 * min(hidden, 1 - abs(delta)) - SHOWN_LESS, title
    assert each["verdict"] == verdict(delta, (low, high), hidden, margin), title
    assert each["small_but_real"] == (low > -margin and high < 0), title
    assert each["further_frames"] is None or each["verdict"] == "inconclusive", title
    # Significant is what excludes 0. What rounding hides is in the interval, and p knows nothing of it.
    significant = low > 0 or high < 0
    assert not significant or each["auc_delta_p"] < 0.05, title
    assert significant or hidden or each["auc_delta_p"] >= 0.05, title
    _check_flips(title, each, baseline)


def _check_flips(title: str, each: Numbers, baseline: Numbers) -> None:
    """The flips are as many as accuracies differ, and their p is that of a coin."""
    flips = each["flips"]
    if flips is None:
        return
    right, was_right = (counts["confusion"]["tp"] + counts["confusion"]["tn"] for counts in (each, baseline))
    assert flips["better"] - flips["worse"] == right - was_right, title
    assert flips["p"] == _about(coin(flips["worse"], flips["better"])), title


def coin(worse: int, better: int) -> float:
    """McNemar's exact p: without a difference, a change goes either way like a coin."""
    return float(binomtest(worse, worse + better).pvalue) if worse + better else 1.0


def _check_robustness(variants: Mapping[str, Numbers], margin: float) -> None:
    for name, each in variants.items():
        for level in each.get("robustness", ()):
            if level["extra"] is not None:
                expected = verdict(level["extra"], level["extra_ci"], level["extra_unresolved"], margin)
                assert level["verdict"] == expected, (name, level["kind"], level["level"])


def _check_overall(content: Numbers, name: str, overall: Numbers) -> None:
    """One verdict for all frame sets: stable on each, or degraded on one of them after Holm's correction."""
    judged = {title: variants[name] for title, variants in _judged_sets(content).items()}
    compared = {title: each for title, each in judged.items() if each.get("auc_delta") is not None}
    assert set(overall["unknown"]) == set(judged) - set(compared)
    p_sets = holm({title: each["auc_delta_p"] for title, each in compared.items()})
    assert overall["p_sets"] == _about(p_sets)
    lost = {title for title, each in compared.items() if each["verdict"] == "degraded" and p_sets[title] < 0.05}
    assert set(overall["lost"]) == lost
    lows = [compared[title]["auc_delta_ci"][0] for title in overall["worst_first"]]
    assert len(lows) == len(compared)
    if content["pool"]:
        pooled = overall["pooled"]
        numbers = (pooled["auc_delta"], pooled["auc_delta_ci"], pooled["auc_delta_unresolved"], content["margin"])
        assert overall["verdict"] == pooled["verdict"] == verdict(*numbers)
        return
    verdicts = {each["verdict"] for each in compared.values()}
    if lost:
        expected = "degraded"
    elif len(compared) == len(judged) and verdicts <= {"stable", "improved"}:
        expected = "improved" if verdicts == {"improved"} else "stable"
    else:
        expected = "inconclusive"
    assert overall["verdict"] == expected, name
    home = compared.get(content["home"], {}).get("verdict")
    elsewhere = bool(lost - {content["home"]})
    assert overall["keeps_at_home_only"] == (home in ("stable", "improved") and elsewhere), name


def _judged_sets(content: Numbers) -> dict[str, Mapping[str, Numbers]]:
    """The variants by frame set, with the numbers that verdicts go by."""
    return {
        title: {name: each["video"] if below["judge"] == "video" else each for name, each in below["variants"].items()}
        for title, below in content["sets"].items()
    }


def check_predictions(content: Numbers, tables: Mapping[str, pd.DataFrame]) -> None:
    """Assert that AUC, confusion, flips and p of each variant are those of its stored predictions, by variant."""
    baseline, threshold = content["baseline"], content["threshold"]
    tests = {name: table[table["split"] == "test"].set_index("frame") for name, table in tables.items()}
    before = tests[baseline]
    for name, test in tests.items():
        each, fake = content["variants"][name], test["label"] == 1
        assert list(test.index) == list(before.index)
        assert each["auc"] == _about(roc_auc_score(test["label"], _logit_diff(test))), name
        (tn, fp), (fn, tp) = confusion_matrix(test["label"], test["p_fake"] >= threshold, labels=[0, 1]).tolist()
        assert each["confusion"] == {"tp": tp, "tn": tn, "fp": fp, "fn": fn}, name
        if name == baseline:
            continue
        right = (test["p_fake"] >= threshold) == fake
        was_right = (before["p_fake"] >= threshold) == fake
        worse, better = int((was_right & ~right).sum()), int((~was_right & right).sum())
        assert each["flips"] == {"worse": worse, "better": better, "p": _about(coin(worse, better))}, name
        if not any(_has_ties(table) for table in (test, before)):
            assert each["auc_delta_unresolved"] == 0, name


def _logit_diff(test: pd.DataFrame) -> pd.Series[float]:
    return test["logit_fake"].astype(np.float64) - test["logit_real"].astype(np.float64)


def _has_ties(test: pd.DataFrame) -> bool:
    """Whether a fake and a real frame share a score."""
    fake = test["label"] == 1
    return bool(_logit_diff(test)[fake].isin(_logit_diff(test)[~fake]).any())


def stored_predictions(results: Path) -> dict[str, pd.DataFrame]:
    """The predictions of every variant below `results/<experiment>`."""
    return {path.parent.name: pd.read_parquet(path) for path in sorted(results.glob("*/predictions.parquet"))}


def _about(value: Any) -> Any:
    return pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True)
