"""Second stage: build the variants; one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from bench import datasets, locks
from bench.pipeline import fidelity, journal
from bench.pipeline.prepared import Prepared, Setup
from bench.records import Built, OnEvent
from bench.variants import build, cache, ids
from bench.variants.context import BuildContext

VariantKey: TypeAlias = tuple[str, str]
"""A detector and one of its variants, by their names."""


@dataclass(frozen=True)
class BuiltVariants:
    """The artifacts of variants, and for each variant that failed the reason."""

    artifacts: Mapping[VariantKey, Built]
    failed: Mapping[VariantKey, str]


def build_variants(prepared: Prepared, on_event: OnEvent) -> BuiltVariants:
    """Build the selected variants, and have kernels chosen for them on this processor.

    Of the other variants, the artifacts that exist are returned too.
    """
    built = build_artifacts(prepared, on_event)
    return BuiltVariants(built.artifacts, {**built.failed, **_settle(prepared, built.artifacts, on_event)})


def build_artifacts(prepared: Prepared, on_event: OnEvent) -> BuiltVariants:
    """Build the selected variants; while another process builds one of them, the others are built here."""
    detectors = prepared.by_detector
    contexts = {detector: build_context(setup, on_event) for detector, setup in detectors.items()}
    artifacts: dict[VariantKey, Built] = {}
    failed: dict[VariantKey, str] = {}

    def build_one(key: VariantKey) -> None:
        """Raises `TakenError` where another process builds the variant, which then comes last."""
        detector, name = key
        setup, context = detectors[detector], contexts[detector]
        chain = setup.chains[name]
        is_due = name in setup.selected
        if not is_due and not cache.is_built(context.folder, ids.of_chain(setup.source, chain, context)[-1]):
            return
        try:
            artifacts[key] = build.build(setup.title(name), setup.source, chain, context, waits=False)
        except locks.TakenError:
            raise
        except Exception as error:
            # Weights that cannot be used are bad input; a step that fails is that variant's outcome.
            if not chain:
                raise
            failed[key] = journal.failure(f"building {setup.title(name)}", error)

    keys = [(detector, name) for detector, setup in detectors.items() for name in setup.chains]
    locks.each(keys, build_one, on_event, cache.WHY_WAIT)
    return BuiltVariants({key: artifacts[key] for key in keys if key in artifacts}, failed)


def build_context(setup: Setup, on_event: OnEvent) -> BuildContext:
    """Where and with what the variants of a detector are built."""
    return BuildContext(
        folder=setup.variants,
        frames=setup.built_with,
        read=setup.read,
        decoder=datasets.decoder_versions(),
        device=setup.device,
        threads=setup.threads,
        seed=setup.settings.seed,
        on_event=on_event,
        experiment=setup.name,
    )


def _settle(prepared: Prepared, artifacts: Mapping[VariantKey, Built], on_event: OnEvent) -> dict[VariantKey, str]:
    """Have kernels chosen for selected variants where this processor has none yet; the reasons of those that fail."""
    detectors, failed = prepared.by_detector, dict[VariantKey, str]()
    for (detector, name), artifact in artifacts.items():
        setup = detectors[detector]
        if name not in setup.selected:
            continue
        try:
            fidelity.settle(setup, artifact, on_event)
        except Exception as error:
            failed[detector, name] = journal.failure(f"choosing kernels for {setup.title(name)}", error)
    return failed
