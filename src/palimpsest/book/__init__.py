"""Runs, the site built from them, and what a chapter's notebook calls.

A book is prose plus a run. The prose is ``book/*.md`` and ``chapters/*.ipynb`` (no outputs); a
run is a folder that ``palimpsest run`` made on one model. Nothing here does an experiment: that is
the work of :mod:`palimpsest.studies`.
"""
