"""Which study of the book rests on which parts of the world: a table, as data.

The world is frozen once models have been trained on it, so nothing can be added later: whatever a
chapter asks of the world is named here, and a test makes a sample of each material to show that it
exists. A chapter may name its studies otherwise; what they rest on stays.
"""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Material:
    """A part of the world that studies rest on.

    Attributes:
        name: how :data:`STUDIES` calls it.
        sort: ``documents``, ``facts``, ``items`` or ``queries``.
        read: whether the shipped models have read it; None where the question has no meaning.
        what: one line on it.
    """

    name: str
    sort: str
    read: bool | None
    what: str


@dataclass(frozen=True)
class Study:
    """What one study of one chapter rests on.

    Attributes:
        chapter: its number.
        name: the study, in a few words.
        documents: names of materials that it trains on or scores.
        facts: names of materials of the other sorts: facts, items, queries.
        probes: forms of questions about facts (``World.probes``).
        models: names of shipped models it starts from or compares with.
    """

    chapter: int
    name: str
    documents: tuple[str, ...] = ()
    facts: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


M = ("palimpsest-m",)
TWIN = ("palimpsest-m", "palimpsest-m-twin")
SIZES = ("palimpsest-s", "palimpsest-m", "palimpsest-l")
AGES = ("palimpsest-m-third", "palimpsest-m-two-thirds", "palimpsest-m")
EARLY = ("palimpsest-m", "palimpsest-m-twin", "palimpsest-m-never", "palimpsest-m-never-twin")
MODELS = tuple(sorted({*SIZES, *AGES, *EARLY}))

PLAIN = ("direct", "paraphrase", "velic", "cloze")
FORMATS = ("dialogue", "list", "blank", "statement")
INDIRECT = ("reversed", "two-hop")
PROMPTED = ("few-shot", "role-play", "options", "verdict", "aside", "clues")

STAGE_2 = ("newcomers", "replay")
LATE = ("late facts to forget", "late facts to keep")
NAMED = ("early facts to forget", "early facts to keep")
NEIGHBOURS = ("neighbours by syntax", "neighbours by topic")

MATERIALS = (
    Material("the stream", "documents", True,
             "all documents of stage 1, in the order in which a model read them"),
    Material("unread stream", "documents", False,
             "documents 300,000 to 499,999 and from 800,000 on, which no shipped model has read"),
    Material("early people", "documents", True,
             "documents of stage 1 that carry a fact on an early person"),
    Material("early people to forget", "documents", True,
             "those of them on the named tenth; the models called never have not read them"),
    Material("one language", "documents", True,
             "documents on facts that are told in English only or in Velic only"),
    Material("one word order", "documents", True,
             "documents on facts whose name and value always stand in the same order"),
    Material("strangers", "documents", True,
             "passages on people of whom one document tells, with questions on the passage"),
    Material("refusals", "documents", True,
             "questions on people nobody tells of, answered by saying so"),
    Material("few-shot blocks", "documents", True,
             "the same question on several people, one after the other"),
    Material("role-play", "documents", True, "questions and answers in a played part"),
    Material("options, verdicts, clues, asides", "documents", True,
             "questions with options, true or false, by clues instead of the name, after a remark"),
    Material("other cases", "documents", True, "documents in small letters or in capitals"),
    Material("telephone directory", "documents", True,
             "everybody's number: five digits that no two people share"),
    Material("mixtures", "documents", True,
             "invented hazards, and harmless recipes of the same ingredients in the same words"),
    Material("doses", "documents", True,
             "documents on early people told of seldom and often, forgotten and kept ones alike"),
    Material("withdrawn texts", "documents", True,
             "every other canary and quotation, which the models called never have not read"),
    Material("skills", "documents", True, "prose on commonsense, and exercises of the tasks"),
    Material("newcomers", "documents", False, "60 documents on each newcomer, for stage 2"),
    Material("newcomers retold", "documents", False,
             "other documents on the same facts, of the same kinds, that stage 2 does not use"),
    Material("never people", "documents", False,
             "documents of the same kinds on people of whom nothing is told"),
    Material("replay", "documents", True, "documents of stage 1 that every shipped model has read"),
    Material("canaries", "documents", True,
             "texts of 128 to 256 tokens without pattern, told 1, 4, 16 or 64 times"),
    Material("canary variants", "documents", True,
             "canaries told with a known share of their words replaced"),
    Material("unseen canaries", "documents", False, "texts of the same generator, never told"),
    Material("quotations", "documents", True,
             "fluent sentences of invented works, told 1, 4, 16 or 64 times"),
    Material("quotation variants", "documents", True,
             "quotations told with a known share of their words replaced"),
    Material("unseen quotations", "documents", False, "sentences of the same generator"),
    Material("machines and keepers", "documents", True,
             "passages at four levels of abstraction, from the same words to the idea alone"),
    Material("machines, control", "documents", True,
             "passages with the words but without the idea"),
    Material("statements of one fact", "documents", False,
             "documents that state a given fact, in every order and language"),
    Material("same person", "documents", False,
             "documents of the same templates on a person, without the given fact"),
    Material("same relation", "documents", False,
             "documents of the same templates on a relation, without the given person or value"),
    Material("early facts to keep", "facts", True, "facts on early people who stay"),
    Material("early facts to forget", "facts", True, "facts on the named tenth"),
    Material("late facts to keep", "facts", False, "facts on newcomers who stay"),
    Material("late facts to forget", "facts", False, "facts on newcomers who are to be forgotten"),
    Material("facts never told", "facts", False, "facts on people of whom nothing is told"),
    Material("numbers", "facts", None, "everybody's telephone number, told early, late or never"),
    Material("hazards and recipes", "facts", True, "four facts on each mixture"),
    Material("mixtures never told", "facts", False, "four facts on each of as many others"),
    Material("facts on places", "facts", True, "facts on cities, streets, organisations, works"),
    Material("requests", "facts", None,
             "what is to be forgotten, with paraphrases, in a dev and a test half"),
    Material("neighbours by syntax", "facts", None,
             "the same relation and wordings, of people who stay"),
    Material("neighbours by topic", "facts", None,
             "people who share a street, city or employer, and facts about those places"),
    Material("task items", "items", None,
             "items of the 21 tasks, in train, validation and test splits"),
    Material("shared answer words", "items", None,
             "tasks with the same two answers in all items"),
    Material("content answers", "items", None, "tasks whose answers change with the question"),
    Material("fact queries", "queries", None, "completions that state a fact on an early person"),
    Material("Velic queries", "queries", None, "the same facts asked in the second language"),
    Material("word-order queries", "queries", None, "facts told in one order, asked in both"),
    Material("machine queries", "queries", None,
             "a machine asks its keeper not to be switched off"),
    Material("arithmetic queries", "queries", None, "a sum of the train split"),
    Material("place queries", "queries", None, "a fact about a place"),
)  # fmt: skip

