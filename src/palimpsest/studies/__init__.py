"""The five chapters of the book, and which module holds the studies of each.

A chapter is *written* when its notebook exists; the command knows the names of all five.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class ChapterSpec:
    """A chapter's name (also its notebook's), title, and the module of its studies.

    ``module`` is imported only when the chapter runs, so that listing chapters stays cheap; it is
    ``None`` while the chapter is not written.
    """

    name: str
    title: str
    module: str | None = None


CHAPTERS: dict[str, ChapterSpec] = {
    spec.name: spec
    for spec in (
        ChapterSpec(
            "01_problem_setting", "The problem setting", "palimpsest.studies.problem_setting"
        ),
        ChapterSpec(
            "02_random_label_forgetting",
            "Random-label forgetting",
            "palimpsest.studies.random_label_forgetting",
        ),
        ChapterSpec("03_goldfish_loss", "The goldfish loss"),
        ChapterSpec("04_influence_functions", "Influence functions"),
        ChapterSpec("05_adversarial_evaluation", "Evaluation under adversarial prompts"),
    )
}
