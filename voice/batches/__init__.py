"""Batches: a list of numbers, called by itself. `plan` (pure) decides who is called now, `runner` calls."""
