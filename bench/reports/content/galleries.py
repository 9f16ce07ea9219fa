"""What galleries are called."""

from __future__ import annotations

from bench.records import Outcome

TITLES: dict[Outcome, str] = {
    "true_positives": "Resolved fakes (true positives)",
    "false_negatives": "Missed fakes (false negatives)",
    "false_positives": "Reals labelled fake (false positives)",
    "true_negatives": "Confirmed reals (true negatives)",
}
