"""Pictures: what is answered, and that it is what a run says of the same frames."""

from __future__ import annotations

import base64
import errno
import json
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from bench.errors import UserError
from bench.experiment import read
from bench.inference.reported import reported
from bench.inference.served import Served
from bench.pipeline.rendered import evaluate_run
from bench.records import Choice, Constraints, Evaluation, RunRecord
from bench.service.answers import Detection
from bench.service.engine import Engine
from bench.service.metrics import Metrics
from bench.service.settings import read_settings
from tests.support.portraits import picture
from tests.support.service import application, asking, encoded, post, served_of


def image(app: Any, data: bytes, name: str = "picture.png", **form: Any) -> dict[str, Any]:
    response = post(app, "/api/detect/image", files={"file": (name, data)}, data=form)
    assert response.status_code == 200, response.text
    content: dict[str, Any] = response.json()
    Detection.model_validate(content)
    return content


def of_run(folder: Path, variant: str, frame: str) -> float:
    table = pd.read_parquet(folder / f"results/first/{variant}/predictions.parquet")
    return float(table[(table["frame"] == frame) & (table["split"] == "test")].iloc[0]["p_fake"])


@pytest.mark.parametrize("variant", ["q8", "baseline"])
def test_a_frame_of_the_set_has_the_score_of_the_run(finished: Path, served: tuple[Served, ...], variant: str) -> None:
    names = ["fake/portrait.png", "real/portrait.png", *(f"fake/{index:03d}.png" for index in range(6))]
    files = [("files", (name, (finished / "faces/test" / name).read_bytes())) for name in names]
    response = post(application(served), "/api/detect/batch", files=files, data={"variant": variant})
    assert response.status_code == 200, response.text
    batch = response.json()
    assert batch["total"] == len(names)
    assert batch["error_count"] == 0
    for name, answer in zip(names, batch["results"], strict=True):
        assert answer["fake_probability"] == pytest.approx(of_run(finished, variant, name), abs=1e-5)
        assert answer["variant"] == variant


def test_an_answer_says_what_it_was_shipped_with(finished: Path, served: tuple[Served, ...]) -> None:
    answer = image(application(served), (finished / "faces/test/fake/000.png").read_bytes(), faces="never")
    assert answer["variant"] == "q8"
    assert answer["real_probability"] == pytest.approx(1 - answer["fake_probability"])
    assert answer["prediction"] == ("FAKE" if answer["fake_probability"] >= 0.5 else "REAL")
    assert answer["confidence"] == max(answer["fake_probability"], answer["real_probability"])
    assert answer["model_predictions"]["q8"]["fake_prob"] == answer["fake_probability"]
    assert answer["models_used"] == ["q8"]
    assert answer["consensus"] == {"agree": 1, "of": 1}
    artifact = finished / "variants" / answer["artifact"]["id"]
    assert artifact.is_dir()
    assert answer["artifact"]["digest"] == served[0].members[0].judge.digest
    assert "AUC 0." in answer["shipped_with"]
    assert "against the baseline" in answer["shipped_with"]


def test_a_face_is_cut_out_and_where_it_was_is_told(finished: Path, served: tuple[Served, ...]) -> None:
    answer = image(application(served), (finished / "wide.png").read_bytes(), heatmap="true")
    left, top, right, bottom = answer["face_box"]
    assert 100 <= left < right <= 260
    assert 40 <= top < bottom <= 200
    assert answer["judged"] == "face"
    assert answer["faces"] == 1
    assert answer["face_detection_confidence"] > 0.8
    crop, heat, over = (Image.open(BytesIO(base64.b64decode(answer[name]))) for name in ("crop", "heatmap", "gradcam"))
    assert crop.size == heat.size == over.size
    assert heat.mode == "RGBA"
    assert answer["members_heatmaps"] is None
    whole = image(application(served), (finished / "wide.png").read_bytes(), faces="never", generate_gradcam="true")
    assert whole["judged"] == "whole picture"
    assert whole["face_box"] is None
    assert Image.open(BytesIO(base64.b64decode(whole["crop"]))).size == (360, 240)


