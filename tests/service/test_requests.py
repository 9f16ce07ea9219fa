"""What every address answers and refuses: keys, rates, the queue, hosts, errors."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from bench.errors import UserError
from bench.service import gate
from bench.service.settings import read_settings, set_trackers_variables
from bench.service.state import Predicted
from tests.support.drawn_service import SIZE, Brightness, application, member, served
from tests.support.service import asking, encoded, post

KEY = "a-key-that-is-long-enough"
GREY = encoded(np.full((80, 80, 3), 120, np.uint8))


def picture(level: int = 120) -> dict[str, Any]:
    return {"files": {"file": ("grey.png", encoded(np.full((80, 80, 3), level, np.uint8)))}}


def get(app: Any, path: str, **arguments: Any) -> httpx.Response:
    response: httpx.Response = asking(app, lambda client: client.get(path, **arguments))
    return response


def test_who_answers_and_what_is_served() -> None:
    async def ask(client: httpx.AsyncClient) -> list[Any]:
        return [(await client.get(path)).json() for path in ("/", "/health", "/api/info", "/openapi.json")]

    greeting, health, info, description = asking(application(), ask)
    assert greeting == {
        "service": "bench deepfake detection", "version": info["version"], "status": "running", "models": ["q8"]
    }  # fmt: skip
    assert health == {"status": "healthy", "models_loaded": ["q8"], "total_models": 1, "device": "cpu"}
    assert info["variants"][0]["verdict"] == "stable: AUC 0.9000"
    assert info["limits"]["upload_mib"] == 20
    assert info["variants"][0]["ensemble"] is None
    assert info["keys_required"] is False
    assert "/api/detect/image" in description["paths"]


def test_members_of_an_ensemble_are_joined_and_heard() -> None:
    dark, bright = Brightness(), Brightness()
    both = served(member("a", dark), member("b", bright), name="pair")
    app = application(both)

    async def ask(client: httpx.AsyncClient) -> list[Any]:
        answer = await client.post("/api/detect/image", **picture(), data={"heatmap": "true"})
        return [answer.json(), (await client.get("/api/info")).json()]

    answer, info = asking(app, ask)
    assert list(answer["model_predictions"]) == ["a", "b"]
    assert answer["total_models"] == 2
    assert answer["consensus"] == {"agree": 2, "of": 2}
    assert set(answer["members_heatmaps"]) == {"a", "b"}
    assert [each["name"] for each in info["variants"][0]["ensemble"]["members"]] == ["a", "b"]


def test_an_unknown_address_or_method_has_a_sentence() -> None:
    for response in (get(application(), "/nowhere"), get(application(), "/api/detect/image")):
        assert response.status_code in (404, 405)
        assert "/docs" in response.json()["detail"]


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        ({"content": b"no form"}, 422),
        ({"files": {"other": ("x.png", b"x")}}, 422),
        ({"content": b"--x\r\nbroken", "headers": {"content-type": "multipart/form-data; boundary=y"}}, 422),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({"files": {"file": ("x.png", b"x" * 3 * 2**20)}}, 413),
    ],
)
def test_malformed_requests_are_refused(arguments: dict[str, Any], status: int) -> None:
    response = post(application(upload_mib=1), "/api/detect/image", **arguments)
    assert response.status_code in (status, 400), response.text
    assert 400 <= response.status_code < 500
    assert isinstance(response.json()["detail"], str)


def test_an_upload_that_does_not_say_how_long_it_is_is_cut_off() -> None:
    async def endless() -> Any:
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
        for _ in range(64):
            yield b"a" * 2**16

    response = post(
        application(upload_mib=1),
        "/api/detect/image",
        content=endless(),
        headers={"content-type": "multipart/form-data; boundary=x"},
    )
    assert response.status_code == 413
    assert "1 MiB" in response.json()["detail"]


def test_without_the_key_nothing_is_answered() -> None:
    app = application(api_keys=f"{KEY},another-key-of-this-service")

    async def ask(client: httpx.AsyncClient) -> list[int]:
        headers = [{}, {"X-API-Key": "wrong"}, {"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}]
        posted = [await client.post("/api/detect/image", **picture(), headers=each) for each in headers]
        open_to_all = [await client.get(path) for path in ("/", "/health", "/api/info", "/v2/health/ready")]
        closed = [await client.get(path) for path in ("/metrics", "/v2/models/q8")]
        return [each.status_code for each in (*posted, *open_to_all, *closed)]

    assert asking(app, ask) == [401, 401, 200, 200, 200, 200, 200, 200, 401, 401]


def test_more_than_the_rate_is_refused_with_the_time_to_wait() -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/api/detect/image", **picture()) for _ in range(3)]

    *fine, refused = asking(application(rate="2/minute"), ask)
    assert [each.status_code for each in fine] == [200, 200]
    assert refused.status_code == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60


def test_the_rate_counts_what_is_judged_and_wrong_keys() -> None:
    several: dict[str, Any] = {"files": [("files", (f"{index}.png", GREY)) for index in range(3)]}

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        asked = [await client.get("/metrics") for _ in range(9)]
        asked += [await client.post("/api/detect/batch", **several) for _ in range(2)]
        return [*asked, await client.post("/api/detect/image", **picture())]

    *read, batch, second, single = asking(application(rate="5/day"), ask)
    assert {each.status_code for each in read} == {200}
    assert (batch.status_code, second.status_code, single.status_code) == (200, 429, 200)
    never = asking(application(rate="2/day"), lambda client: client.post("/api/detect/batch", **several))
    assert never.status_code == 429
    assert "so many pictures at once are more than 2 per 1 day" in never.json()["detail"]

    tensors = {"name": "frames", "datatype": "UINT8", "shape": [3, 3, SIZE, SIZE], "data": [9] * 9 * SIZE * SIZE}

    async def infer(client: httpx.AsyncClient) -> list[int]:
        answers = [await client.post("/v2/models/q8/infer", json={"inputs": [tensors]}) for _ in range(2)]
        return [each.status_code for each in answers]

    assert asking(application(rate="5/day"), infer) == [200, 429]

    async def guess(client: httpx.AsyncClient) -> list[int]:
        keys = [{"X-API-Key": key} for key in ("guess-1", KEY, "guess-2", "guess-3", KEY)]
        return [(await client.post("/api/detect/image", **picture(), headers=key)).status_code for key in keys]

    # Whoever has guessed too often is not told of a right key either.
    assert asking(application(rate="2/minute", api_keys=KEY), guess) == [401, 200, 401, 429, 429]


def test_uploads_that_are_coming_take_no_place_in_the_queue() -> None:
    app = application(queue=1, cached_answers=0)
    held = asyncio.Event()

    async def slow() -> Any:
        yield b"--x\r\n"
        await held.wait()

    async def ask(client: httpx.AsyncClient) -> list[int]:
        headers = {"content-type": "multipart/form-data; boundary=x"}
        slowly = [
            asyncio.create_task(client.post("/api/detect/image", content=slow(), headers=headers)) for _ in range(2)
        ]
        while app.state.service.admission.coming < 2:
            await asyncio.sleep(0.01)
        full = await client.post("/api/detect/image", **picture())
        held.set()
        await asyncio.gather(*slowly)
        return [full.status_code, (await client.post("/api/detect/image", **picture())).status_code]

    assert asking(app, ask) == [503, 200], "as many as twice the queue may be coming"
    assert app.state.service.admission.coming == app.state.service.admission.under_way == 0


def test_an_upload_that_comes_too_slowly_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "_LEAST_BYTES_A_SECOND", 1000)

    async def dripping() -> Any:
        yield b"--x\r\n"
        for _ in range(100):
            await asyncio.sleep(0.05)
            yield b"a"

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = post(application(idle_seconds=0.3), "/api/detect/image", content=dripping(), headers=headers)
    assert response.status_code == 408


def test_a_full_queue_is_told_and_what_was_taken_on_is_answered() -> None:
    session = Brightness()
    session.go.clear()
    app = application(served(member("q8", session)), queue=2, cached_answers=0)

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, list[httpx.Response]]:
        accepted = [asyncio.create_task(client.post("/api/detect/image", **picture())) for _ in range(2)]
        while app.state.service.admission.under_way < 2:
            await asyncio.sleep(0.01)
        refused = await client.post("/api/detect/image", **picture())
        session.go.set()
        return refused, list(await asyncio.gather(*accepted))

    refused, answered = asking(app, ask)
    assert refused.status_code == 503
    assert int(refused.headers["retry-after"]) >= 1
    assert [each.status_code for each in answered] == [200, 200]


def test_a_worker_that_fails_is_a_clear_error_and_goes_on() -> None:
    session = Brightness(fails=[SystemExit(1)])

    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        return [await client.post("/api/detect/image", **picture()) for _ in range(2)]

    failed, fine = asking(application(served(member("q8", session))), ask)
    assert failed.status_code == 500
    assert failed.json()["detail"].startswith("an error of the service itself")
    assert fine.status_code == 200


def test_a_full_disk_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    app = application(upload_mib=8)

    def no_room(self: Any, *arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tempfile.SpooledTemporaryFile, "rollover", no_room)
        response = post(app, "/api/detect/image", files={"file": ("x.png", b"x" * 4 * 2**20)})
    assert response.status_code == 507, response.text
    assert "disk" in response.json()["detail"]


def test_other_hosts_and_origins_are_refused() -> None:
    response = get(application(), "/api/info", headers={"host": "evil.example:8000"})
    assert response.status_code == 421
    assert "--allowed-hosts" in response.json()["detail"]
    for host in ("localhost:8000", "127.0.0.1", "[::1]:80"):
        assert get(application(allowed_hosts=()), "/api/info", headers={"host": host}).status_code == 200
    for host in ("[", "[::zz]"):
        assert get(application(allowed_hosts=()), "/api/info", headers={"host": host}).status_code == 421
    named = application(allowed_hosts=("detector.example",))
    # A container's own check asks whether it is well, by an address.
    assert get(named, "/health", headers={"host": "127.0.0.1:8000"}).status_code == 200
    for origin, code in (("http://evil.example", 403), ("http://[", 403), ("null", 403), ("http://test", 200)):
        headers = {"origin": origin, "host": "test"}
        assert post(application(), "/api/detect/image", **picture(), headers=headers).status_code == code, origin
    preflight = {"origin": "http://page.example", "access-control-request-method": "POST"}
    closed = asking(application(), lambda client: client.options("/api/detect/image", headers=preflight))
    assert "access-control-allow-origin" not in closed.headers
    app = application(cors_origins=("http://page.example",))
    opened = asking(app, lambda client: client.options("/api/detect/image", headers=preflight))
    assert opened.headers["access-control-allow-origin"] == "http://page.example"


def test_the_numbers_for_prometheus() -> None:
    async def ask(client: httpx.AsyncClient) -> str:
        for _ in range(2):
            await client.post("/api/detect/image", **picture())
        text: str = (await client.get("/metrics")).text
        return text

    text = asking(application(), ask)
    assert 'bench_requests_total{path="/api/detect/image",status="200"} 2.0' in text
    assert 'bench_predictions_total{prediction="FAKE",variant="q8"} 1.0' in text
    assert "bench_cached_answers_total 1.0" in text
    assert 'bench_batch_frames_count{member="q8"} 1.0' in text


def test_settings_come_from_flags_over_the_environment_over_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("BENCH_PORT=1\nBENCH_QUEUE=2\nBENCH_UPLOAD_MIB=3\nOTHER=4\n")
    monkeypatch.setenv("BENCH_QUEUE", "20")
    settings = read_settings(tmp_path, upload_mib=30.0, host=None)
    assert (settings.port, settings.queue, settings.upload_mib, settings.host) == (1, 20, 30, "127.0.0.1")
    assert read_settings(tmp_path, cors_origins="http://a, http://b").cors_origins == ("http://a", "http://b")
    monkeypatch.setenv("BENCH_QUEUE", "")
    assert read_settings(tmp_path).queue == 2, "an empty variable is none"


def test_a_trackers_address_may_stand_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_URI=http://one\nMLFLOW_TRACKING_USERNAME=me\nPATH=none\n")
    before = os.environ["PATH"]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://two")
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "")
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME")
    set_trackers_variables(tmp_path)
    assert os.environ["MLFLOW_TRACKING_URI"] == "http://two"
    assert os.environ["MLFLOW_TRACKING_USERNAME"] == "me"
    assert os.environ["PATH"] == before


@pytest.mark.parametrize(
    ("written", "flags", "words"),
    [
        ("BENCH_QUEU=3", {}, "BENCH_QUEU: no such setting (did you mean 'BENCH_QUEUE'?)"),
        ("BENCH_PORT=many", {}, "BENCH_PORT: expected"),
        ("", {"port": 70_000}, "--port: expected"),
        ("", {"rate": "often"}, '--rate: expected a rate such as "60/minute"'),
    ],
)
def test_wrong_settings_are_refused(tmp_path: Path, written: str, flags: dict[str, Any], words: str) -> None:
    (tmp_path / ".env").write_text(written)
    with pytest.raises(UserError) as caught:
        read_settings(tmp_path, **flags)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BENCH_PORT", "tcp://10.0.0.7:8000"),
        ("BENCH_SERVICE_HOST", "10.0.0.7"),
        ("BENCH_SERVICE_PORT_HTTP", "8000"),
        ("BENCH_PORT_8000_TCP_ADDR", "10.0.0.7"),
    ],
)
def test_what_kubernetes_sets_for_a_service_of_this_name_is_told_from_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"{name}: Kubernetes sets it .*enableServiceLinks: false"):
        read_settings(tmp_path)


def test_keys_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"# of the page\n{KEY}  # mine\n\n")
    assert read_settings(tmp_path, api_keys_file=tmp_path / "keys").keys == {KEY}
    (tmp_path / "keys").write_text("short\n")
    with pytest.raises(UserError, match="shorter than 16"):
        _ = read_settings(tmp_path, api_keys_file=tmp_path / "keys").keys
    with pytest.raises(UserError, match="cannot be read"):
        _ = read_settings(tmp_path, api_keys_file=tmp_path / "none").keys


def test_an_upload_that_stops_coming_is_given_up() -> None:
    async def stopping() -> Any:
        yield b"--x\r\n"
        await asyncio.sleep(20)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    response = post(application(idle_seconds=0.2), "/api/detect/image", content=stopping(), headers=headers)
    assert response.status_code == 408
    assert "did not come" in response.json()["detail"]


def test_whoever_keeps_account_hears_of_every_answer_once() -> None:
    heard: list[Predicted] = []

    async def ask(client: httpx.AsyncClient) -> list[float]:
        answers = [await client.post("/api/detect/image", **picture(level)) for level in (90, 90, 150)]
        return [each.json()["fake_probability"] for each in answers]

    dark, _, bright = asking(application(on_predicted=heard.append), ask)
    assert [(each.kind, each.p_fake, each.filename) for each in heard] == [
        ("image", dark, "grey.png"), ("image", bright, "grey.png")
    ]  # fmt: skip
    assert heard[0].by_member == {"q8": dark}
    assert heard[0].agree == 1


def test_browsers_are_given_the_page_and_its_own_files_alone() -> None:
    async def ask(client: httpx.AsyncClient) -> list[httpx.Response]:
        browser = {"accept": "text/html,application/xhtml+xml"}
        paths = ("/ui", "/ui/main.js", "/ui/style.css", "/ui/none.js", "/ui/..%2fapp.py", "/ui/%2e%2e/app.py")
        return [await client.get("/", headers=browser), *[await client.get(path) for path in paths]]

    first, page, script, style, *refused = asking(application(), ask)
    assert first.text == page.text
    kinds = [each.headers["content-type"].partition(";")[0] for each in (page, script, style)]
    assert kinds == ["text/html", "text/javascript", "text/css"]
    for each in (first, page, script, style):
        assert each.status_code == 200
        assert "default-src 'none'" in each.headers["content-security-policy"]
    assert [each.status_code for each in refused] == [404] * 3
