"""Second stage: build the variants; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bench import datasets, locks
from bench.pipeline import fidelity, journal
from bench.pipeline.prepare import Prepared
from bench.records import Built, OnEvent
from bench.variants import build, cache, ids
from bench.variants.context import BuildContext


@dataclass(frozen=True)
class BuiltVariants:
    """The artifacts of variants, by name, and for each variant that failed the reason."""

    artifacts: Mapping[str, Built]
    failed: Mapping[str, str]


def build_variants(prepared: Prepared, on_event: OnEvent) -> BuiltVariants:
    """Build the selected variants, and have kernels chosen for them on this processor.

    Of the other variants, the artifacts that exist are returned too.
    """
    built = build_artifacts(prepared, on_event)
    return BuiltVariants(built.artifacts, {**built.failed, **_settle(prepared, built.artifacts, on_event)})


def build_artifacts(prepared: Prepared, on_event: OnEvent) -> BuiltVariants:
    """Build the selected variants; while another process builds one of them, the others are built here."""
    context = build_context(prepared, on_event)
    artifacts: dict[str, Built] = {}
    failed: dict[str, str] = {}

    def build_one(name: str) -> None:
        """Raises `TakenError` where another process builds the variant, which then comes last."""
        chain = prepared.chains[name]
        is_due = name in prepared.selected
        if not is_due and not cache.is_built(context.folder, ids.of_chain(prepared.source, chain, context)[-1]):
            return
        try:
            artifacts[name] = build.build(name, prepared.source, chain, context, waits=False)
        except locks.TakenError:
            raise
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[name] = journal.failure(f"building {name}", error)

    locks.each(prepared.chains, build_one, on_event, cache.WHY_WAIT)
    return BuiltVariants({name: artifacts[name] for name in prepared.chains if name in artifacts}, failed)


def build_context(prepared: Prepared, on_event: OnEvent) -> BuildContext:
    """Where and with what the variants of a prepared experiment are built."""
    return BuildContext(
        folder=prepared.variants,
        frames=prepared.frames,
        read=prepared.read,
        decoder=datasets.decoder_versions(),
        device=prepared.device,
        threads=prepared.threads,
        seed=prepared.settings.seed,
        on_event=on_event,
        experiment=prepared.name,
    )


def _settle(prepared: Prepared, artifacts: Mapping[str, Built], on_event: OnEvent) -> dict[str, str]:
    """Have kernels chosen for selected variants where this processor has none yet; the reasons of those that fail."""
    failed: dict[str, str] = {}
    for name, artifact in artifacts.items():
        if name not in prepared.selected:
            continue
        try:
            fidelity.settle(prepared, artifact, on_event)
        except Exception as error:
            failed[name] = journal.failure(f"choosing kernels for {name}", error)
    return failed
