"""What `palimpsest chapters` tells: the chapters, their parameters, and what each profile costs."""

import json
from typing import Any

from palimpsest.book import show
from palimpsest.book.contents import Book
from palimpsest.book.parameters import COMMON, Parameter, Profile, chapter_parameters, read_profiles
from palimpsest.core.results import plain


def overview(book: Book) -> dict[str, Any]:
    """The common parameters, and each chapter with its own and with its profiles, as JSON values.

    Raises:
        UserError: a notebook's parameters cell or the file of profiles is malformed.
    """
    written = book.written()
    profiles = read_profiles(book) if written else {}
    return {
        "common": [_parameter(p) for p in COMMON.values()],
        "chapters": [
            {
                "number": int(name.partition("_")[0]),
                "name": name,
                "title": spec.title,
                "written": name in written,
                "parameters": (
                    [_parameter(p) for p in chapter_parameters(book, name).values()]
                    if name in written
                    else []
                ),
                "profiles": {
                    key: _profile(profile) for key, profile in profiles.get(name, {}).items()
                },
            }
            for name, spec in book.specs.items()
        ],
    }


def render(found: dict[str, Any], form: str) -> str:
    """The overview as ``table`` (for a terminal) or ``json``."""
    if form == "json":
        return json.dumps(found, indent=2, ensure_ascii=False)
    parts = ["Common to all chapters", _table(found["common"])]
    for chapter in found["chapters"]:
        state = "" if chapter["written"] else " (not written yet)"
        parts.append(f"\n{chapter['name']}: {chapter['title']}{state}")
        if chapter["written"]:
            parts.append(_table(chapter["parameters"]))
            parts += [_cost(name, profile) for name, profile in chapter["profiles"].items()]
    return "\n".join(parts)


def _table(parameters: list[dict[str, Any]]) -> str:
    rows = [[f"  {p['name']}", p["type"], json.dumps(p["default"]), p["help"]] for p in parameters]
    return show.rows_text(["  parameter", "type", "default", "help"], rows)


def _cost(name: str, profile: dict[str, Any]) -> str:
    given = ", ".join(f"{key}={json.dumps(value)}" for key, value in profile["parameters"].items())
    cost = f"about {profile['seconds']:.0f} s and {profile['memory_mb']:.0f} MiB on two cores"
    return f"  {name}: {cost}; {given or 'the defaults'}"


def _parameter(p: Parameter) -> dict[str, Any]:
    return {"name": p.name, "type": p.type_name, "default": plain(p.default), "help": p.help}


def _profile(profile: Profile) -> dict[str, Any]:
    return {
        "seconds": profile.seconds,
        "memory_mb": profile.memory_mb,
        "parameters": plain(dict(profile.parameters)),
    }
