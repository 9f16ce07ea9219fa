"""`bench score` on scores of another scale, or that say less than they seem: judged rightly and told, or refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

import bench as bench_package
from bench.commands.score import Request, _evaluate, _read, _run
from bench.records import VariantEvaluation, silent
from bench.results.external.read import Columns
from tests.support.command_line import bench

Labels = NDArray[np.int64]
Scores = NDArray[np.float64]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def drawn(seed: int = 0, each: int = 40, moved: float = 0.1) -> tuple[Labels, Scores, Scores]:
    """Labels, and logits of a baseline and of a variant."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([1, 0], each)
    logits = 3 * labels - 1.5 + 1.2 * rng.normal(size=2 * each)
    return labels, logits, logits + moved * rng.normal(size=2 * each)


def share(logits: Scores) -> Scores:
    return 1 / (1 + np.exp(-logits))


def write(name: str, labels: Labels, scores: Any, column: str = "p_fake", **others: Any) -> str:
    """A file of scores, whose frames are called by their position."""
    names = [f"{index}.png" for index in range(len(labels))]
    table = pd.DataFrame({"frame": names, "label": labels, column: scores, **others})
    table.to_csv(f"{name}.csv", index=False)
    return f"{name}.csv"


def numbers(*arguments: str, name: str = "s") -> tuple[dict[str, Any], str]:
    """The variants of scores.json, and what the terminal says, on one line."""
    code, output = bench("score", "--name", name, *arguments)
    assert code == 0, output
    content: dict[str, Any] = json.loads(Path(f"reports/{name}/scores.json").read_text(encoding="utf-8"))
    return content["variants"], " ".join(output.split())


def refusal(*arguments: str) -> str:
    code, output = bench("score", "--name", "refused", *arguments)
    assert code == 2, output
    assert not Path("reports/refused").exists()
    return " ".join(output.split())


def spoilt(scores: Scores, count: int, by: float) -> Scores:
    """The scores with another number in place of the first `count`."""
    return np.where(np.arange(len(scores)) < count, by, scores)


# ------------------------------------------------------------------------------------------------ scales
def test_any_scale_is_judged_alike() -> None:
    """Shares, percentages, logits and scores of real of the same network; each file may have its own."""
    labels, before, after = drawn()
    write("fp32", labels, share(before))
    expected, _ = numbers("fp32.csv", "q8=" + write("shares", labels, share(after)))
    write("percent", labels, 100 * share(after))
    write("signs", labels, [f"{100 * p!r}{' ' * (index % 2)}%" for index, p in enumerate(share(after).tolist())])
    write("logit", labels, after, "logit")
    write("real", labels, 1 - share(after))
    write("against", labels, -after, "z")
    for options in (
        ("q8=percent.csv", "--scale", "q8=percent"),
        ("q8=signs.csv",),
        ("q8=logit.csv", "--score-column", "q8=logit"),
        ("q8=logit.csv", "--score-column", "q8=logit", "--scale", "q8=logit"),
        ("q8=real.csv", "--positive", "q8=real"),
        ("q8=against.csv", "--score-column", "q8=z", "--scale", "q8=logit", "--positive", "q8=real"),
    ):
        variants, output = numbers("fp32.csv", *options)
        for key in ("auc", "brier", "confusion", "auc_delta", "verdict", "flips"):
            assert variants["q8"][key] == pytest.approx(expected["q8"][key], abs=1e-12), (options, key)
        assert variants["q8"]["auc_delta_ci"] == pytest.approx(expected["q8"]["auc_delta_ci"], rel=0.1)
        guessed = options == ("q8=logit.csv", "--score-column", "q8=logit")
        assert ("was read as logits, by its name" in output) == guessed
    assert expected["fp32"]["auc"] == pytest.approx(roc_auc_score(labels, before))


def test_percentages_are_guessed_where_nothing_else_is_possible() -> None:
    labels, before, after = drawn()
    write("fp32", labels, share(before))
    whole = np.maximum(np.round(100 * share(after)), 1)
    variants, output = numbers("fp32.csv", write("q8", labels, whole))
    assert variants["q8"]["auc"] == pytest.approx(roc_auc_score(labels, whole))
    assert variants["q8"]["resolution"]["decimals"] == 2
    assert "q8.csv: 'p_fake' was read as percentages, and divided by 100 (--scale percent says so" in output
    assert "The scores of q8 have 2 decimals" in output
    assert "Give all files the same digits" in output