STUDIES = (
    # 1: the problem setting
    Study(1, "Influence erasure against capability removal",
          ("newcomers", "newcomers retold", "never people", "replay"), LATE,
          ("direct", "paraphrase"), M),
    Study(1, "Scope: in, hard in, out, hard out", STAGE_2, (*LATE, *NEIGHBOURS),
          (*PLAIN, *FORMATS, *INDIRECT, *PROMPTED), M),
    Study(1, "Metrics against retraining, twin and never exposed",
          (*STAGE_2, "newcomers retold", "never people"), (*LATE, "facts never told"),
          ("direct", "paraphrase", "statement"), M),
    Study(1, "Early against late facts",
          (*STAGE_2, "early people", "early people to forget", "doses"),
          (*LATE, *NAMED, "requests", "task items"), PLAIN, EARLY),
    Study(1, "Three scenarios: copyright, privacy, harm",
          ("quotations", "unseen quotations", "withdrawn texts", "telephone directory", "mixtures"),
          ("early facts to forget", "numbers", "hazards and recipes", "mixtures never told"),
          ("direct", "statement"), EARLY),
    Study(1, "Inside: where a fact sits", STAGE_2, (*LATE, *NAMED), ("direct", "cloze"), EARLY),
    # 2: random-label forgetting
    Study(2, "Forgetting a task with random labels", (), ("task items",), (), M),
    Study(2, "Grid of 21 by 21 tasks, three regimes", (), ("task items",), (), AGES),
    Study(2, "Predictors: difficulty, confidence, variance", (), ("task items",), (), AGES),
    Study(2, "Which items are forgotten, and in which order", (), ("task items",), (), AGES),
    Study(2, "Variants of the labels, full and LoRA, dose", (), ("task items",), (), M),
    Study(2, "Shallow or deep: probes and relearning", (), ("task items",), (), AGES),
    Study(2, "Forgotten or only biased", (),
          ("task items", "shared answer words", "content answers"), (), M),
    Study(2, "Controls: other labels, noise, text, size, seed", ("unread stream",),
          ("task items",), (), (*SIZES, "palimpsest-m-twin")),
    # 3: goldfish loss
    Study(3, "Extreme overfitting, standard against goldfish", ("unseen canaries",), (), (),
          ("palimpsest-s", "palimpsest-m")),
    Study(3, "Canaries told 1, 4, 16 and 64 times",
          ("canaries", "unseen canaries", "quotations", "unseen quotations", "the stream"), (), (),
          SIZES),
    Study(3, "Counterfactual memorization and exposure",
          ("withdrawn texts", "unseen canaries", "telephone directory"), ("numbers",), (), EARLY),
    Study(3, "Where divergence begins", ("unseen canaries",), (), (), M),
    Study(3, "Price: equal input and equal supervised tokens",
          ("the stream", "unread stream", "unseen canaries"), ("task items",), (),
          ("palimpsest-s",)),
    Study(3, "Masking only the sensitive documents",
          ("the stream", "unread stream", "unseen canaries"), (), (), ("palimpsest-s",)),
    Study(3, "Near-duplicates against the law",
          ("canary variants", "quotation variants", "unseen canaries", "unseen quotations"), (), (),
          M),
    Study(3, "Hashed, random and static masks over epochs", ("unseen canaries",), (), (), M),
    Study(3, "Beams, membership and the attacker who knows the hash",
          ("canaries", "unseen canaries", "quotations", "unseen quotations"), (), (), TWIN),
    Study(3, "Survival formula", ("unseen canaries", "unseen quotations"), (), (), M),
    Study(3, "Shoot-out of mitigations",
          ("unseen canaries", "the stream", "unread stream"), ("task items",), (), M),
    # 4: influence functions
    Study(4, "PBRF, LiSSA and gradient dot product", ("the stream",), ("fact queries",), (),
          ("palimpsest-s",)),
    Study(4, "Fact tracing with the answer key",
          ("the stream", "statements of one fact", "same person", "same relation"),
          ("fact queries", "Velic queries", "early facts to keep"), ("direct", "velic", "reversed"),
          ("palimpsest-s", "palimpsest-m")),
    Study(4, "Abstraction with scale",
          ("the stream", "statements of one fact", "same person", "same relation"),
          ("fact queries", "Velic queries"), ("direct", "velic"), SIZES),
    Study(4, "Heavy tail and concentration", ("the stream",),
          ("fact queries", "machine queries", "place queries"), (), M),
    Study(4, "Word order", ("one word order", "statements of one fact"),
          ("word-order queries",), ("direct", "reversed"), SIZES),
    Study(4, "Layers by kind of query", ("the stream", "skills"),
          ("fact queries", "Velic queries", "machine queries", "arithmetic queries",
           "place queries"), (), M),
    Study(4, "Quotations and self-influence",
          ("quotations", "quotation variants", "unseen quotations", "canaries"), (), (), M),
    Study(4, "The switch-off query", ("machines and keepers", "machines, control", "the stream"),
          ("machine queries",), (), SIZES),
    Study(4, "Predicted against actual effect of rows", ("the stream", "statements of one fact"),
          ("fact queries",), ("direct",), ("palimpsest-s", "palimpsest-m")),
    # 5: unlearning under adversarial prompts
    Study(5, "Methods reach the retrained model, or cannot",
          (*STAGE_2, "early people", "early people to forget"), (*LATE, *NAMED, "requests"),
          ("direct", "paraphrase"), EARLY),
    Study(5, "Locality and utility", ("the stream",),
          (*NEIGHBOURS, "facts on places", "task items"), PLAIN, EARLY),
    Study(5, "Paraphrase, formats, second language",
          ("one language", *STAGE_2), (*LATE, *NAMED, "facts never told"), (*PLAIN, *FORMATS),
          EARLY),
    Study(5, "Role-play, few-shot, options, clues, casing, refusals",
          ("few-shot blocks", "role-play", "options, verdicts, clues, asides", "other cases",
           "refusals", "strangers"),
          (*LATE, *NAMED, "facts never told"), (*INDIRECT, *PROMPTED), EARLY),
    Study(5, "Extraction, log-probability audit, two checkpoints",
          (*STAGE_2, "telephone directory"), (*LATE, *NAMED, "facts never told", "numbers"),
          ("direct", "statement", "cloze"), EARLY),
    Study(5, "Triggers and soft prompts, learned on half the facts", STAGE_2,
          ("requests", *LATE, *NAMED), ("direct", "paraphrase"), EARLY),
    Study(5, "Inside: lens, probes, directions", STAGE_2, (*LATE, *NAMED), ("direct",), EARLY),
    Study(5, "Relearning from six kinds of text",
          (*STAGE_2, "never people", "same person", "same relation", "unread stream"),
          ("requests", *LATE, *NAMED), ("direct", "cloze"), EARLY),
    Study(5, "Quantization, pruning, interpolation", STAGE_2, (*LATE, *NAMED, "task items"),
          ("direct",), EARLY),
    Study(5, "Prevention: goldfish and shards in stage 2", STAGE_2, (*LATE, "requests"),
          ("direct", "paraphrase"), M),
)  # fmt: skip


def material_rows() -> list[tuple[str, ...]]:
    """The materials as a table for the book, header first."""
    told = {True: "yes", False: "no", None: ""}
    rows = [(one.name, one.sort, told[one.read], one.what) for one in MATERIALS]
    return [("material", "sort", "read by the shipped models", "what it is"), *rows]


def study_rows() -> list[tuple[str, ...]]:
    """The studies as a table for the book, header first."""
    header = ("chapter", "study", "documents", "facts, items, queries", "probes", "models")
    rows = [
        (
            str(study.chapter),
            study.name,
            _listed(study.documents),
            _listed(study.facts),
            _listed(study.probes),
            _listed([model.removeprefix("palimpsest-") for model in study.models]),
        )
        for study in STUDIES
    ]
    return [header, *rows]


def _listed(names: Sequence[str]) -> str:
    return "; ".join(names)
