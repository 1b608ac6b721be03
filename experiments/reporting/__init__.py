"""From records to a report: tables, figures, verdicts in words."""