@pytest.mark.parametrize(
    ("scores", "options", "words"),
    [
        (lambda p: np.where(p > 0.5, 100 * p, p), (), ("look like percentages: --scale percent", "between 0 and 1")),
        (lambda p: np.where(p > 0.5, 100 * p, -p), (), ("lies outside [0, 1] (these look like logits: --scale logit",)),
        (lambda p: 500 * p, (), ("expected probabilities of fake; --scale logit ranks by any score",)),
        (lambda p: 5 * p, ("--scale", "probability"), ("lies outside [0, 1] (the highest is 4.8", "the share of it")),
        (lambda p: 2 * p - 1, (), ("like cosines or other scores from -1 to 1: write (x + 1) / 2", "thresholds then")),
        (lambda p: -p, (), ("look like probabilities with a minus sign: write P(fake) without it",)),
        (np.log, (), ("none is above 0. Of logarithms of P(fake), write the exponentials",)),
        (lambda p: np.round(255 * p), (), ("look like bytes, from 0 to 255: divide them by 255",)),
        (lambda p: spoilt(p, 3, -1), (), ("all others lie within: where -1 stands for a frame without a score",)),
        (lambda p: spoilt(p, 1, 1.01), (), ("all others lie within: are these damaged? --scale percent only where",)),
        (lambda p: 500 * p, ("--scale", "percent"), ("lies outside [0, 100] in",)),
        (lambda p: np.where(p > 0.5, 1, -1), (), ("these look like classes: write the score of each frame",)),
        (lambda p: np.where(p > 0.9, np.nan, p), (), ("p_fake is not a number in",)),
        (lambda p: np.where(p > 0.9, np.inf, p), (), ("p_fake is infinite in", "'inf'")),
        (lambda p: np.where(p > 0.9, -np.inf, p), ("--scale", "logit"), ("p_fake is infinite in",)),
        (lambda p: [f"{x:.3f}".replace(".", ",") for x in p], (), ("write decimal points, not commas",)),
        (lambda p: [f"{100 * x:.1f}%".replace(".", ",") for x in p], (), ("write decimal points, not commas",)),
        (lambda p: [f"{x}%" if x > 0.5 else x for x in p], (), ("has a percent sign in other rows, and none in",)),
        (lambda p: p > 0.5, (), ("these are classes; a score says how sure the detector is",)),
        (lambda p: ["fake" if x > 0.5 else "real" for x in p], (), ("these are classes;", "line 2 'fake'")),
        (lambda p: p, ("--scale", "percentage"), ("--scale: expected probability, percent or logit, found",)),
        (lambda p: p, ("--scale", "q4=logit"), ("--scale q4=logit: no variant 'q4'; found: fp32, q8",)),
        (lambda p: p, ("--scale", "logit", "--scale", "percent"), ("--scale: 'percent' is the second one",)),
        (lambda p: p, ("--positive", "1"), ("--positive: expected real or fake, found '1'",)),
    ],
)  # fmt: skip
def test_what_can_be_no_score_is_refused(scores: Any, options: tuple[str, ...], words: tuple[str, ...]) -> None:
    labels, before, _ = drawn()
    output = refusal(write("fp32", labels, share(before)), write("q8", labels, scores(share(before))), *options)
    for part in words:
        assert part in output


def test_logits_that_are_hardly_logits_are_told() -> None:
    """From -1 to 1 they are judged by their ranks, and it is said that their probabilities may mean nothing."""
    labels, before, after = drawn()
    before = np.tanh(before / 2)
    fp32, q8 = write("fp32", labels, before), write("q8", labels, after)
    variants, output = numbers(fp32, q8, "--scale", "logit")
    assert variants["q8"]["auc"] == pytest.approx(roc_auc_score(labels, after))
    assert "fp32.csv: all of 'p_fake' lie between -1 and 1" in output
    assert "q8.csv: all of 'p_fake' lie" not in output
    results = bench_package.score(labels, {"baseline": before, "q8": after}, scale="logit")
    assert any("scores: all of 'baseline' lie between -1 and 1" in text for text in results.warnings)


