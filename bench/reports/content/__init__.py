"""What the reports say: tables, verdicts, sentences."""
