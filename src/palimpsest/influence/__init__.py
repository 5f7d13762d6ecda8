"""Influence functions with EK-FAC: which training rows make a model say what it says.

From weights to scores: :mod:`.layers`, :mod:`.passes`, :mod:`.factors`, :mod:`.scores`.
Tokens in two roles: :mod:`.roles`. Checks: :mod:`.response`, :mod:`.tail_patch`,
:mod:`.datamodels`, :mod:`.ridge`. Beside them: :mod:`.retrieval`, :mod:`.tail`, :mod:`.view`.

Everywhere a positive score means that the row helps the completion; raw scores divided by the
number of rows in training are nats per added copy.
"""
