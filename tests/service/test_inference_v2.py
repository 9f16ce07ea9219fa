"""The Open Inference Protocol, as JSON and as Triton's client speaks it with a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.service.state import Predicted
from tests.support.drawn_service import SIZE, application
from tests.support.service import asking, post


def body(frames: np.ndarray, **changes: Any) -> dict[str, Any]:
    given = {"name": "frames", "datatype": "UINT8", "shape": list(frames.shape), "data": frames.ravel().tolist()}
    return {"inputs": [given | changes]}


def frames(count: int) -> np.ndarray:
    return np.stack([np.full((3, SIZE, SIZE), 100 + 25 * index, np.uint8) for index in range(count)])


def test_a_variant_says_what_it_takes_and_gives() -> None:
    async def ask(client: Any) -> list[Any]:
        paths = ("/v2", "/v2/health/live", "/v2/health/ready", "/v2/models/q8/ready", "/v2/models/q8")
        return [(await client.get(path)).json() for path in paths]

    server, _, ready, model_ready, model = asking(application(), ask)
    assert server["extensions"] == ["binary_tensor_data"]
    assert ready["ready"]
    assert model_ready["ready"]
    assert model["inputs"] == [{"name": "frames", "datatype": "UINT8", "shape": [-1, 3, SIZE, SIZE]}]
    assert [each["name"] for each in model["outputs"]] == ["logits", "p_fake", "cam"]


def test_frames_in_json() -> None:
    content = post(application(), "/v2/models/q8/infer", json=body(frames(3)) | {"id": "7"}).json()
    assert content["id"] == "7"
    assert content["parameters"]["artifact_digest"] == "d" * 64
    assert content["parameters"]["shipped_with"]
    outputs = {each["name"]: each for each in content["outputs"]}
    assert outputs["logits"]["data"] == pytest.approx([0, 0, 0, 1, 0, 2])
    assert outputs["p_fake"]["data"] == pytest.approx(1 / (1 + np.exp(-np.arange(3))), abs=1e-6)
    assert outputs["cam"]["shape"] == [3, SIZE // 8, SIZE // 8]


@pytest.mark.parametrize(
    "request_body",
    [
        b"no json",
        b"[]",
        b'{"inputs": []}',
        b'{"inputs": [{"name": "frames"}]}',
        body(frames(1), shape=[1, 3, 2, 2]),
        body(frames(1), shape=[0, 3, SIZE, SIZE]),
        body(frames(1), datatype="FP32"),
        body(frames(1), data=[1, 2]),
        body(frames(1), data=[-1] * 3 * SIZE * SIZE),
        body(frames(1), data=[0.9] * 3 * SIZE * SIZE),
        body(frames(1), data=[True] * 3 * SIZE * SIZE),
        body(frames(1), data=["12"] * 3 * SIZE * SIZE),
        body(frames(1), data=[True, *[5] * (3 * SIZE * SIZE - 1)]),
        body(frames(1), data=[[1, 2], 3]),
        body(frames(1), data=[]),
        body(frames(1), data=None),
        body(frames(1), parameters={"binary_data_size": 7}),
        body(frames(1)) | {"outputs": [{"name": "other"}]},
        body(frames(1)) | {"outputs": [{"name": "cam"}] * 2},
    ],
)
def test_what_is_not_of_the_protocol_is_refused(request_body: Any) -> None:
    kind = {"content": request_body} if isinstance(request_body, bytes) else {"json": request_body}
    response = post(application(), "/v2/models/q8/infer", **kind)
    assert response.status_code == 400, response.text
    assert response.json()["error"] == response.json()["detail"]


@pytest.mark.parametrize("length", ["²", "9" * 5000, "-1", "7"])
def test_a_length_that_is_none_is_refused(length: str) -> None:
    headers = {"Inference-Header-Content-Length": length.encode("latin-1")}
    response = post(application(), "/v2/models/q8/infer", json=body(frames(1)), headers=headers)
    assert response.status_code == 400, response.text


def test_nested_data_are_the_same_as_flat_ones() -> None:
    nested = post(application(), "/v2/models/q8/infer", json=body(frames(2), data=frames(2).tolist())).json()
    assert nested["outputs"] == post(application(), "/v2/models/q8/infer", json=body(frames(2))).json()["outputs"]


def test_whoever_keeps_account_hears_of_each_frame() -> None:
    heard: list[Predicted] = []
    post(application(on_predicted=heard.append), "/v2/models/q8/infer", json=body(frames(3)))
    assert [(each.kind, each.agree) for each in heard] == [("tensor", 1)] * 3
    assert [each.p_fake for each in heard] == pytest.approx(1 / (1 + np.exp(-np.arange(3))))


def test_an_unknown_variant_is_named() -> None:
    response = post(application(), "/v2/models/q9/infer", json=body(frames(1)))
    assert response.status_code == 404
    assert "q8" in response.json()["error"]


def test_tritons_client_gets_what_a_run_has(finished: Path, started: str) -> None:
    """`started` is the address of a process that serves the tiny experiment."""
    import tritonclient.http as triton
    from PIL import Image

    from bench.datasets import fit
    from bench.records import InputSpec
    from tests.service.test_detect import of_run

    names = [f"fake/{index:03d}.png" for index in range(4)]
    fitted = [
        fit(np.asarray(Image.open(finished / "faces/test" / name).convert("RGB")), InputSpec(64)) for name in names
    ]
    batch = np.ascontiguousarray(np.stack(fitted).transpose(0, 3, 1, 2))
    client = triton.InferenceServerClient(started)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("q8")
    assert client.get_model_metadata("q8")["inputs"][0]["datatype"] == "UINT8"
    given = triton.InferInput("frames", list(batch.shape), "UINT8")
    for is_binary in (True, False):
        given.set_data_from_numpy(batch, binary_data=is_binary)
        asked = [triton.InferRequestedOutput(name, binary_data=is_binary) for name in ("p_fake", "logits")]
        for outputs in (asked, None):
            result = client.infer("q8", [given], outputs=outputs)
            expected = [of_run(finished, "q8", name) for name in names]
            assert result.as_numpy("p_fake") == pytest.approx(np.array(expected), abs=1e-5)
            assert result.as_numpy("logits").shape == (4, 2)
    with pytest.raises(triton.InferenceServerException, match="not served here"):
        client.infer("q9", [given])
    client.close()
