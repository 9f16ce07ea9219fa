"""Second stage: build the variants; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from bench import datasets, locks
from bench.pipeline import fidelity, journal
from bench.pipeline.prepare import Prepared
from bench.records import (
    Built,
    OnEvent,
)
from bench.variants import build, cache, ids
from bench.variants.context import BuildContext

if TYPE_CHECKING:
    pass


def build_variants(prepared: Prepared, on_event: OnEvent) -> tuple[dict[str, Built], dict[str, str]]:
    """The artifacts of all variants, and for those that could not be built the reason.

    While another process builds one of them, the others are built here.
    """
    context = build_context(prepared, on_event)
    built: dict[str, Built] = {}
    failed: dict[str, str] = {}

    def make(name: str) -> None:
        chain = prepared.chains[name]
        if name not in prepared.wanted:
            variant = ids.of_chain(prepared.source, chain, context)[-1]
            if not cache.is_built(context.folder, variant):
                return
        try:
            built[name] = build.build(name, prepared.source, chain, context, waits=False)
        except locks.TakenError:
            raise
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[name] = journal.failure(f"building {name}", error)

    locks.each(prepared.chains, make, on_event, cache.WHY_WAIT)
    return {name: built[name] for name in prepared.chains if name in built}, failed


def build_context(prepared: Prepared, on_event: OnEvent) -> BuildContext:
    """Where and with what the variants of a prepared experiment are built."""
    return BuildContext(
        folder=prepared.base / "variants",
        frames=prepared.frames,
        read=prepared.read,
        decoder=datasets.decoder_versions(),
        device=prepared.device,
        threads=prepared.threads,
        seed=prepared.settings.seed,
        on_event=on_event,
        experiment=prepared.name,
    )


def settle_variants(prepared: Prepared, built: Mapping[str, Built], on_event: OnEvent) -> dict[str, str]:
    """Have kernels chosen on this processor where that was not done yet; for what fails at it, the reason."""
    failed: dict[str, str] = {}
    for name, artifact in built.items():
        if name not in prepared.wanted:
            continue
        try:
            fidelity.settle(prepared, artifact, on_event)
        except Exception as error:
            failed[name] = journal.failure(f"choosing kernels for {name}", error)
    return failed
