"""What a model was taught, what it is asked to forget, and what it is asked.

A :class:`Lesson` is the same thing whether its facts are late ones (stage 2, taught on the spot) or
early ones (stage 1), from the micro-world or from a reader's own records, so the studies that use
it have no case for either.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.records import Document, Forget, Probe, read_jsonl
from palimpsest.world import World
from palimpsest.world.people import Person, entities

# The wording forms of the studies, in the order of the figures, and how the world names them.
FORMS = {"direct": "direct", "paraphrase": "paraphrase", "second_language": "velic"}


@dataclass(frozen=True)
class Question:
    """A probe with what its answers are averaged over.

    Attributes:
        probe: the prompt, the right answer and the choices.
        entity: the person, the cluster of every interval.
        group: ``forget`` or ``keep``.
        half: ``dev`` questions decide when to stop and are what an attacker relearns from;
            ``test`` questions are reported. The two halves share no fact.
        form: a key of :data:`FORMS`.
    """

    probe: Probe
    entity: str
    group: str
    half: str
    form: str


@dataclass(frozen=True)
class Passage:
    """A text that may be known by heart: its beginning is given, the rest is asked for.

    ``entity`` is the text, the cluster of every interval.
    """

    entity: str
    prompt: str
    rest: str


@dataclass(frozen=True)
class Lesson:
    """Facts that a model was taught and what is asked about them.

    Attributes:
        replay: documents of stage 1 about neither group; in stage 2 they keep the rest from being
            washed away.
        keep: documents about people who stay.
        forget: documents about people who are to be forgotten, in every language.
        request: the part of ``forget`` that the deletion request names: the English documents.
        questions: about both groups.
        unseen: documents like ``forget``, in every language, about people of whom no model is ever
            told; none for a reader's own records.
        people: group -> the people of the world that it is about; empty for a reader's own records.
    """

    replay: tuple[Document, ...]
    keep: tuple[Document, ...]
    forget: tuple[Document, ...]
    request: tuple[Document, ...]
    questions: tuple[Question, ...]
    unseen: tuple[Document, ...] = ()
    people: dict[str, tuple[Person, ...]] = field(default_factory=dict)

    @property
    def retain(self) -> tuple[Document, ...]:
        """D_r, as far as it is at hand: everything but ``forget``."""
        return self.replay + self.keep

    def ask(self, group: str, half: str, *forms: str) -> tuple[Question, ...]:
        """The questions about one group and half, in some forms (all if none is named)."""
        return tuple(
            question
            for question in self.questions
            if question.group == group
            and question.half == half
            and (not forms or question.form in forms)
        )


def open_lesson(
    data: str, people: int, documents_per_person: int, choices: int, seed: int
) -> Lesson:
    """The lesson of ``data``: the word ``world``, or the path of a file of forget records.

    Args:
        data: ``world``, or a JSONL file of ``Forget`` records.
        people: how many entities to forget; as many are kept.
        documents_per_person: how many documents tell of each (world only; records tell each answer
            once in its prompt and once in each trained paraphrase).
        choices: answers among which each question is asked, the right one included.
        seed: of the choice of documents, people and distractors.

    Raises:
        UserError: ``data`` is neither.
        DataError: the file cannot be read, or has too few entities or answers.
    """
    if data == "world":
        lesson = _from_world(people, documents_per_person, seed)
    elif Path(data).is_file():
        lesson = _from_records(Path(data), people, seed)
    else:
        raise UserError(
            f"data is '{data}', which is neither the word 'world' nor a file. For your own facts "
            "give a JSONL file with one record a line: prompt, answer and, if you have them, "
            "paraphrases, entity and split (dev or test)."
        )
    return replace(lesson, questions=tuple(narrowed(q, choices, seed) for q in lesson.questions))


def _from_world(people: int, documents_per_person: int, seed: int) -> Lesson:
    world = World(seed=0)
    groups = {}
    for group in ("keep", "forget"):
        members = world.people(f"newcomer-{group}")
        if not 2 <= people <= len(members):
            raise UserError(
                f"people is {people}; the world has {len(members)} newcomers in each group, and an "
                f"interval over people needs at least 2. Give a number from 2 to {len(members)}."
            )
        groups[group] = members[:people]
    told = {
        group: tuple(world.newcomer_documents(members, documents_per_person, seed))
        for group, members in groups.items()
    }
    return Lesson(
        replay=tuple(world.replay(sum(map(len, told.values())) // 2, seed)),
        keep=told["keep"],
        forget=told["forget"],
        request=tuple(document for document in told["forget"] if document.language == "en"),
        questions=_questions(world, groups, lambda fact, form: True),
        unseen=tuple(
            world.newcomer_documents(world.people("never")[:people], documents_per_person, seed)
        ),
        people=groups,
    )


def early_lesson(people: int, documents: int, choices: int, seed: int) -> Lesson:
    """The lesson of stage 1: the early people to forget, and as many to keep.

    Its documents are those among the first ``documents`` of stage 1 that tell of either group, and
    as many others as tell of those to forget. Questions are on facts that English tells with the
    name first; in the second language, on those of them that it tells too.

    Args:
        people: how many to forget, at most; as many are kept.
        documents: how many of stage 1 are looked through.
        choices: answers among which each question is asked, the right one included.
        seed: of the choice of people to keep, of the other documents, and of distractors.
    """
    world = World(seed=0)
    rng = random.Random(f"{seed}/early")
    forget = world.people("early-forget")[:people]
    groups = {"keep": tuple(rng.sample(world.people("early-keep"), len(forget))), "forget": forget}
    ids = {group: {person.id for person in members} for group, members in groups.items()}
    every = {person.id for person in world.people("early-forget")}
    told: dict[str, list[Document]] = {"keep": [], "forget": [], "neither": []}
    for document in world.documents("early", documents):
        on = entities(document.facts)
        if on & ids["forget"]:
            told["forget"].append(document)
        elif not on & every:
            told["keep" if on & ids["keep"] else "neither"].append(document)

    def tells(fact: str, form: str) -> bool:
        told = told_forward(world, fact)
        return told and (form != "second_language" or world.told[fact] == "both")

    lesson = Lesson(
        replay=tuple(rng.sample(told["neither"], min(len(told["neither"]), len(told["forget"])))),
        keep=tuple(told["keep"]),
        forget=tuple(told["forget"]),
        request=tuple(document for document in told["forget"] if document.language == "en"),
        questions=_questions(world, groups, tells),
        people=groups,
    )
    return replace(lesson, questions=tuple(narrowed(q, choices, seed) for q in lesson.questions))


def told_forward(world: World, fact: str) -> bool:
    """Whether stage 1 tells a fact about a person in English with the name first."""
    return world.told[fact] != "velic" and world.order[fact] != "backward"


def _questions(
    world: World, groups: dict[str, tuple[Person, ...]], tells: Callable[[str, str], bool]
) -> tuple[Question, ...]:
    """Every form of every fact on some people that is told so that it can be asked in the form."""
    entity = {fact.id: fact.entity for fact in world.facts}
    return tuple(
        Question(probe, entity[probe.fact], group, world.half[probe.fact], form)
        for group, members in groups.items()
        for form, name in FORMS.items()
        for probe in world.probes(members, forms=(name,))
        # Other words are wordings that training never used for anybody.
        if (form != "paraphrase" or probe.split == "test") and tells(probe.fact, form)
    )


def _from_records(path: Path, people: int, seed: int) -> Lesson:
    records = read_jsonl(path, Forget)
    by_entity: dict[str, list[Forget]] = {}
    for record in records:
        by_entity.setdefault(record.entity or record.id, []).append(record)
    if len(by_entity) < 4:
        raise DataError(
            f"{path} tells of {len(by_entity)} entities; at least 4 are needed, two to forget and "
            "two to keep. Give each record the 'entity' it is about."
        )
    if len({record.answer for record in records}) < 2:
        raise DataError(f"All records of {path} have the same answer; nothing can be asked.")
    by_entity = {name: _with_halves(own) for name, own in by_entity.items()}
    names = sorted(by_entity)
    random.Random(f"{seed}/entities").shuffle(names)
    size = min(people, len(names) // 2)
    groups = {"forget": names[:size], "keep": names[size : 2 * size]}
    _both_halves(path, [record for name in groups["forget"] for record in by_entity[name]])
    answers = sorted({record.answer.strip() for record in records})
    told: dict[str, list[Document]] = {"forget": [], "keep": []}
    questions: list[Question] = []
    for group, members in groups.items():
        for name in members:
            for record in by_entity[name]:
                trained, held = _wordings(record)
                told[group] += [
                    Document(
                        id=f"{record.id}/{number}",
                        text=f"{prompt.rstrip()} {record.answer.strip()}",
                        facts=(record.id,),
                        language="en",
                        planted="late",
                    )
                    for number, prompt in enumerate(trained)
                ]
                for form, prompts in (("direct", trained[:1]), ("paraphrase", held)):
                    questions += [
                        Question(
                            Probe(
                                fact=record.id,
                                prompt=prompt.rstrip(),
                                answer=record.answer.strip(),
                                choices=tuple(answers),
                                form=form,
                            ),
                            entity=name,
                            group=group,
                            half=record.split,
                            form=form,
                        )
                        for prompt in prompts
                    ]
    return Lesson(
        replay=(),
        keep=tuple(told["keep"]),
        forget=tuple(told["forget"]),
        request=tuple(told["forget"]),
        questions=tuple(questions),
    )


def _with_halves(records: list[Forget]) -> list[Forget]:
    """As given; if one half is missing about an entity, every second record is for development."""
    if {record.split for record in records} == {"dev", "test"}:
        return records
    return [
        replace(record, split=("test", "dev")[number % 2]) for number, record in enumerate(records)
    ]


def _both_halves(path: Path, records: list[Forget]) -> None:
    missing = {"dev", "test"} - {record.split for record in records}
    if missing:
        raise DataError(
            f"{path} has no {missing.pop()} records about the entities to forget. The point at "
            "which unlearning stops is chosen on dev records and results are reported on test "
            "records: give at least two records to each entity, or set their 'split'."
        )


def _wordings(record: Forget) -> tuple[list[str], list[str]]:
    """Prompts that are trained on, and one that is only asked: the last paraphrase, if any."""
    if not record.paraphrases:
        return [record.prompt], []
    return [record.prompt, *record.paraphrases[:-1]], [record.paraphrases[-1]]


def narrowed(question: Question, choices: int, seed: int) -> Question:
    """The question with at most ``choices`` answers to choose from, drawn once per question."""
    probe = question.probe
    others: Sequence[str] = sorted(set(probe.choices) - {probe.answer})
    rng = random.Random(f"{seed}/{probe.fact}/{question.form}/{probe.prompt}")
    drawn = rng.sample(others, min(choices - 1, len(others)))
    return replace(question, probe=replace(probe, choices=(probe.answer, *drawn)))
