"""Documentation is tested: README's commands and tree, the starter file, the schema."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import yaml
from typer.testing import CliRunner

from bench import cli
from bench.errors import UserError
from bench.experiment import read
from bench.schema import json_schema
from bench.variants.chain import parse
from tests.support import ROOT
from tests.support.pace import limit

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_set_up_is_two_commands() -> None:
    part = README.split("<!-- set-up -->")[1].split("<!-- /set-up -->")[0]
    commands = [line for line in part.splitlines() if line and not line.startswith("```")]
    assert len(commands) == 2
    assert "bench run demo" in commands[0]
    assert "pytest" in commands[1]


def test_figures_of_the_comparison_stand_in_its_table() -> None:
    part = README.split("## How it compares\n")[1].split("\n## ")[0]
    table = (ROOT / "docs" / "comparison.md").read_text(encoding="utf-8")
    figures = re.findall(r"−?\d\.\d{2,}", part)
    assert len(figures) > 8
    assert [figure for figure in figures if figure not in table] == []


def test_tree_is_what_lies_there() -> None:
    tree = README.split("## Layout\n```\n")[1].split("```")[0]
    folder = ROOT
    described: set[str] = set()
    for line in tree.splitlines():
        name = line.split()[0]
        folder = folder if line.startswith("  ") else ROOT
        path = folder / name
        assert path.exists(), f"README's tree names {path.relative_to(ROOT)}, which is not there"
        if not line.startswith("  ") and name == "bench/":
            folder = ROOT / "bench"
        described.add(path.relative_to(ROOT).as_posix())
    inside = {f"bench/{p.name}" for p in (ROOT / "bench").iterdir() if not p.name.startswith("_")}
    assert inside <= described, f"README's tree lacks {sorted(inside - described)}"


def test_pictures_and_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_commands_named_in_readme_exist() -> None:
    commands = set(re.findall(r"^  (\w+)  ", CliRunner().invoke(cli.app, ["--help"]).output, flags=re.MULTILINE))
    named = set(re.findall(r"`bench (\w+)", README))
    assert named == commands


def test_readme_example_is_valid(tmp_path: Path) -> None:
    (tmp_path / "experiments.yaml").write_text(blocks("yaml")[0], encoding="utf-8")
    assert list(read(tmp_path / "experiments.yaml").experiments) == ["first"]


def test_starter_is_valid_and_is_the_repositorys_own(tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["init", str(tmp_path / "new")])
    assert result.exit_code == 0
    written = tmp_path / "new" / "experiments.yaml"
    assert read(written) == read(ROOT / "experiments.yaml")
    assert written.read_text(encoding="utf-8") == (ROOT / "experiments.yaml").read_text(encoding="utf-8")
    for folder in (tmp_path / "new", ROOT):
        assert json.loads((folder / "experiments.schema.json").read_text(encoding="utf-8")) == json_schema()


@pytest.mark.parametrize(
    "entry",
    [
        "recover: null", "recover: {steps: 0, recalibrate: true}", "recover: {steps: 0}", "quantize: null",
        "quantize: {dtype: null, weights: int8}", "quantize: {dtype: int8, weights: int8}", "quantize: {weights: int4}",
        "prune: {structure: 2of4}", "prune: {structure: 2of4, amount: 0.5}", "prune: {structure: 2of4, amount: 0.3}",
        "prune: {structure: 2of4, frames: 16}", "prune: {structure: 2of4, ranking: magnitude}",
        "prune: {structure: unstructured, amount: 0.5}", "prune: {structure: unstructured, amount: 0.5, repair: true}",
        "prune: {structure: unstructured}", "prune: {amount: 0.5, ranking: magnitude, repair: false}",
        "prune: {amount: 0.5, ranking: magnitude, repair: false, frames: 16}", "prune: {frames: 16}", "prune: null",
        "prune: {amount: 0.5, ranking: magnitude, frames: 16}", "prune: 0.9999", "recover: {minutes: .inf}",
    ],
)  # fmt: skip
def test_schema_and_program_agree_on_steps(entry: str) -> None:
    document = yaml.safe_load((ROOT / "experiments.yaml").read_text(encoding="utf-8"))
    step = yaml.safe_load(entry)
    next(iter(document["experiments"].values()))["variants"] = {"baseline": [], "other": [step]}
    try:
        parse(step)
    except UserError:
        fine = False
    else:
        fine = True
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(document) == fine


@pytest.mark.parametrize(
    ("old", "new", "fine"),
    [("", "", True), ("prune: 0.5", "prnue: 0.5", False), ("cast: fp16", "cast: fp8", False), ("seed:", "sed:", False),
     ("preset: fsbi", "preset: fbsi", False), ("recover]", "recover: {steps: 3}]", True)],
)  # fmt: skip
def test_schema_tells_good_from_bad(old: str, new: str, fine: bool) -> None:
    text = (ROOT / "experiments.yaml").read_text(encoding="utf-8").replace(old, new)
    assert jsonschema.Draft202012Validator(json_schema()).is_valid(yaml.safe_load(text)) == fine


def test_help_is_instant_and_light() -> None:
    program = (
        "import sys; sys.argv = ['bench', '--help']; from bench.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'pandas', 'onnxruntime', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    before = os.times().children_user
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert os.times().children_user - before < limit(2), "of processor time; a fast machine takes a fifth of a second"


def test_no_absolute_paths_or_registries() -> None:
    """The project holds no path of a machine and no download address."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split(
        "\n"
    )
    for name in listed:
        path = ROOT / name
        if path.is_file() and path.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".yml", ".j2", ".json"}:
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"/(?:home|root|Users)/\w", text), name
            assert "/simple/" not in text or name == "tests/documentation/test_docs.py", name


def test_features_of_the_service_are_shown_by_tests_that_are_there() -> None:
    """docs/serving.md names a test for each feature, relative to tests/service/."""
    table = (ROOT / "docs/serving.md").read_text(encoding="utf-8").partition("| feature |")[2].partition("\n\n")[0]
    rows = table.splitlines()[2:]
    assert len(rows) > 20
    file = ""
    for row in rows:
        named = re.findall(r"`((?:\.\./\w+/)?test_\w+\.py)?(?:: )?(test_\w+)?`", row.rpartition(" | ")[2])
        assert named or row.endswith("| the same |"), row
        for in_file, test in named:
            file = in_file or file
            text = (ROOT / "tests/service" / file).read_text(encoding="utf-8")
            assert not test or f"def {test}(" in text, f"{file}: {test}"
