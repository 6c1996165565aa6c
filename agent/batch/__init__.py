"""Batches: many prompts over one set of models, with a row for each, which can be stopped and continued."""