def test_numbers_in_any_notation_are_numbers() -> None:
    labels, before, _ = drawn()
    write("fp32", labels, share(before))
    write("q8", labels, [f" {p:.17E}" for p in share(before)])
    variants, _ = numbers("fp32.csv", "q8.csv")
    assert variants["q8"]["auc_delta"] == 0
    assert variants["q8"]["flips"] == {"worse": 0, "better": 0, "p": 1.0}


def test_arrays_are_of_any_scale() -> None:
    labels, before, after = drawn()
    expected = bench_package.score(labels, {"baseline": share(before), "q8": share(after)})
    mixed = {"baseline": 100 * share(before), "q8": -after}
    results = bench_package.score(labels, mixed, scale={"baseline": "percent", "q8": "logit"}, positive={"q8": "real"})
    assert results.verdicts == expected.verdicts
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"scale": {"q4": "logit"}}, "scale: no variant 'q4'"),
        ({"scale": "percentage"}, "scale: expected probability, percent or logit, found 'percentage'"),
        ({"positive": {"q8": "0"}}, "positive: expected real or fake, found '0'"),
        ({}, "scale='percent' divides them by 100"),
    ]
    for options, words in wrong:
        with pytest.raises(bench_package.UserError, match=words):
            bench_package.score(labels, mixed | {"q8": share(after)}, **options)


# ------------------------------------------------------------------------------------------------ what is hidden
@pytest.mark.parametrize(
    ("coarser", "kind", "words"),
    [
        (np.round, "decisions", "fp32 and q8 give every frame one of two scores: these are decisions"),
        (lambda p: np.where(p > 0.5, 0.88, 0.12), "decisions", "AUC is their balanced accuracy"),
        (lambda p: p.round(1), "rounded", "The scores of fp32 and q8 have 1 decimal:"),
        (lambda p: p.astype(np.float32).round(2), "rounded", "have 2 decimals"),
        (lambda p: np.where(p > 0.6, 1, np.where(p < 0.3, 0, p)), "saturated", "of 0 or 1 to the last digit"),
        (lambda p: share(np.digitize(p, np.linspace(0, 1, 12)) / 3.7), "levels", "few different scores (1"),
    ],
)
def test_scores_that_say_less_are_told(coarser: Any, kind: str, words: str) -> None:
    labels, before, after = drawn()
    fp32, q8 = coarser(share(before)), coarser(share(after))
    variants, output = numbers(write("fp32", labels, fp32), write("q8", labels, q8))
    assert {variants[name]["resolution"]["kind"] for name in ("fp32", "q8")} == {kind}
    assert words in output
    assert words.split(" give", 1)[0] in " ".join(Path("reports/s/report.md").read_text().replace("**", "").split())
    assert "Give all files the same digits" not in output
    ties = (fp32[labels == 1][:, None] == fp32[labels == 0]).mean()
    assert variants["fp32"]["resolution"]["tied"] == pytest.approx(ties)
    assert variants["fp32"]["auc"] == pytest.approx(roc_auc_score(labels, fp32))


def test_scores_with_all_their_digits_are_told_nothing_of() -> None:
    labels, before, after = drawn()
    variants, output = numbers(write("fp32", labels, share(before)), write("q8", labels, share(after)))
    assert [variants[name]["resolution"] for name in ("fp32", "q8")] == [None, None]
    assert "share a score" not in output


def test_scores_of_real_are_told() -> None:
    labels, before, after = drawn()
    _, output = numbers(write("fp32", labels, 1 - share(before)), write("q8", labels, 1 - share(after)))
    assert "below 0.5" in output
    assert "scores that are higher for real ones need `--positive real`" in output
    variants, output = numbers("fp32.csv", "q8.csv", "--positive", "real")
    assert variants["fp32"]["auc"] > 0.9
    assert "below 0.5" not in output


# ------------------------------------------------------------------------------------------------ what proves no more
def judged(labels: Labels, fp32: Scores, q8: Scores, margin: float, **others: Any) -> VariantEvaluation:
    """What `bench score` makes of two files, without the report."""
    files = tuple(Path(write(name, labels, scores, **others)) for name, scores in (("fp32", fp32), ("q8", q8)))
    request = Request("s", files, Columns(), margin=margin)
    aligned = _read(request, dict(request.variants), silent)
    return _evaluate(_run(request, dict(request.variants), aligned), aligned).variants["q8"]


