"""What all addresses of a service share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

from bench.service.answer_cache import AnswerCache
from bench.service.answers import Artifact, Called, Detection, Vote
from bench.service.engine import Engine, Judged
from bench.service.gate import Admission
from bench.service.jobs import Jobs
from bench.service.metrics import Metrics
from bench.service.rates import Rates
from bench.service.settings import ServiceSettings

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

    from bench.inference.served import Served


@dataclass(frozen=True)
class Predicted:
    """An answer as those hear of it who keep account: `by_member` is the P(fake) of each, by name.

    A "tensor" is a frame of the Open Inference Protocol. `agree` members say the same as the answer.
    """

    kind: Literal["image", "video", "webcam", "tensor"]
    served: Served
    p_fake: float
    by_member: Mapping[str, float]
    seconds: float
    filename: str = ""
    agree: int = 0


OnPredicted = Callable[[Predicted], object]


@dataclass
class State:
    """The parts of a running service. `on_predicted` hears of every answer that is not from the cache."""

    experiment: str
    engine: Engine
    settings: ServiceSettings
    metrics: Metrics
    admission: Admission
    rates: Rates
    jobs: Jobs
    on_predicted: OnPredicted
    cache: AnswerCache[Detection] = field(init=False)

    def __post_init__(self) -> None:
        self.cache = AnswerCache(self.settings.cached_answers)

    def predicted(self, predicted: Predicted) -> None:
        """Count an answer, and tell of it."""
        served = predicted.served
        self.metrics.called(served.name, called(predicted.p_fake, served.threshold), predicted.p_fake)
        self.on_predicted(predicted)


def of(connection: HTTPConnection) -> State:
    """The state of the service that a request came to."""
    return cast("State", connection.app.state.service)


def called(p_fake: float, threshold: float) -> Called:
    """As evaluation calls it: fake from the threshold on."""
    return "FAKE" if p_fake >= threshold else "REAL"


def confidence(p_fake: float, threshold: float) -> float:
    """The probability of the class that it is called."""
    return p_fake if called(p_fake, threshold) == "FAKE" else 1 - p_fake


def votes(judged: Judged, served: Served) -> dict[str, Vote]:
    """What each member says, and what that counts for."""
    return members_votes(judged.by_member, served)


def members_votes(p_fake: Mapping[str, float], served: Served) -> dict[str, Vote]:
    """The same of the P(fake) of those that answered, by name."""
    weights = served.weights(tuple(p_fake))
    return {
        name: Vote(
            fake_prob=score,
            real_prob=1 - score,
            prediction=called(score, served.votes_at),
            weight=weights[name],
        )
        for name, score in p_fake.items()
    }


def artifact(served: Served) -> Artifact:
    """What computes the answers of a variant; of an ensemble its members', joined by commas."""
    judges = [member.judge for member in served.members]
    return Artifact(
        id=",".join(judge.id for judge in judges),
        digest=",".join(judge.digest for judge in judges),
        runtime=",".join(dict.fromkeys(judge.runtime for judge in judges)),
    )
