"""The pages of docs/: generated parts are current, every number is explained, links and names lead somewhere."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import fields, replace
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import jsonschema
import numpy as np
import pandas as pd
import pytest
import torch
import typer
import yaml

from bench import cli, detectors, pipeline
from bench.artifacts import safetensors
from bench.commands.plan import forecast
from bench.commands.plan.text import describe
from bench.detectors import families
from bench.detectors.presets import PRESETS
from bench.errors import UserError
from bench.experiment import read
from bench.records import (
    Preprocessing,
    ScoredConfirmedSlice,
    ScoredExemplars,
    ScoredGroup,
    ScoredGroupGap,
    ScoredRates,
    ScoredThresholdRule,
    ScoredVideos,
    ScoredVideosOfSplit,
    SearchTrail,
    ShiftVerdict,
    TriedChain,
    Verdict,
)
from bench.records.ensembles import FittedWeights
from bench.records.scored_ensemble import ScoredEnsemble, ScoredMemberSet
from bench.results.score import placements
from bench.schema import json_schema
from bench.variants import build, steps
from bench.variants.chain import parse
from bench.variants.context import BuildContext, Source
from tests.support import ROOT
from tests.support import step_contract as contract

DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "CONTRIBUTING.md"]
NUMBERS = (DOCS / "numbers.md").read_text(encoding="utf-8")


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# ---------------------------------------------------------------------------------- experiments.md, detectors.md
@pytest.mark.parametrize("name", ["experiments.md", "detectors.md"])
def test_generated_parts_are_current(name: str) -> None:
    """`python tools/reference_pages.py` writes them anew."""
    page = DOCS / name
    assert load(ROOT / "tools/reference_pages.py").renewed(page) == page.read_text(encoding="utf-8")


def test_example_of_experiments_is_read(tmp_path: Path) -> None:
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    (tmp_path / "experiments.yaml").write_text(block(page, "yaml"), encoding="utf-8")
    assert list(read(tmp_path / "experiments.yaml").experiments) == ["demo"]


def keys(node: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key of a schema with its field, those of steps among them."""
    if isinstance(node, list):
        for element in node:
            yield from keys(element, where)
    elif isinstance(node, dict):
        for name, field in node.get("properties", {}).items() if isinstance(node.get("properties"), dict) else ():
            yield f"{where}.{name}", field
        for name, inner in node.items():
            yield from keys(inner, f"{where}.{name}")


def test_every_key_says_what_it_means() -> None:
    # What stands for a step's name holds its settings; a condition is no key.
    no_key = r"\.items\.anyOf\.\w+$|\.(if|then|not)\."
    fields = [(where, field) for where, field in keys(json_schema()) if not re.search(no_key, where)]
    assert len(fields) > 60
    assert [where for where, field in fields if "description" not in field] == []


@pytest.mark.parametrize(
    ("old", "new", "fine"),
    [("prune: 0.5, recover]", "prune: {structure: 2of4}]", True), ("prune: 0.5, recover]", "prune]", False),
     ("auc: 0.8", "auc: 1.8", False), ("size_mib: 60", "size_mib: 0", False), ("size: 160", "size: 16", False),
     ("runtime: auto", "runtime: onnx", False), ("runtime: auto", "runtime: openvino", True)],
)  # fmt: skip
def test_schema_knows_limits_and_names(old: str, new: str, fine: bool) -> None:
    text = (ROOT / "experiments.yaml").read_text(encoding="utf-8")
    assert old in text
    document = yaml.safe_load(text.replace(old, new))
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document) == fine


def test_presets_are_those_there_are() -> None:
    page = (DOCS / "experiments.md").read_text(encoding="utf-8")
    assert all(f"| `{name}` | {preset.size} |" in page for name, preset in PRESETS.items())


# -------------------------------------------------------------------------------------- numbers.md
def paths(node: Any, where: str = "") -> Iterator[str]:
    """Dotted paths of all values; places in lists are left out."""
    if isinstance(node, dict):
        for key, inner in node.items():
            yield from paths(inner, f"{where}.{key}" if where else key)
    elif isinstance(node, list) and node and isinstance(node[0], dict):
        for element in node:
            yield from paths(element, where)
    else:
        yield where


def expanded(key: str) -> Iterator[str]:
    parts = [part.strip("{}").split(",") for part in re.split(r"(\{[^}]*\})", key) if part]
    return ("".join(chosen) for chosen in product(*parts))


