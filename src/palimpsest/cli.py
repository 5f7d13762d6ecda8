"""The ``palimpsest`` command: parses, calls, reports.

Exit codes: 0 done; 1 a chapter failed, a site had warnings, or ``doctor`` found something broken;
2 bad usage or input; 130 or 143 stopped by a signal.
"""

import argparse
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from palimpsest import __version__
from palimpsest.core.errors import UserError, nearest

EDITIONS = ("reader", "student", "lecturer")
FORMATS = ("table", "json", "markdown")
COMMON_OPTIONS = ("model", "profile", "seed", "device", "dtype")
STOPPED = {signal.SIGINT: 130, signal.SIGTERM: 143}


class _Stopped(KeyboardInterrupt):
    """The process was asked to end (SIGTERM); handled like Ctrl-C."""


class _Parser(argparse.ArgumentParser):
    """Says what was wrong in one paragraph, as every other mistake is reported."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[0].upper()}{message[1:]}. See `{self.prog} --help`.")


def main(argv: Sequence[str] | None = None, *, book: Any = None) -> int:
    """Run the command; returns the exit code.

    Args:
        argv: the arguments, without the program's name; those of the process by default.
        book: the book to work on (:class:`palimpsest.book.contents.Book`), if not this one.
    """
    before = {}
    try:
        args = _parse(sys.argv[1:] if argv is None else list(argv))
        before = _catch_signals()
        return args.command(args, book)
    except UserError as error:
        print(f"palimpsest: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("palimpsest: stopped.", file=sys.stderr)
        return STOPPED[signal.SIGTERM if isinstance(stop, _Stopped) else signal.SIGINT]
    except BrokenPipeError:
        # The reader of our output (`| head`) has seen enough.
        sys.stderr.close()
        return 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _catch_signals() -> dict[signal.Signals, Any]:
    """Let both signals end the command in an orderly way, also where it was started in the
    background, for which a shell has Ctrl-C ignored; returns the handlers before."""

    def stop(number: int, frame: Any) -> NoReturn:
        raise _Stopped if number == signal.SIGTERM else KeyboardInterrupt

    try:
        return {number: signal.signal(number, stop) for number in STOPPED}
    except ValueError:  # not in the main thread
        return {}


# ---------------------------------------------------------------------------------------------
# Arguments


def _parse(argv: list[str]) -> argparse.Namespace:
    parser, commands = _parser()
    for words, known in ((argv, commands), *((argv[1:], k) for k in [_nested(argv, commands)])):
        word = next(iter(words), None)
        if known and word is not None and not word.startswith("-") and word not in known:
            raise UserError(f"There is no command '{word}'; {nearest(word, known)}")
    args, rest = parser.parse_known_args(argv)
    if rest:
        options = sorted({word for word in _options(parser, argv) if word.startswith("--")})
        raise UserError(f"'{rest[0]}' is not understood; {nearest(rest[0], options)}")
    if "command" not in args:
        missing = next(iter(argv), "palimpsest")
        raise UserError(f"'{missing}' needs a command; {nearest('', _nested(argv, commands))}")
    return args


def _options(parser: argparse.ArgumentParser, argv: list[str]) -> list[str]:
    """The options of the command that ``argv`` names."""
    found: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            inner = action.choices.get(argv[0]) if argv else None
            return _options(inner, argv[1:]) if inner else found
        found += action.option_strings
    return found


def _nested(argv: list[str], commands: dict[str, list[str]]) -> list[str]:
    return commands.get(argv[0], []) if argv else list(commands)


def _choice(what: str, known: Sequence[str]) -> Callable[[str], str]:
    def check(word: str) -> str:
        if word not in known:
            raise UserError(f"There is no {what} '{word}'; {nearest(word, known)}")
        return word

    return check


def _parser() -> tuple[_Parser, dict[str, list[str]]]:
    parser = _Parser(
        prog="palimpsest",
        description="Run the book's chapters on a model, and build the book about what was found.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"palimpsest {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)

    def add(name: str, command: Callable[..., int], text: str, group: Any = commands) -> _Parser:
        made = group.add_parser(name, help=text, description=text, allow_abbrev=False)
        made.set_defaults(command=command)
        return made

    run = add("run", _run, "Execute chapters on a model into a run folder.")
    run.add_argument(
        "chapters",
        nargs="*",
        metavar="CHAPTER",
        help="number, name or start of a name; all if none",
    )
    run.add_argument("--model", metavar="ID|PATH", help="shipped name, folder or hub id")
    run.add_argument("--profile", help="smoke, quick (default), standard or paper")
    run.add_argument("--params", metavar="FILE", type=Path, help="YAML or JSON file of parameters")
    run.add_argument(
        "--set", action="append", default=[], metavar="[CHAPTER.]PARAM=VALUE", help="one parameter"
    )
    run.add_argument("--seed", metavar="N", help="seed of everything random (default 0)")
    run.add_argument("--device", help="auto (default), cpu or cuda")
    run.add_argument("--dtype", help="auto (default), float32 or bfloat16")
    run.add_argument(
        "--out", metavar="DIR", type=Path, help="run folder; runs/<model>-<profile>-<seed>"
    )
    run.add_argument("--resume", action="store_true", help="continue the run in that folder")

    build = add("build", _build, "Build the book's site from a run, without executing anything.")
    build.add_argument("--run", metavar="DIR", type=Path, help="run folder; data/reference")
    build.add_argument(
        "--edition",
        type=_choice("edition", EDITIONS),
        default="reader",
        help="reader (solutions folded), student (none) or lecturer (open, with notes)",
    )
    build.add_argument("--out", metavar="DIR", type=Path, help="folder of the site; below _build/")

    claims = add("claims", _claims, "List the claims and verdicts of runs.")
    claims.add_argument("runs", nargs="+", metavar="DIR", type=Path)
    claims.add_argument("--format", type=_choice("format", FORMATS), default="table")

    compare = add("compare", _compare, "Set the values and verdicts of runs side by side.")
    compare.add_argument("runs", nargs="+", metavar="DIR", type=Path)
    compare.add_argument("--out", metavar="DIR", type=Path, help="also write the tables there")

    chapters = add("chapters", _chapters, "List the chapters, their parameters and their cost.")
    chapters.add_argument("--format", type=_choice("format", FORMATS[:2]), default="table")

    doctor = add("doctor", _doctor, "Say what is installed, missing or stale; what a run costs.")
    doctor.add_argument("--profile", help="only the cost of this profile")
    doctor.add_argument("--model", metavar="ID", help="also see whether this model can be used")

    nested = {}
    for name, text, parts in (
        ("world", "The micro-world and the shipped models, from their seed.", _WORLD),
        ("cache", "The cache of study cells.", _CACHE),
    ):
        made = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        group = made.add_subparsers(title="commands", metavar="COMMAND", parser_class=_Parser)
        for part, (command, summary, arguments) in parts.items():
            sub = add(part, command, summary, group)
            for flags, options in arguments:
                sub.add_argument(*flags, **options)
        nested[name] = list(parts)
    return parser, {**{name: [] for name in commands.choices}, **nested}


# ---------------------------------------------------------------------------------------------
# Commands


def _this(book: Any) -> Any:
    from palimpsest.book.contents import this_book

    return book or this_book()


def _run(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book import runs
    from palimpsest.book.console import Console

    book = _this(book)
    plan = runs.plan(
        book,
        args.chapters,
        options={name: getattr(args, name) for name in COMMON_OPTIONS},
        params=args.params,
        settings=args.set,
        out=args.out,
        resume=args.resume,
    )
    console = Console(sys.stderr)
    for name in plan.done:
        console.line(f"{name} is up to date.")
    again = f"Resume with:\n  {runs.resume_command(plan)}"
    try:
        outcomes = runs.execute(plan, console)
    except KeyboardInterrupt:
        console.clear()
        print(f"{again}", file=sys.stderr)
        raise
    failed = [outcome for outcome in outcomes if outcome.failure]
    for outcome in failed:
        print(runs.describe_failure(plan, outcome), file=sys.stderr)
    if failed:
        print(again, file=sys.stderr)
    print(f"{len(plan.chapters) - len(failed)} of {len(plan.chapters)} chapters in {plan.folder}")
    return 1 if failed else 0


def _build(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book.build import build

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    site = build(_this(book), run=args.run, edition=args.edition, out=args.out, say=say)
    for warning in site.warnings:
        print(warning, file=sys.stderr)
    if site.warnings:
        print(f"palimpsest: {len(site.warnings)} warnings, above.", file=sys.stderr)
    print(f"Open {site.index}")
    return 1 if site.warnings else 0


def _claims(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book.claims import ledger, render

    print(render(ledger(args.runs), args.format))
    return 0


def _compare(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book.compare import compare

    comparison = compare(args.runs)
    if args.out is not None:
        comparison.write(args.out)
    print(comparison.text())
    return 0


def _chapters(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book.overview import overview, render

    print(render(overview(_this(book)), args.format))
    return 0


def _doctor(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.book.doctor import examine

    findings = examine(_this(book), profile=args.profile, model=args.model)
    for finding in findings:
        print(finding)
    return 1 if any(finding.broken for finding in findings) else 0


def _world_make(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.world import commands

    print(commands.make(args.out, args.seed, args.size))
    return 0


def _world_train(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.world import commands

    names = commands.all_models() if args.all else args.models or commands.DEFAULT_MODELS
    print(commands.train(names, args.out, args.tokens, args.device, args.resume, args.jobs))
    return 0


def _world_card(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.world import commands

    print(commands.measure(args.model, args.device))
    return 0


def _world_ablate(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.world import commands

    print(commands.ablate(args.out, args.tokens, args.jobs))
    return 0


def _world_show(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.world import commands

    print(commands.show(args.person, args.task, args.seed, args.size))
    return 0


def _cache_show(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.core.cache import Cache

    print(Cache().show())
    return 0


def _cache_clear(args: argparse.Namespace, book: Any) -> int:
    from palimpsest.core.cache import Cache

    cache = Cache()
    freed = cache.clear()
    print(f"{cache.folder}: {freed / 1024**2:.1f} MiB freed")
    return 0


def _whole(word: str) -> int:
    if not word.isdecimal():
        raise UserError(f"'{word}' is not a whole number that is zero or more.")
    return int(word)


_SEED = (["--seed"], {"metavar": "N", "type": _whole, "default": 0, "help": "the world's (0)"})
_SIZE = (["--size"], {"metavar": "SIZE", "default": "m", "help": "of the world (m)"})
_DEVICE = (["--device"], {"default": "auto", "help": "auto (default), cpu or cuda"})
_JOBS = (["--jobs"], {"metavar": "N", "type": _whole, "help": "how many at once; one a core"})
_OUT = (["--out"], {"metavar": "DIR", "type": Path, "help": "instead of data/"})
# Subcommand -> (function, summary, its arguments as flags and options).
_WORLD: dict[str, Any] = {
    "make": (
        _world_make, "Write the world and the tasks from their seed.", [_OUT, _SEED, _SIZE],
    ),
    "train": (
        _world_train,
        "Train shipped models from scratch.",
        [
            (["models"], {"nargs": "*", "metavar": "MODEL", "help": "palimpsest-m if none"}),
            (["--all"], {"action": "store_true", "help": "train all that are shipped"}),
            _OUT,
            (["--tokens"], {"metavar": "N", "type": _whole, "help": "tokens to train on"}),
            _DEVICE,
            _JOBS,
            (["--resume"], {"action": "store_true", "help": "continue stopped trainings"}),
        ],
    ),
    "card": (
        _world_card,
        "Measure a shipped model on the tasks again and rewrite its card.",
        [(["model"], {"nargs": "?", "default": "palimpsest-m", "metavar": "MODEL|DIR"}), _DEVICE],
    ),
    "ablate": (
        _world_ablate,
        "Short trainings that vary one choice of the recipe at a time.",
        [
            (["--out"], {"metavar": "FILE", "type": Path, "help": "data/world/ablations.csv"}),
            (["--tokens"], {"metavar": "N", "type": _whole, "help": "of each training (1500000)"}),
            _JOBS,
        ],
    ),
    "show": (
        _world_show,
        "A tour of the world, or all about one person or task.",
        [
            (["--person"], {"metavar": "NAME", "help": "a full name"}),
            (["--task"], {"metavar": "NAME"}),
            _SEED,
            _SIZE,
        ],
    ),
}  # fmt: skip
_CACHE: dict[str, Any] = {
    "show": (_cache_show, "What is kept, how large it is, and what it saved.", []),
    "clear": (_cache_clear, "Delete every kept value; the next run computes them again.", []),
}


if __name__ == "__main__":
    sys.exit(main())