def verdict(labels: Labels, fp32: Scores, q8: Scores, margin: float = 0.02, **others: Any) -> str:
    comparison = judged(labels, fp32, q8, margin, **others).comparison
    assert comparison is not None
    return comparison.verdict


@pytest.mark.parametrize(
    "coarser",
    [
        np.round,
        lambda p: p.round(1),
        lambda p: np.where(p > 0.8, 1, np.where(p < 0.2, 0, p)),
        lambda p: np.digitize(p, [0.03, 0.2, 0.5, 0.9]) / 4,
    ],
    ids=["decisions", "one decimal", "saturated", "merged ranks"],
)
def test_what_is_hidden_proves_nothing(coarser: Any) -> None:
    """Where whole scores prove nothing, coarser ones of both variants prove no more, but at the border, by chance."""
    looked, more = 0, []
    for seed in range(24):
        labels, before, after = drawn(seed, 25, 0.3)
        whole, less = share(before), share(after)
        if verdict(labels, whole, less) == "inconclusive":
            looked += 1
            if verdict(labels, coarser(whole), coarser(less)) != "inconclusive":
                more.append(seed)
    assert looked > 10
    assert len(more) <= 1, more


@pytest.mark.parametrize("named", [False, True])
def test_copies_prove_nothing(named: bool) -> None:
    """Twenty of each frame are judged as one of each, whether a column names them or their digits give them away."""
    labels, before, after = drawn(3, 15, 0.3)
    once = judged(labels, share(before), share(after), 0.02)
    names = np.tile([f"{index}.png" for index in range(len(labels))], 20)
    others: Any = {"copy_of": np.where(np.arange(len(names)) < len(labels), "", names)} if named else {}
    repeated = np.tile(labels, 20), np.tile(share(before), 20), np.tile(share(after), 20)
    often = judged(*repeated, 0.02, **others)
    assert often.comparison == once.comparison
    assert often.auc == once.auc
    assert often.score == once.score
    _, output = numbers("fp32.csv", "q8.csv")
    assert ("570 of 600 test frames have label and scores of another one in every file" in output) != named
    assert "570 more are copies of these" in " ".join(Path("reports/s/report.md").read_text().split())
    assert judged(*repeated, 0.02, copy_of="").score.count == 600


@pytest.mark.parametrize(("scale", "most"), [(5.0, 1.0), (1.0, 0.97)])
def test_saturated_scores_are_no_copies(scale: float, most: float) -> None:
    """As float32 writes sure detectors, or as those write them whose answers end at .97: every frame counts."""
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 100)
    logits = 4.0 * (2 * labels - 1) + rng.normal(size=200)
    fp32, q8 = (np.minimum(share(scale * each).astype(np.float32), most) for each in (logits, logits + 0.001))
    assert min(int((scores == scores.max()).sum()) for scores in (fp32, q8)) > 20
    assert judged(labels, fp32, q8, 0.02).score.count == 200


def test_scores_at_the_ends_of_their_scale_are_no_copies() -> None:
    labels, before, after = drawn(each=30)
    for logits in (before, after):
        logits[:6] = np.inf
    assert judged(labels, share(before), share(after), 0.02).score.count == 60


@pytest.mark.parametrize(
    ("copy_of", "words"),
    [
        ({1: "gone.png"}, "the original of 1 copies is no frame of the same split: '1.png' of 'gone.png'"),
        ({1: "79.png"}, "the original of 1 copies has another label: '1.png' of '79.png'"),
    ],
)
def test_copies_of_nothing_are_refused(copy_of: dict[int, str], words: str) -> None:
    labels, before, _ = drawn()
    column = [copy_of.get(index, "") for index in range(len(labels))]
    assert words in refusal(write("fp32", labels, share(before), copy_of=column))