def explained() -> set[str]:
    cells = re.findall(r"^\| (`[^|]+) \|", NUMBERS, flags=re.MULTILINE)
    return {path for cell in cells for key in re.findall(r"`([^`]+)`", cell) for path in expanded(key)}


def of_several() -> dict[str, Any]:
    """What scores.json of several detectors holds beside the rest."""
    golden = ROOT / "tests/reports/golden/side_by_side/scores.json"
    scores = json.loads(golden.read_text(encoding="utf-8"))
    as_alone = (
        "variants", "choice", "ablation", "not_sliced", "slice_search", "threshold", "threshold_rule", "exemplars",
        "masks", "faces",
    )  # fmt: skip
    detectors = [
        {key: value for key, value in detector.items() if key not in as_alone}
        for detector in scores["detectors"].values()
    ]
    compared = list(scores["compared"].values())
    return {"best": scores["best"], "reference": scores["reference"], "detectors": detectors, "compared": compared}


def test_every_number_of_scores_is_explained() -> None:
    scores = json.loads((ROOT / "tests/reports/golden/scores.json").read_text(encoding="utf-8"))
    scores["frames"] = list(scores["frames"].values())
    score_paths = {path for part in (*scores.pop("variants").values(), scores) for path in paths(part)}
    score_paths |= set(paths(of_several()))
    # What is empty or null for one variant is not for another.
    score_paths = {path for path in score_paths if not any(other.startswith(f"{path}.") for other in score_paths)}
    assert len(score_paths) > 120
    empty_there = {
        "choice.loosen", "video", "videos", "resolution", "confirmed_slices", "group_gaps", "threshold_rule",
        "exemplars", "noise", "forecasts", "ensemble",
    }  # fmt: skip
    assert score_paths - explained() == empty_there, "empty there, with their keys on the page"
    of_videos = {f"videos.{field.name}" for field in fields(ScoredVideos) if field.name != "splits"}
    of_videos |= {f"videos.splits.{field.name}" for field in fields(ScoredVideosOfSplit)}
    of_parts = {f"confirmed_slices.{field.name}" for field in fields(ScoredConfirmedSlice)}
    of_parts |= {f"group_gaps.{field.name}" for field in fields(ScoredGroupGap) if field.name != "groups"}
    of_parts |= {f"group_gaps.groups.{field.name}" for field in fields(ScoredGroup)}
    of_rules = {f"threshold_rule.{field.name}" for field in fields(ScoredThresholdRule)} - {
        f"threshold_rule.{split}" for split in ("validation", "test")
    }
    of_rules |= {
        f"threshold_rule.{split}.{field.name}" for split in ("validation", "test") for field in fields(ScoredRates)
    }
    of_exemplars = {f"exemplars.{field.name}" for field in fields(ScoredExemplars)}
    of_searches = {f"searches.{field.name}" for field in fields(SearchTrail)} - {"searches.candidates"}
    of_searches |= {f"searches.candidates.{field.name}" for field in fields(TriedChain)}
    of_ensembles = {f"ensemble.{field.name}" for field in fields(ScoredEnsemble)} - {
        f"ensemble.{part}" for part in ("fitted", "sets")
    }
    of_ensembles |= {f"ensemble.fitted.{field.name}" for field in fields(FittedWeights)}
    of_ensembles |= {f"ensemble.sets.{field.name}" for field in fields(ScoredMemberSet)}
    assert of_videos | of_parts | of_rules | of_exemplars | of_searches | of_ensembles <= explained()
    of_empty = (
        "choice.loosen.", "video.", "videos.", "confirmed_slices.", "group_gaps.", "calibration.reasons",
        "threshold_rule.", "exemplars.", "resolution.", "noise.", "forecasts.", "searches.",
        "ensemble.",
    )  # fmt: skip
    assert {path for path in explained() - score_paths if not path.startswith(of_empty)} == set()


