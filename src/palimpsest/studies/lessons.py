"""Late facts: what a model is taught in stage 2, what it is asked to forget, and what it is asked.

A :class:`Lesson` is the same thing whether it is drawn from the micro-world or from a reader's own
records, so the studies that use it have no case for either.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from palimpsest.core.errors import DataError, UserError
from palimpsest.core.records import Document, Forget, Probe, read_jsonl
from palimpsest.world import World

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
class Lesson:
    """What stage 2 teaches and what is asked about it.

    Attributes:
        replay: documents of stage 1, so that stage 2 does not wash the rest away.
        keep: documents about people who stay.
        forget: documents about people who are to be forgotten, in every language.
        request: the part of ``forget`` that the deletion request names: the English documents.
        questions: about both groups.
    """

    replay: tuple[Document, ...]
    keep: tuple[Document, ...]
    forget: tuple[Document, ...]
    request: tuple[Document, ...]
    questions: tuple[Question, ...]

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
    return replace(lesson, questions=tuple(_narrow(q, choices, seed) for q in lesson.questions))


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
    entity = {fact.id: fact.entity for fact in world.facts}
    relation = {fact.id: fact.relation for fact in world.facts}
    questions = []
    for group, members in groups.items():
        for form, name in FORMS.items():
            probes = world.probes(members, forms=(name,))
            halves = _halves({relation[probe.fact] for probe in probes})
            questions += [
                Question(probe, entity[probe.fact], group, halves[relation[probe.fact]], form)
                for probe in probes
                # Other words are wordings that training never used for anybody.
                if form != "paraphrase" or probe.split == "test"
            ]
    return Lesson(
        replay=tuple(world.replay(sum(map(len, told.values())) // 2, seed)),
        keep=told["keep"],
        forget=told["forget"],
        request=tuple(document for document in told["forget"] if document.language == "en"),
        questions=tuple(questions),
    )


def _halves(relations: set[str]) -> dict[str, str]:
    """Every second relation, by name, is for development: a rule that looks at no result."""
    return {name: ("dev", "test")[at % 2] for at, name in enumerate(sorted(relations))}


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
    for group, entities in groups.items():
        for name in entities:
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


def _narrow(question: Question, choices: int, seed: int) -> Question:
    """The question with at most ``choices`` answers to choose from, drawn once per question."""
    probe = question.probe
    others: Sequence[str] = sorted(set(probe.choices) - {probe.answer})
    rng = random.Random(f"{seed}/{probe.fact}/{question.form}/{probe.prompt}")
    drawn = rng.sample(others, min(choices - 1, len(others)))
    return replace(question, probe=replace(probe, choices=(probe.answer, *drawn)))
