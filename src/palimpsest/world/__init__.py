"""The micro-world: a small invented universe with facts, two languages, documents and tasks.

Everything follows from a seed. The models that ship with the book have read nothing else, so that
it is known exactly what they were told, how often, in which words and in which language.
"""

from palimpsest.world.universe import World

__all__ = ["World"]
