"""Searches on disk: what each depends on, and its trail beside the results."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from bench import datasets, stored
from bench.errors import UserError
from bench.files import make_folder, write_text
from bench.pipeline import judging
from bench.pipeline.prepared import Prepared, Setup
from bench.provenance import digest, machine, versions
from bench.records import SearchTrail
from bench.results import timing
from bench.variants import ids, steps
from bench.variants.chain import parse
from bench.variants.search_settings import SearchSettings
from bench.variants.steps import Use

FOLDER, TRAIL = "search", "trail.json"
VERSION = 3
"""Raised whenever the same search would try other chains."""


def folder_of(setup: Setup, variant: str) -> Path:
    """Where the search for a variant keeps its trail and what its candidates said: beside the first set's results."""
    return setup.times_folder / variant / FOLDER


def read(setup: Setup, variant: str) -> SearchTrail | None:
    """The trail of a search with these settings, on these frames, of this detector; None where there is none yet."""
    trail = _stored(folder_of(setup, variant))
    return trail if trail and trail.key == key_of(setup, setup.searches[variant]) else None


def write(setup: Setup, variant: str, trail: SearchTrail) -> None:
    make_folder(folder_of(setup, variant))
    plain = stored.adapter(SearchTrail).dump_python(trail, mode="json")
    write_text(folder_of(setup, variant) / TRAIL, json.dumps(plain, indent=1) + "\n")


def key_of(setup: Setup, search: SearchSettings) -> str:
    """The digest of all that a search depends on; empty where frames are not read yet."""
    validation = setup.frames.get("validation")
    if validation is None or not validation.digest or any(not frames.content for frames in setup.built_with.values()):
        return ""
    tried = [steps.find(name) for name in steps.names() if hasattr(steps.find(name), "TRIED")]
    depends_on: dict[str, Any] = {
        "version": VERSION,
        "weights": ids.of_weights(setup.source),
        "search": search.model_dump(mode="json"),
        "margin": margin_of(setup, search),
        "validation": validation.digest,
        "test": len(setup.frames["test"].distinct),
        "frames": {split: frames.digest for split, frames in setup.built_with.items() if split != "test"},
        "decoded by": datasets.decoder_versions(),
        "steps": {step.__name__.rpartition(".")[2]: [step.VERSION, versions(step.LIBRARIES)] for step in tried},  # type: ignore[attr-defined]
        "seed": setup.settings.seed,
        "device": setup.device,
        "runtime": setup.settings.runtime,
        "judge": judging.judge(setup.settings, setup.frames["test"].frames),
        "videos": asdict(setup.settings.videos.record),
    }
    if search.find == "fastest":
        depends_on["timed"] = [timing.VERSIONS[setup.device], machine(), setup.threads, setup.settings.timing.seconds]
    return digest(depends_on)


def margin_of(setup: Setup, search: SearchSettings) -> float:
    """The most AUC that may be lost."""
    return setup.settings.margin if search.keep.auc_drop is None else search.keep.auc_drop


def with_found(prepared: Prepared) -> Prepared:
    """The experiment with the chains that its searches have found already."""
    if not any(setup.searches for setup in prepared.setups):
        return prepared
    trails: dict[str, dict[str, SearchTrail]] = {}
    for detector, setup in prepared.by_detector.items():
        stored_trails = {name: read(setup, name) for name in setup.searches}
        trails[detector] = {name: trail for name, trail in stored_trails.items() if trail and is_whole(trail)}
    return Prepared(tuple(with_trails(setup, trails[setup.detector_name]) for setup in prepared.setups))


def with_trails(setup: Setup, trails: Mapping[str, SearchTrail], unfound: Mapping[str, str] | None = None) -> Setup:
    """A detector with the chains that these searches took, in the order of the experiment file.

    `unfound` says of others why they found none.
    """
    taken = {name: chain_of(trail.winner.steps) for name, trail in trails.items() if trail.winner}
    chains = {**setup.chains, **taken}
    ordered = {name: chains[name] for name in setup.named if name in chains}
    return replace(setup, chains=ordered, trails={**setup.trails, **trails}, unfound=unfound or {})


def is_whole(trail: SearchTrail) -> bool:
    """Whether a search has come to its end and taken a chain."""
    return bool(trail.ended) and trail.winner is not None


def chain_of(spelled: tuple[str, ...]) -> tuple[Use, ...]:
    """The steps of a chain as YAML spells them; `ValueError` where a search tries no such step."""
    chain = tuple(parse(yaml.safe_load(text)) for text in spelled)
    if not all(hasattr(use.step, "TRIED") for use in chain):
        raise ValueError(f"no search tries {', '.join(spelled)}")
    return chain


def ids_in(folder: Path) -> set[str]:
    """The ids of the chain that a search took, whatever it depended on: what `bench clean` must leave."""
    trail = _stored(folder)
    return {trail.winner.id, *trail.winner.lineage} if trail and trail.winner else set()


def _stored(folder: Path) -> SearchTrail | None:
    try:
        return parsed(stored.read_bytes(folder / TRAIL, stored.MIB))
    except (OSError, ValueError):
        return None


def parsed(content: bytes) -> SearchTrail | None:
    """A trail from what its file holds; None where that is damaged."""
    try:
        trail: SearchTrail = stored.typed(SearchTrail, stored.parsed(content.decode("utf-8")))
        for chain in trail.candidates:
            chain_of(chain.steps)
    except (ValueError, UserError, yaml.YAMLError):
        return None
    return trail