def test_orientation_of_a_camera_is_applied(finished: Path, served: tuple[Served, ...]) -> None:
    upright = picture(4, 160)[:, :120]
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned by 90 degrees
    turned = encoded(np.ascontiguousarray(np.rot90(upright)), exif=exif)
    answers = [image(application(served), data, faces="never") for data in (encoded(upright), turned)]
    assert answers[0]["fake_probability"] == pytest.approx(answers[1]["fake_probability"], abs=1e-6)


def test_the_same_upload_is_answered_from_the_cache(served: tuple[Served, ...]) -> None:
    data = encoded(picture(5, 160))

    async def ask(client: Any) -> list[dict[str, Any]]:
        forms: list[dict[str, str]] = [{}, {}, {"faces": "never"}, {"variant": "baseline"}]
        return [
            (await client.post("/api/detect/image", files={"file": (f"{index}.png", data)}, data=form)).json()
            for index, form in enumerate(forms)
        ]

    first, again, never, other = asking(application(served), ask)
    assert [each["cached"] for each in (first, again, never, other)] == [False, True, False, False]
    assert again["fake_probability"] == first["fake_probability"]
    assert again["filename"] == "1.png"


def bomb() -> bytes:
    """The header of a picture of 900 megapixels, with hardly a pixel behind it."""
    data = bytearray(encoded(np.zeros((2, 2, 3), np.uint8), "BMP"))
    data[18:26] = (30_000).to_bytes(4, "little") * 2
    return bytes(data)


def animation() -> bytes:
    file = BytesIO()
    frames = [Image.fromarray(picture(seed, 160)) for seed in (1, 2, 3)]
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