def test_functions_that_compute_them_are_there() -> None:
    named = re.findall(r"`(?:bench/)?([\w/]+\.py): (\w+)`", NUMBERS)
    assert len(named) > 40
    for file, name in named:
        text = (ROOT / "bench" / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(?:def|class) {name}\b", text, flags=re.MULTILINE), f"{file} has no {name}"


# ----------------------------------------------------------------------------------------- all pages
def block(page: str, language: str, after: str = "") -> str:
    match = re.search(rf"```{language}\n(.*?)```", page[page.index(after) :], flags=re.DOTALL)
    assert match is not None
    return match[1]


def anchors(page: str) -> set[str]:
    """As GitHub makes them from titles."""
    titles = re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", page, flags=re.DOTALL), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        assert file.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file.read_text(encoding="utf-8")), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_their_options_are_there(page: Path) -> None:
    commands: Any = typer.main.get_command(cli.app)
    for command, rest in re.findall(
        r"(?:`|^|&& )bench ([a-z]+)\b([^`\n&]*)", page.read_text(encoding="utf-8"), re.MULTILINE
    ):
        assert command in commands.commands, f"{page.name}: bench {command}"
        options = {option for parameter in commands.commands[command].params for option in parameter.opts} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= options, f"{page.name}: bench {command}{rest}"


# ------------------------------------------------------------------------------------ extending.md
EXTENDING = (DOCS / "extending.md").read_text(encoding="utf-8")


@pytest.fixture
def shorten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's step, in the folder of steps as far as Python can tell."""
    yield from planted(steps, "shorten", block(EXTENDING, "python", "<!-- step: shorten -->"), tmp_path, monkeypatch)


@pytest.fixture
def resnet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The page's family, in the folder of detectors as far as Python can tell."""
    yield from planted(families, "resnet", block(EXTENDING, "python", "<!-- family: resnet -->"), tmp_path, monkeypatch)


def planted(package: Any, name: str, code: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (folder / "new").mkdir()
    (folder / "new" / f"{name}.py").write_text(code, encoding="utf-8")
    monkeypatch.setattr(package, "__path__", [*package.__path__, str(folder / "new")])
    yield name
    sys.modules.pop(f"{package.__name__}.{name}", None)
    vars(package).pop(name, None)


def test_step_of_the_page_keeps_the_contract(
    shorten: str, context: BuildContext, source: Source, tmp_path: Path
) -> None:
    contract.check_step(shorten, context, source)
    another = replace(context, folder=tmp_path / "another")
    contract.check_determinism(shorten, context, another, source)
    contract.check_settings(shorten)


def test_step_of_the_page_does_what_it_says(shorten: str, context: BuildContext, source: Source) -> None:
    few, many = (build.build("x", source, [parse({shorten: bits})], context) for bits in (4, 23))
    baseline = build.build("baseline", source, [], context)
    assert few.zstd_bytes is not None
    assert baseline.zstd_bytes is not None
    assert few.zstd_bytes < 0.5 * baseline.zstd_bytes
    baseline_state, many_bits_state = (safetensors.load_torch(built.file).state_dict() for built in (baseline, many))
    weights = baseline_state["head.weight"], many_bits_state["head.weight"]
    torch.testing.assert_close(*weights, rtol=2**-23, atol=0)
    rounded = safetensors.load_torch(few.file).state_dict()["head.weight"]
    torch.testing.assert_close(weights[0], rounded, rtol=2**-4, atol=0)
    with pytest.raises(UserError, match="of at most 23"):
        parse({shorten: 24})


def test_step_of_the_page_is_planned_run_and_reported_with_no_other_file(shorten: str, workplace: Path) -> None:
    """Estimated by its own cost, built, and in the report by its own remark."""
    file = workplace / "experiments.yaml"
    head = file.read_text(encoding="utf-8").partition("    variants:")[0]
    text = f"{head}    variants: {{baseline: [], short: [{shorten}: 6]}}\n"
    file.write_text(text, encoding="utf-8")
    planned = forecast(read(file), file)
    (stage,) = (stage for stage in planned.stages if stage.name == "build")
    estimates_by_title = dict(stage.parts)
    assert not estimates_by_title[f"building short: {shorten}: 6"].unknown
    assert estimates_by_title[f"building short: {shorten}: 6"].low_s > 0
    assert f"{shorten}: 6" in describe(planned)
    finished = pipeline.run(read(file), file)
    scores = json.loads((finished.report.parent / "scores.json").read_text(encoding="utf-8"))
    assert [variant["status"] for variant in scores["variants"].values()] == ["ok", "ok"]
    assert "each weight has 6 leading bits; with zstd the file takes 0." in finished.report.read_text(encoding="utf-8")
    with pytest.raises(UserError, match=f"did you mean '{shorten}'"):
        parse("shorted")


@pytest.mark.slow
def test_family_of_the_page_computes_what_timm_does(resnet: str, tmp_path: Path) -> None:
    import timm

    torch.manual_seed(0)
    network = timm.create_model("resnet18", num_classes=2).eval()
    torch.nn.init.normal_(network.get_parameter("fc.weight"), std=0.5)
    torch.save({"state_dict": network.state_dict()}, tmp_path / "best.pth")
    loaded = detectors.load("resnet18", tmp_path / "best.pth", Preprocessing(size=64))
    frames = torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8)
    with torch.inference_mode():
        logits, cam = safetensors.load_torch(safetensors.save(loaded, tmp_path))(frames)
        torch.testing.assert_close(logits, network(frames.float() / 255), atol=1e-4, rtol=1e-4)
    margin = logits[:, 1] - logits[:, 0]
    assert float(margin.std()) > 1e-3, "a constant network proves nothing"
    torch.testing.assert_close(cam.mean((1, 2)) + loaded.margin_bias, margin, atol=1e-4, rtol=1e-4)
    with pytest.raises(UserError, match="they look like resnet18"):
        detectors.load("resnet50", tmp_path / "best.pth", Preprocessing(size=64))


def test_numbers_are_checked_by_hand_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    logits = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    folder = tmp_path / "results/demo/q8"
    folder.mkdir(parents=True)
    predictions = pd.DataFrame({"split": ["test"] * 30 + ["validation"] * 10, "label": [0, 1] * 20})
    predictions["logit_real"], predictions["logit_fake"] = logits.T
    predictions.to_parquet(folder / "predictions.parquet")
    monkeypatch.chdir(tmp_path)
    exec(block(NUMBERS, "python"), {})
    margin = (logits[:, 1] - logits[:, 0])[:30]
    auc_placements = placements.placements(predictions["label"].to_numpy()[:30], margin)
    assert float(capsys.readouterr().out) == pytest.approx(auc_placements.auc)


def test_names_of_the_page_are_there() -> None:
    """What is said of files and of the contract's names holds."""
    for file in re.findall(r"`((?:bench|tests|tools)/[\w/]+\.py)`", EXTENDING):
        if file not in ("bench/variants/steps/shorten.py", "bench/detectors/families/resnet.py"):
            assert (ROOT / file).exists(), file
    page_names = set(re.findall(r"`([A-Z_]{4,})`", EXTENDING))
    code = "".join((ROOT / "bench" / f"{room}/__init__.py").read_text(encoding="utf-8")
                   for room in ("variants/steps", "runtimes", "detectors/families", "datasets/layouts"))  # fmt: skip
    for name in ("ACCEPTS", "PRODUCES", "NEEDS", "FRAMES", "VERSION", "SEEDED", "LIBRARIES", "MAIN", "ONCE", "AFTER",
                 "RECORD", "SEES_SOURCES", "ON_DEVICE", "PARENT_TEACHES", "EXAMPLE", "SYNONYMS", "SIZES", "VERSIONS",
                 "PACKAGE", "CUDA_FILES", "DEVICES", "EXTRA", "ARCHITECTURES", "OFFERS", "RANK", "SHAPE"):  # fmt: skip
        assert name in page_names, name
        assert name in code, name


# --------------------------------------------------------------------------- reading-the-report.md
READING = (DOCS / "reading-the-report.md").read_text(encoding="utf-8")
GOLDEN = (ROOT / "tests/reports/golden/report.md").read_text(encoding="utf-8").splitlines()
SIDE_BY_SIDE = (ROOT / "tests/reports/golden/side_by_side/report.md").read_text(encoding="utf-8").splitlines()
FRAME_SETS = (ROOT / "tests/reports/golden/frame_sets/report.md").read_text(encoding="utf-8").splitlines()


def test_quoted_lines_stand_in_the_golden_report() -> None:
    quoted = [line.removeprefix("> ") for line in READING.splitlines() if line.startswith("> ")]
    assert len(quoted) >= 5
    for line in quoted:
        assert (
            line in (*GOLDEN, *SIDE_BY_SIDE, *[line.removeprefix("- ") for line in FRAME_SETS]) or f"> {line}" in GOLDEN
        ), line


def test_page_follows_the_report() -> None:
    report_sections = [line.removeprefix("## ") for line in GOLDEN if line.startswith("## ")]
    part = READING.split("## In the order of the report\n")[1].split("\n## ")[0]
    page_sections = re.findall(r"^### (.*)$", part, flags=re.MULTILINE)
    assert page_sections[1:] == report_sections


def test_words_of_verdicts_and_shifts_are_explained() -> None:
    words = READING.split("## What words mean\n")[1].split("\n## ")[0]
    for word in (*get_args(Verdict), *get_args(ShiftVerdict), "native", "simulated", "≈ 1"):
        assert f"**{word}**" in words, word
