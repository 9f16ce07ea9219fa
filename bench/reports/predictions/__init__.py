"""The summary of predictions on disk: a page, the same as Markdown, and their pictures."""

from bench.reports.predictions.write import write

__all__ = ["write"]