REFUSED = {
    "no picture": (b"%PDF-1.7 a letter", {}, 415, "is no picture"),
    "empty": (b"", {}, 422, "empty"),
    "broken": (encoded(picture(1, 200))[:2000], {}, 422, "decoded"),
    "bomb": (bomb(), {}, 413, "pixels"),
    "animation": (animation(), {}, 422, "several pictures"),
    "large": (encoded(np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)), {}, 413, "1 MiB"),
    "many pixels": (encoded(np.zeros((1500, 1500, 3), np.uint8)), {}, 413, "1500 × 1500"),
    "no face": (encoded(np.full((90, 90, 3), 90, np.uint8)), {}, 422, "faces=never"),
    "no such variant": (encoded(picture(1, 100)), {"variant": "q9"}, 422, "q8, baseline"),
    "no such option": (encoded(picture(1, 100)), {"faces": "often"}, 422, "auto, always, never"),
    "no bool": (encoded(picture(1, 100)), {"heatmap": "perhaps"}, 422, "heatmap"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_has_a_sentence(served: tuple[Served, ...], case: str) -> None:
    data, form, status, words = REFUSED[case]
    app = application(served, upload_mib=1, megapixels=2)
    response = post(app, "/api/detect/image", files={"file": ("x.png", data)}, data=form)
    assert response.status_code == status, response.text
    assert set(response.json()) == {"detail"}
    assert words in response.json()["detail"]
    assert "\n" not in response.json()["detail"]


def test_a_batch_has_an_error_in_place_of_what_cannot_be_judged(finished: Path, served: tuple[Served, ...]) -> None:
    files = [
        ("files", ("../../etc/pass<wd>.png", b"no picture")),
        ("files", ("fine.png", (finished / "faces/test/real/portrait.png").read_bytes())),
    ]
    content = post(application(served), "/api/detect/batch", files=files).json()
    assert content["error_count"] == 1
    assert content["fake_count"] + content["real_count"] == 1
    assert content["results"][0]["filename"] == "pass_wd_.png"
    assert "no picture" in content["results"][0]["error"]
    assert content["average_confidence"] == content["results"][1]["confidence"]
    many = post(application(served, batch_images=1), "/api/detect/batch", files=files)
    assert many.status_code == 422


def test_a_batch_that_the_service_alone_fails_is_a_failure(
    finished: Path, served: tuple[Served, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("bench.service.routes.detect.detect", full)
    files = [("files", ("fine.png", (finished / "faces/test/real/portrait.png").read_bytes()))] * 2
    response = post(application(served), "/api/detect/batch", files=files)
    assert response.status_code == 507
    assert response.headers["retry-after"]


def test_pictures_with_a_side_that_faces_cannot_be_cut_out_of_are_refused(served: tuple[Served, ...]) -> None:
    file = BytesIO()
    Image.new("L", (33_000, 20)).save(file, "PNG")
    response = post(application(served), "/api/detect/image", files={"file": ("wide.png", file.getvalue())})
    assert response.status_code == 413
    assert "33000 × 20 pixels, a side of more than 32,766" in response.json()["detail"]


def test_a_picture_that_waits_for_the_network_takes_no_memory(served: tuple[Served, ...], tmp_path: Path) -> None:
    engine = Engine(served, read_settings(tmp_path), Metrics())
    try:
        pixels = np.zeros((3000, 4000, 3), np.uint8)
        (plain,) = engine.cut(pixels, engine.asked(None, "never")).candidates
        (shown,) = engine.cut(pixels, engine.asked(None, "never", shown=True)).candidates
    finally:
        engine.close()
    assert plain.crops[0].pixels.shape == (3000, 4000, 3)
    assert plain.crops[0].pixels.strides == (0, 0, 0)
    assert plain.shown is None
    assert shown.shown is not None
    assert shown.shown.shape == (480, 640, 3)


def test_uploads_are_kept_only_where_asked_for(finished: Path, served: tuple[Served, ...], tmp_path: Path) -> None:
    data = (finished / "wide.png").read_bytes()
    before = {path for path in finished.rglob("*") if path.is_file()}
    image(application(served), data)
    assert {path for path in finished.rglob("*") if path.is_file()} == before
    image(application(served, keep=tmp_path / "kept"), data, "../escape.png", heatmap="true")
    (upload,) = (path for path in (tmp_path / "kept").iterdir() if not path.suffix)
    assert upload.read_bytes() == data
    answer = json.loads(upload.with_suffix(".json").read_text())
    assert "gradcam" not in answer
    assert answer["processing_time"] > 0


@pytest.mark.usefixtures("tiny_family")
def test_without_a_name_the_variant_of_the_report_is_served(finished: Path) -> None:
    choice = json.loads((finished / "reports/first/scores.json").read_text())["choice"]
    if choice is None or choice["chosen"] is None:
        with pytest.raises(UserError, match="--variant"):
            served_of(finished)
    else:
        assert [each.name for each in served_of(finished)] == [choice["chosen"]]
    with pytest.raises(UserError, match="q9"):
        served_of(finished, "q9")


@pytest.mark.usefixtures("tiny_family")
def test_what_the_report_says_to_ship_is_served(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate_and_choose(run: RunRecord, results: Path) -> Evaluation:
        return replace(evaluate_run(run, results), choice=Choice(Constraints(), False, (), "q16", None))

    monkeypatch.setattr("bench.inference.reported.evaluate_run", evaluate_and_choose)
    monkeypatch.setattr("bench.inference.reported.is_rendered", lambda folder, mark: False)
    assert [each.name for each in served_of(finished)] == ["q16"]
    assert [each.name for each in served_of(finished, "q8", "q16", "q8")] == ["q8", "q16"]


@pytest.mark.usefixtures("tiny_family")
def test_a_verdict_is_read_where_the_report_has_it_and_scored_again_where_not(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = read(finished / "experiments.yaml").experiments["first"]
    scored: list[Path] = []

    def noted(run: RunRecord, results: Path) -> Evaluation:
        scored.append(results)
        return evaluate_run(run, results)

    monkeypatch.setattr("bench.inference.reported.evaluate_run", noted)
    as_read = reported(finished, "first", settings, "mine")
    assert scored == []
    monkeypatch.setattr("bench.inference.reported.is_rendered", lambda folder, mark: False)
    again = reported(finished, "first", settings, "mine")
    assert scored == [finished / "results/first"]
    for variant in settings.variants:
        assert as_read.verdict(variant) == again.verdict(variant)
        assert as_read.auc(variant) == pytest.approx(again.auc(variant))
    assert as_read.to_ship == again.to_ship
