"""Ensembles that are served: joined as a run joins them, members that fail, and who says what with which weight."""

from __future__ import annotations

import base64
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.errors import UserError
from bench.experiment import read
from bench.inference.joint_maps import moved
from bench.inference.served import Served
from bench.inference.serving import serve
from bench.records import Crop, InputSpec, silent
from bench.records.ensembles import Ensemble
from bench.service.answers import Detection
from tests.conftest import quick_folder, run_quickly
from tests.support import drawn_service
from tests.support.command_line import bench
from tests.support.drawn_service import Brightness, member, served
from tests.support.ensembles import FAMILIES, write_trio
from tests.support.portraits import picture
from tests.support.service import application, asking, encoded, post

WEIGHTS = {"small": 0.5, "again": 0.3, "branched": 0.2}


def grey(level: int) -> dict[str, Any]:
    return {"files": {"file": ("grey.png", encoded(np.full((80, 80, 3), level, np.uint8)))}}


class Shifted(Brightness):
    """A member with other logits than the others."""

    def __init__(self, shift: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.shift = shift

    def predict(self, frames: Any) -> Any:
        answer = super().predict(frames)
        answer.logits[:, 1] += np.float32(self.shift)
        return answer


def three(rule: Ensemble, *fails: str) -> tuple[Served, dict[str, Shifted]]:
    """An ensemble of `rule` whose members differ; those of `fails` raise once."""
    sessions = {name: Shifted(shift) for name, shift in zip(rule.members, (0.0, -2.5, 1.0), strict=True)}
    for name in fails:
        sessions[name].fails.append(ValueError("a secret of the machine"))
    return served(*(member(name, session) for name, session in sessions.items()), name="trio", rule=rule), sessions


def test_each_member_is_named_with_what_it_says_and_counts_for() -> None:
    whole, _ = three(Ensemble({"a": 2, "b": 1, "c": 1}, "mean", 2))

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        answer = await client.post("/api/detect/image", **grey(120), data={"heatmap": "true"})
        return [answer.json(), (await client.get("/api/info")).json(), (await client.get("/")).json()]

    answer, info, greeting = asking(drawn_service.application(whole), ask)
    Detection.model_validate(answer)
    expected = [1 / (1 + np.exp(-(0.8 + shift))) for shift in (0.0, -2.5, 1.0)]
    votes = answer["model_predictions"]
    assert [vote["fake_prob"] for vote in votes.values()] == pytest.approx(expected)
    assert {name: vote["weight"] for name, vote in votes.items()} == {"a": 0.5, "b": 0.25, "c": 0.25}
    assert answer["fake_probability"] == pytest.approx(np.average(expected, weights=[2, 1, 1]))
    assert [vote["prediction"] for vote in votes.values()] == ["FAKE", "REAL", "FAKE"]
    assert answer["consensus"] == {"agree": 2, "of": 3}
    assert (answer["models_used"], answer["models_failed"], answer["total_models"]) == (["a", "b", "c"], {}, 3)
    assert set(answer["members_heatmaps"]) == {"a", "b", "c"}
    (variant,) = info["variants"]
    assert variant["ensemble"] == {
        "combine": "mean", "minimum": 2, "failed": {},
        "members": [{"name": name, "weight": weight, "variant": name} for name, weight in
                    {"a": 0.5, "b": 0.25, "c": 0.25}.items()],
    }  # fmt: skip
    assert greeting["models"] == ["a", "b", "c"]


def test_a_member_that_fails_is_named_and_the_others_answer() -> None:
    whole, _ = three(Ensemble({"a": 2, "b": 1, "c": 1}, "mean", 2), "b")

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        return [(await client.post("/api/detect/image", **grey(120))).json() for _ in range(3)]

    without, again, cached = asking(drawn_service.application(whole), ask)
    assert list(without["models_failed"]) == ["b"]
    assert "secret" not in str(without)
    assert without["models_used"] == ["a", "c"]
    assert without["total_models"] == 3
    assert {name: vote["weight"] for name, vote in without["model_predictions"].items()} == {
        "a": pytest.approx(2 / 3), "c": pytest.approx(1 / 3)
    }  # fmt: skip
    scores = [vote["fake_prob"] for vote in without["model_predictions"].values()]
    assert without["fake_probability"] == pytest.approx(np.average(scores, weights=[2, 1]))
    assert without["consensus"]["of"] == 2
    # What a member had no part in is not the answer to the same upload for good.
    assert (again["models_failed"], again["cached"]) == ({}, False)
    assert cached["cached"] is True


def test_fewer_than_must_is_a_clear_error_and_it_goes_on() -> None:
    whole, _ = three(Ensemble({"a": 2, "b": 1, "c": 1}, "mean", 2), "b", "c")

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/api/detect/image", **grey(120)) for _ in range(2)]

    refused, fine = asking(drawn_service.application(whole), ask)
    assert refused.status_code == 503
    assert refused.json()["detail"] == "1 of the 3 members of trio answered, and 2 must; without answer: b, c"
    assert int(refused.headers["retry-after"]) == 10
    assert fine.status_code == 200


def test_it_is_healthy_while_as_many_members_work_as_must_answer() -> None:
    whole, sessions = three(Ensemble({"a": 2, "b": 1, "c": 1}, "mean", 2))

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        answers = []
        for lost in ("b", "c"):
            sessions[lost].works = False
            answers += [await client.get(path) for path in ("/health", "/v2/health/ready", "/v2/models/trio/ready")]
        return answers

    answers = asking(drawn_service.application(whole), ask)
    assert [answer.status_code for answer in answers] == [200, 200, 200, 503, 503, 503]
    assert answers[0].json() == {
        "status": "healthy", "models_loaded": ["a", "c"], "total_models": 3, "device": "cpu"
    }  # fmt: skip
    assert answers[3].json()["status"] == "unhealthy"


def test_a_member_whose_answer_is_no_number_gave_none() -> None:
    whole, sessions = three(Ensemble({"a": 2, "b": 1, "c": 1}))
    sessions["c"].shift = np.nan
    answer = post(drawn_service.application(whole), "/api/detect/image", **grey(120)).json()
    assert answer["models_failed"] == {"c": "its answer to this picture is no number"}
    assert list(answer["model_predictions"]) == ["a", "b"]


@pytest.mark.parametrize("combine", ["mean", "logits", "vote", "max"])
def test_each_way_to_join_is_that_of_a_run(combine: Any) -> None:
    """Also of a member that is so sure that float32 would lose it."""
    weights = {"a": 1.0, "b": 1.0, "c": 1.0} if combine == "max" else {"a": 2.0, "b": 1.0, "c": 1.0}
    rule = Ensemble(weights, combine)
    whole, sessions = three(rule)
    sessions["b"].shift, sessions["c"].shift = -60.0, 30.0
    answer = post(drawn_service.application(whole), "/api/detect/image", **grey(120)).json()
    run, _ = rule.join_differences([[0.8], [0.8 - 60], [0.8 + 30]])
    assert answer["fake_probability"] == pytest.approx(run[0], abs=1e-6)
    counted = [vote["weight"] for vote in answer["model_predictions"].values()]
    assert counted == ([None] * 3 if combine == "max" else [0.5, 0.25, 0.25])


def test_a_member_of_those_that_vote_calls_from_a_half_on() -> None:
    whole, _ = three(Ensemble({"a": 2, "b": 1, "c": 1}, "vote"))
    strict = Served(**{**whole.__dict__, "threshold": 0.8})
    answer = post(drawn_service.application(strict), "/api/detect/image", **grey(120)).json()
    assert answer["fake_probability"] == pytest.approx(0.75)
    assert [vote["prediction"] for vote in answer["model_predictions"].values()] == ["FAKE", "REAL", "FAKE"]
    assert (answer["prediction"], answer["consensus"]) == ("REAL", {"agree": 1, "of": 3})


def test_clients_of_the_open_protocol_are_answered_by_all_members() -> None:
    rule = Ensemble({"a": 2, "b": 1, "c": 1})
    whole, _ = three(rule, "b")
    frames = np.full((1, 3, drawn_service.SIZE, drawn_service.SIZE), 120, np.uint8)
    body = {"inputs": [{"name": "frames", "shape": list(frames.shape), "datatype": "UINT8",
                        "data": frames.ravel().tolist()}]}  # fmt: skip

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        return [(await client.post("/v2/models/trio/infer", json=body)).json() for _ in range(2)]

    for missing, content in zip((np.nan, 0.8 - 2.5), asking(drawn_service.application(whole), ask), strict=True):
        answers = {each["name"]: each["data"] for each in content["outputs"]}
        expected, _ = rule.join_differences([[0.8], [missing], [1.8]])
        assert answers["p_fake"] == pytest.approx(expected.tolist(), abs=1e-6)
        assert answers["logits"][1] == pytest.approx(np.log(expected[0] / (1 - expected[0])), abs=1e-4)
        assert len(answers["cam"]) == 64


def test_a_map_of_a_wider_crop_lies_where_its_place_of_the_picture_is() -> None:
    """A spot of the picture, in the map of all of it and in that of its middle half."""
    whole = Crop(np.zeros((160, 160, 3), np.uint8), None)
    middle = Crop(np.zeros((80, 80, 3), np.uint8), None, (1.0, 0.0, -40.0, 0.0, 1.0, -40.0))
    cam = np.zeros((16, 16), np.float32)
    cam[5, 9] = 1
    spec = InputSpec(80)
    inside = moved(cam, whole, spec, middle)
    # Pixels 50 to 60 down and 90 to 100 across: 10 to 20 and 50 to 60 of the middle, places of 5 pixels.
    assert inside[2:4, 10:12].sum() / inside.sum() > 0.5
    back = moved(inside, middle, spec, whole)
    assert divmod(int(back.argmax()), back.shape[1]) == (5, 9)
    assert moved(cam, whole, spec, whole) is cam


def test_a_map_of_a_fitted_middle_lies_in_the_middle_of_what_is_stretched() -> None:
    """Of two members that see one wide picture, the one that cuts off its ends, over what the other sees of it."""
    picture = Crop(np.zeros((100, 200, 3), np.uint8), None)
    middle, stretched = InputSpec(80, fit="crop"), InputSpec(80)
    cam = np.zeros((16, 16), np.float32)
    cam[:, 0] = 1  # the left end of the middle: a quarter of the picture's width from its left
    over = moved(cam, picture, middle, picture, stretched)
    assert over.sum(0).argmax() == 4
    assert over[:, :3].sum() == over[:, 6:].sum() == 0
    back = moved(over, picture, stretched, picture, middle)
    assert back.sum(0).argmax() == 0


# --------------------------------------------------------------------------------------- of a real run
@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where an ensemble of three networks of two sizes has run."""
    with quick_folder(tmp_path_factory, "served-ensemble", FAMILIES) as folder:
        write_trio(folder)
        text = (folder / "experiments.yaml").read_text()
        (folder / "experiments.yaml").write_text(text.replace("      p50: [prune: 0.5]\n", ""))
        for seed, label in ((1, "real"), (2, "fake")):
            Image.fromarray(picture(seed, 160)).save(folder / f"faces/test/{label}/portrait.png")
        code, output = bench("run", "--no-timing")
        assert code == 0, output
    return folder


@pytest.fixture
def of_run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What serves variants of that run."""
    run_quickly(monkeypatch, FAMILIES)
    settings = read(finished / "experiments.yaml").experiments["first"]

    def load(*titles: str, ensemble: str | None = "trio") -> tuple[Served, ...]:
        return serve(finished, "first", settings, titles, silent, ensemble)

    return load


def table(folder: Path, below: str) -> pd.DataFrame:
    rows = pd.read_parquet(folder / "results/first" / below / "predictions.parquet")
    return rows[rows["split"] == "test"].set_index("frame")


def test_answers_are_the_scores_of_the_run(finished: Path, of_run: Any) -> None:
    names = ["fake/portrait.png", "real/portrait.png", *(f"fake/{index:03d}.png" for index in range(4))]
    variants = of_run("q16", "mixed", "small/q16")
    assert [each.name for each in variants] == ["trio/q16", "trio/mixed", "small/q16"]
    sessions = {id(member.session) for each in variants for member in each.members}
    assert len(sessions) == 4, "small/q16 is loaded once, branched as q16 and as baseline"

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        answers = []
        for each in variants:
            files = [("files", (name, (finished / "faces/test" / name).read_bytes())) for name in names]
            answers.append((await client.post("/api/detect/batch", files=files, data={"variant": each.name})).json())
        return answers

    for each, content in zip(variants, asking(application(variants), ask), strict=True):
        scores = table(finished, each.name)["p_fake"]
        assert content["error_count"] == 0
        for name, answer in zip(names, content["results"], strict=True):
            assert answer["fake_probability"] == pytest.approx(scores[name], abs=1e-5)
            for part, vote in answer["model_predictions"].items():
                of_member = table(finished, f"{part}/q16" if each.name != "trio/mixed" or part == "small"
                                  else f"{part}/baseline")["p_fake"] if "/" not in part else scores  # fmt: skip
                assert vote["fake_prob"] == pytest.approx(of_member[name], abs=1e-5)


def test_its_heatmap_is_that_of_the_run_beside_each_members(finished: Path, of_run: Any) -> None:
    (whole,) = of_run("baseline")
    data = (finished / "faces/test/fake/portrait.png").read_bytes()
    answer = post(
        application((whole,)), "/api/detect/image", files={"file": ("x.png", data)}, data={"heatmap": "true"}
    ).json()
    assert list(answer["members_heatmaps"]) == list(WEIGHTS)
    sizes = {Image.open(BytesIO(base64.b64decode(each))).size for each in answer["members_heatmaps"].values()}
    assert sizes == {Image.open(BytesIO(base64.b64decode(answer["heatmap"]))).size}
    row = table(finished, "trio/baseline").index.get_loc("fake/portrait.png")
    stored = np.load(finished / "results/first/trio/baseline/cam.npy")[row]
    frame = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    from bench import datasets

    fitted = [datasets.fit(frame, each.preprocessing.input_spec).transpose(2, 0, 1)[None] for each in whole.members]
    answers = [each.session.predict(np.ascontiguousarray(frames)) for each, frames in
               zip(whole.members, fitted, strict=True)]  # fmt: skip
    scores = [1 / (1 + np.exp(each.logits[0, 0] - each.logits[0, 1])) for each in answers]
    joint = whole.joint_map([each.cam[0] for each in answers if each.cam is not None], scores)
    assert joint == pytest.approx(np.asarray(stored, np.float64), abs=float(2e-2 * np.abs(stored).max()))


def test_without_a_variant_that_of_its_report_is_served(finished: Path, of_run: Any) -> None:
    import json

    chosen = json.loads((finished / "reports/first/trio/scores.json").read_text())["choice"]["chosen"]
    for ensemble in ("trio", None):
        if chosen is None:
            with pytest.raises(UserError, match="--variant"):
                of_run(ensemble=ensemble)
            continue
        (whole,) = of_run(ensemble=ensemble)
        assert whole.name == f"trio/{chosen}"
        assert "AUC" in whole.verdict
        (beside, member) = of_run("small/q16", ensemble="trio")
        assert (beside.name, member.name) == (f"trio/{chosen}", "small/q16")


def test_another_name_is_refused(of_run: Any) -> None:
    with pytest.raises(UserError, match=r"there is no ensemble 'tiro' \(did you mean 'trio'\?\)"):
        of_run(ensemble="tiro")
    with pytest.raises(UserError, match="there is no ensemble 'small'"):
        of_run(ensemble="small")
    with pytest.raises(UserError, match="there is no variant 'q9'"):
        of_run("q9")
