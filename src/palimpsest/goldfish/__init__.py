"""Goldfish loss (arXiv:2406.10209): masks that leave some tokens out of the loss, and the loss.

A model that is never asked for every k-th or so token of a text, the same ones each time the text
comes by, has to guess at them when it recites, and a wrong guess leads it away from the text.
"""
