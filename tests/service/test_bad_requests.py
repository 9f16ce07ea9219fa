"""Bad requests get one clear sentence, and the service goes on."""

from __future__ import annotations

import httpx
import pytest

from tests.support.bad_requests import BAD_REQUESTS, GREY, SIZE, BadRequest
from tests.support.drawn_service import SIZE as OF_SERVICE
from tests.support.drawn_service import application
from tests.support.service import asking


@pytest.mark.parametrize("bad", BAD_REQUESTS, ids=[bad.what for bad in BAD_REQUESTS])
def test_bad_request(bad: BadRequest) -> None:
    assert SIZE == OF_SERVICE

    async def ask(client: httpx.AsyncClient) -> tuple[httpx.Response, httpx.Response]:
        answers = [await client.post(bad.path, **bad.arguments) for _ in range(bad.count)]
        return answers[-1], await client.get("/health")

    refused, health = asking(application(**bad.settings), ask)
    assert refused.status_code == bad.status, refused.text
    assert bad.words in refused.json()["detail"]
    assert "\n" not in refused.json()["detail"]
    assert "Traceback" not in refused.text
    assert health.status_code == 200


def test_the_picture_that_others_are_made_of_is_fine() -> None:
    async def ask(client: httpx.AsyncClient) -> httpx.Response:
        return await client.post("/api/detect/image", files={"file": ("grey.png", GREY)})

    assert asking(application(), ask).status_code == 200
