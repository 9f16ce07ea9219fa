"""Who answers, whether it can, and what it serves."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from bench.inference.served import Served
from bench.provenance import version
from bench.service import state
from bench.service.answers import EnsembleOf, Greeting, Health, Info, Limits, MemberOf, Variant
from bench.service.metrics import CONTENT_TYPE
from bench.service.routes.page import page

router = APIRouter(tags=["service"])
SERVICE = "bench deepfake detection"


@router.get("/", response_model=Greeting)
async def greet(request: Request) -> Response | Greeting:
    """Say who answers; browsers are given the page."""
    if "text/html" in request.headers.get("accept", ""):
        return page("index.html")
    served = state.of(request).engine
    models = list(dict.fromkeys(member.name for each in served.served.values() for member in each.members))
    return Greeting(service=SERVICE, version=version("bench"), status="running", models=models)


@router.get("/health")
async def health(request: Request, response: Response) -> Health:
    """Say whether pictures can be judged: 503 where not. A network whose process is being started is not loaded."""
    service = state.of(request)
    engine, ending = service.engine, service.admission.ending
    members = [member for each in engine.served.values() for member in each.members]
    if ending or not engine.works:
        response.status_code = 503
    return Health(
        status="ending" if ending else "healthy" if engine.works else "unhealthy",
        models_loaded=list(dict.fromkeys(member.name for member in members if engine.batcher(member).works)),
        total_models=len({member.name for member in members}),
        device=members[0].judge.device,
    )


@router.get("/api/info")
async def info(request: Request) -> Info:
    """Say what is served, with the verdicts of the report, and what is refused."""
    service = state.of(request)
    settings, default = service.settings, service.engine.default
    return Info(
        experiment=service.experiment,
        version=version("bench"),
        default_variant=default.name,
        variants=[_variant(each) for each in service.engine.served.values()],
        limits=Limits(**{name: getattr(settings, name) for name in Limits.model_fields}),
        keys_required=bool(settings.keys),
    )


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """All numbers, for Prometheus."""
    return Response(state.of(request).metrics.text(), media_type=CONTENT_TYPE)


def _variant(served: Served) -> Variant:
    """A variant as `/api/info` describes it."""
    made_by = state.artifact(served)
    return Variant(
        name=served.name,
        id=made_by.id,
        digest=made_by.digest,
        runtime=made_by.runtime,
        device=served.members[0].judge.device,
        size_mib=served.size_mib,
        threshold=served.threshold,
        verdict=served.verdict,
        auc=served.auc,
        heatmap=served.has_map,
        ensemble=_ensemble(served) if served.is_ensemble else None,
    )


def _ensemble(served: Served) -> EnsembleOf:
    weights = served.weights()
    return EnsembleOf(
        combine=served.rule.combine,
        minimum=served.rule.minimum,
        members=[
            MemberOf(name=member.name, weight=weights[member.name], variant=member.judge.name)
            for member in served.members
        ],
        failed=dict(served.failed),
    )
