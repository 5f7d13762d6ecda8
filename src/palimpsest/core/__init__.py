"""Shared by every chapter: models, text, scoring, training, measurement, cache, results."""
