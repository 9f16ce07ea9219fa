"""Ensembles: their results are a function of their members', written once these are there.

They lie beside those of the members, and are scored and reported by the same code.
"""

from bench.pipeline.ensembles.joining import same_size
from bench.pipeline.ensembles.results import write
from bench.pipeline.ensembles.scored import with_members

__all__ = ["same_size", "with_members", "write"]