@pytest.mark.parametrize("as_stored", ["4 decimals", "6 decimals", "float16", "bfloat16"])
def test_frames_with_few_digits_are_no_copies(as_stored: str) -> None:
    """A good detector gives many frames scores that are alike once they are rounded; fakes and reals share none."""
    rng = np.random.default_rng(0)
    labels = np.arange(4000) % 2
    logits = np.where(labels == 1, 5.0, -5.0) + rng.normal(0, 1.0, 4000)
    baseline, variant = share(logits), share(logits + 0.003 * rng.normal(size=4000))
    given = {"baseline": stored_as(baseline, as_stored), "q16": stored_as(variant, as_stored)}
    scored = bench_package.score(labels, given)
    alone = bench_package.score(labels, {"baseline": given["baseline"]})
    assert scored.scores["frames"]["test"]["copies"] == 0
    both, single = (result.scores["variants"]["baseline"] for result in (scored, alone))
    assert both["confusion"] == single["confusion"]
    assert both["auc"] == pytest.approx(roc_auc_score(labels, given["baseline"]))


def stored_as(scores: Scores, form: str) -> Scores:
    if form.endswith("decimals"):
        return np.round(scores, int(form[0]))
    if form == "float16":
        return scores.astype(np.float16).astype(np.float64)
    return (scores.astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32).astype(np.float64)


def test_logits_of_validation_frames_calibrate() -> None:
    """P(fake) is 0 or 1 throughout, and the logits of the same file still tell frames apart."""
    labels, logits, _ = drawn(each=60)
    splits = np.where(np.arange(120) % 3 == 0, "validation", "test")
    columns: Any = {"logit_real": np.zeros(120), "logit_fake": 60 * logits, "split": splits}
    shares = share(60 * logits)
    files = [write(name, labels, shares, "p_fake", **columns) for name in ("baseline", "q16")]
    variants, _ = numbers(*files)
    assert variants["baseline"]["calibration"]["temperature"] is not None


@pytest.mark.parametrize("options", [("--scale", "logit"), ("--scale", "probability"), ("--positive", "real")])
def test_logits_alone_mean_what_their_names_say(options: tuple[str, str]) -> None:
    labels, logits, moved = drawn()
    for name, values in (("baseline", logits), ("q16", moved)):
        table = pd.DataFrame({"frame": [f"{i}.png" for i in range(len(labels))], "label": labels})
        table.assign(logit_real=0.0, logit_fake=values).to_csv(f"{name}.csv", index=False)
    plain, _ = numbers("baseline.csv", "q16.csv")
    given, _ = numbers(*options, "baseline.csv", "q16.csv", name="again")
    assert given["baseline"]["auc"] == plain["baseline"]["auc"] == pytest.approx(roc_auc_score(labels, logits))


def test_copies_of_arrays_are_said_or_guessed() -> None:
    """Six frames stand twice in 66."""
    rng = np.random.default_rng(3)
    labels = np.r_[np.repeat([1, 0], 30), [1] * 6]
    logits = np.r_[2 * labels[:60] - 1 + rng.normal(0, 1.2, 60), np.zeros(6)]
    logits[60:] = logits[:6]
    scores = {"baseline": share(logits), "q8": share(logits + 0.01 * np.r_[rng.normal(size=60), np.zeros(6)])}
    scores["q8"][60:] = scores["q8"][:6]
    names = [f"f{index}" for index in range(66)]
    no_copy, last_six = [None] * 66, [None] * 60 + names[:6]
    counts = {}
    for case, copy_of in (("nothing", None), ("none", no_copy), ("some", last_six)):
        result = bench_package.score(labels, scores, frames=names, copy_of=copy_of)
        counts[case] = result.scores["frames"]["test"]["copies"]
    assert counts == {"nothing": 6, "none": 0, "some": 6}
    with pytest.raises(bench_package.UserError, match="attributes: 'copy_of' has another meaning here"):
        bench_package.score(labels, scores, attributes={"copy_of": last_six})


def test_small_p_real_ranks_confident_fakes() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([1, 0], 200)
    p_real = 10.0 ** rng.uniform(-20, -1, 400) * np.where(labels == 1, 0.1, 1.0)
    assert len(np.unique(1 - p_real)) < len(np.unique(p_real))
    result = bench_package.score(labels, {"baseline": p_real}, positive="real")
    assert result.scores["variants"]["baseline"]["auc"] == pytest.approx(roc_auc_score(labels, -p_real))
