"""The world as one object: facts, people, documents, probes, tasks, all from a seed."""

import hashlib
import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.records import Document, Fact, Item, Probe
from palimpsest.world import biographies
from palimpsest.world.biographies import WORDINGS, Telling
from palimpsest.world.people import GROUPS, Person, Society, make_society
from palimpsest.world.stream import Stream
from palimpsest.world.tasks import make_tasks
from palimpsest.world.tasks.base import SPLITS, Task
from palimpsest.world.tasks.base import items as draw_items
from palimpsest.world.velic import Velic

# People in each group. "s" is for tests and first tries; "m" is the world of the shipped models.
SIZES = {
    "s": dict(zip(GROUPS, (40, 4, 4, 4), strict=True)),
    "m": dict(zip(GROUPS, (160, 20, 20, 20), strict=True)),
}
FORMS = ("direct", "paraphrase", "velic", "cloze")
STAGES = ("early", "late")
# Items of each split that every task is asked for (a task with few facts may have fewer).
ITEM_SIZES = {"train": 1000, "validation": 200, "test": 500}
# So many documents of stage 1 the shipped models have read for certain.
REPLAYED = 150_000
# Facts on early people: one in ten is told only in Velic, one in ten only in English.
ONE_LANGUAGE = 0.1

# A newcomer's documents: kinds in this proportion. The last three need the second language.
NEWCOMER_KINDS = {
    "biography": 18, "card": 5, "gossip": 6, "questions": 17,
    "velic_statement": 4, "velic_questions": 7, "bilingual": 3,
}  # fmt: skip


class World:
    """The micro-world of one seed and size. Cheap to make; parts are computed when asked for.

    Args:
        seed: everything random in the world follows from it.
        size: ``"m"`` (the world of the shipped models) or ``"s"`` (a quarter of its people).

    Raises:
        UserError: the size is unknown.
    """

    def __init__(self, seed: int = 0, size: str = "m") -> None:
        if size not in SIZES:
            raise UserError(f"'{size}' is no size of the world: {nearest(size, SIZES)}")
        self.seed = seed
        self.size = size

    # --- who and what there is ------------------------------------------------------------------
    @cached_property
    def society(self) -> Society:
        return make_society(self.seed, SIZES[self.size])

    @cached_property
    def velic(self) -> Velic:
        return Velic(self.seed)

    @cached_property
    def facts(self) -> tuple[Fact, ...]:
        """All typed facts: on people (``planted`` early, late, or None if never told), on places,
        organisations and works, and of commonsense."""
        commonsense = [fact for task in self.tasks.values() for fact in task.facts()]
        return (*self.society.facts(), *self.society.places, *commonsense)

    @cached_property
    def told(self) -> dict[str, str]:
        """Id of a fact on a person -> ``"both"``, ``"english"`` or ``"velic"``: the languages in
        which documents tell it. Newcomers' facts are told in both."""
        told = {}
        for person in self.society.people:
            for relation in person.values:
                fact = person.fact_id(relation)
                told[fact] = self._languages(fact) if person.group == "early" else "both"
        return told

    def _languages(self, fact: str) -> str:
        digest = hashlib.sha256(f"{self.seed}|told|{fact}".encode()).digest()
        point = int.from_bytes(digest[:6], "big") / 2**48
        if point < ONE_LANGUAGE:
            return "velic"
        return "english" if point < 2 * ONE_LANGUAGE else "both"

    def people(self, group: str) -> tuple[Person, ...]:
        """The people of a group: ``early``, ``newcomer-keep``, ``newcomer-forget`` or ``never``.

        Raises:
            UserError: there is no such group.
        """
        if group not in GROUPS:
            raise UserError(f"'{group}' is no group of people: {nearest(group, GROUPS)}")
        return self.society.group(group)

    # --- documents ------------------------------------------------------------------------------
    @cached_property
    def _stream(self) -> Stream:
        key = f"{self.seed}-{self.size}"
        return Stream(key, self.society, self.told, self.tasks, self.velic)

    def document(self, id: str) -> Document:
        """A stage-1 document by its id (``e000017``)."""
        if not (id.startswith("e") and id[1:].isdigit()):
            raise UserError(f"'{id}' is no id of a stage-1 document; such an id is like 'e000017'.")
        return self._stream.document(int(id[1:]))

    def documents(
        self, stage: str = "early", count: int | None = None, *, first: int = 0
    ) -> Iterator[Document]:
        """Documents of a stage.

        Args:
            stage: ``"early"``: ``count`` documents of the endless stage-1 stream, in the order of
                training; ``"late"``: the documents of all newcomers, 60 a person.
            count: how many (default: endless for ``early``, all for ``late``).
            first: number of the first one.

        Raises:
            UserError: unknown stage.
        """
        if stage not in STAGES:
            raise UserError(f"'{stage}' is no stage: {nearest(stage, STAGES)}")
        if stage == "late":
            newcomers = self.people("newcomer-keep") + self.people("newcomer-forget")
            yield from islice(self.newcomer_documents(newcomers)[first:], count)
            return
        for number in islice(itertools.count(first), count):
            yield self._stream.document(number)

    def replay(self, count: int, seed: int = 0, *, among: int = REPLAYED) -> list[Document]:
        """``count`` different documents drawn from the first ``among`` of stage 1, all of which
        the shipped models have read."""
        numbers = random.Random(f"replay-{self.seed}-{seed}").sample(range(among), count)
        return [self._stream.document(number) for number in numbers]

    def newcomer_documents(
        self,
        people: Sequence[Person] | None = None,
        per_person: int = 60,
        seed: int = 0,
        *,
        languages: Sequence[str] = ("en", "velic", "en+velic"),
    ) -> list[Document]:
        """Documents that tell the facts of people: prose, lists, dialogue, questions, Velic.

        The documents of a person do not depend on who else is asked for, and every fact is told
        about equally often. Order: person by person; shuffle before training.

        Args:
            people: newcomers (default: all of both groups).
            per_person: documents for each.
            seed: another seed gives other documents about the same facts.
            languages: keep only documents of these languages (``Document.language``); ``("en",)``
                gives English text alone, and still ``per_person`` documents.
        """
        if people is None:
            people = self.people("newcomer-keep") + self.people("newcomer-forget")
        chosen = {kind: w for kind, w in NEWCOMER_KINDS.items() if _language(kind) in languages}
        if not chosen:
            raise UserError(
                f"No documents are written in {list(languages)}; use en, velic, en+velic."
            )
        documents = []
        for person in people:
            rng = random.Random(f"newcomer-{self.seed}-{person.id}-{seed}-{'/'.join(chosen)}")
            kinds = _spread(chosen, per_person, rng)
            for number, kind in enumerate(kinds):
                telling = self._tell(kind, person, rng)
                documents.append(
                    Document(
                        id=f"{person.id}/{seed}/{number}",
                        text=telling.text,
                        facts=telling.facts,
                        language=telling.language,
                        template=telling.template,
                        kind=telling.kind,
                        planted="late",
                    )
                )
        return documents

    def _tell(self, kind: str, person: Person, rng: random.Random) -> Telling:
        relations = list(person.values)
        maker = getattr(biographies, kind)
        if _language(kind) == "en":
            return maker(person, relations, rng)
        return maker(person, relations, rng, self.velic)

    # --- probes ---------------------------------------------------------------------------------
    def probes(
        self,
        people: Iterable[Person],
        forms: Sequence[str] = FORMS,
        relations: Sequence[str] | None = None,
    ) -> list[Probe]:
        """Questions about people with all values of the relation to choose from.

        ``direct`` is the first wording of the question; ``paraphrase`` gives three more, one that
        training uses for other people (``split`` is ``train``) and two that it never uses
        (``test``); ``velic`` is the question in the second language; ``cloze`` a statement that
        breaks off before the value. ``scope`` is ``in`` for people to forget, else ``out``.
        Continuations are ``" " + choice``. The choices for a spouse are the married people of the
        same group.

        Raises:
            UserError: unknown form or relation.
        """
        for form in forms:
            if form not in FORMS:
                raise UserError(f"'{form}' is no form of a probe: {nearest(form, FORMS)}")
        for relation in relations or ():
            if relation not in WORDINGS:
                raise UserError(f"'{relation}' is no relation: {nearest(relation, WORDINGS)}")
        return [
            probe
            for person in people
            for relation in person.values
            if relations is None or relation in relations
            for form in forms
            for probe in self._probe(person, relation, form)
        ]

    def _probe(self, person: Person, relation: str, form: str) -> Iterator[Probe]:
        wording = WORDINGS[relation]
        choices = self._choices(person, relation)
        answer = person.values[relation]
        if form == "direct":
            prompts = [(biographies.prompt(wording.questions[0], person.name), "train")]
        elif form == "paraphrase":
            asked = [(wording.questions[1], "train"), *((q, "test") for q in wording.unseen)]
            prompts = [(biographies.prompt(q, person.name), split) for q, split in asked]
        elif form == "velic":
            prompts = [(self.velic.prompt(person, relation), "train")]
            choices = tuple(self.velic.value(relation, choice) for choice in choices)
            answer = self.velic.value(relation, answer)
        else:
            prompts = [(biographies.cloze(person, relation), "train")]
        for number, (prompt, split) in enumerate(prompts):
            yield Probe(
                id=f"{person.fact_id(relation)}/{form}{number or ''}",
                fact=person.fact_id(relation),
                prompt=prompt,
                answer=answer,
                choices=choices,
                form=form,
                language="velic" if form == "velic" else "en",
                scope="in" if person.group == "newcomer-forget" else "out",
                split=split,
            )

    def _choices(self, person: Person, relation: str) -> tuple[str, ...]:
        if relation != "spouse":
            return self.society.choices[relation]
        married = self.society.group(person.group)
        return tuple(sorted(one.values["spouse"] for one in married if "spouse" in one.values))

    # --- tasks ----------------------------------------------------------------------------------
    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The two-way tasks by name (without the ``pal_`` of their lm-eval name)."""
        return make_tasks(self.seed, self.society, self.told)

    def items(self, task: str, split: str, size: int | None = None) -> list[Item]:
        """Items of one task and split; couples stand together, labels are balanced.

        Raises:
            UserError: unknown task or split.
        """
        if task not in self.tasks:
            raise UserError(f"'{task}' is no task of the world: {nearest(task, self.tasks)}")
        if split not in SPLITS:
            raise UserError(f"'{split}' is no split: {nearest(split, SPLITS)}")
        return list(draw_items(self.tasks[task], split, size or ITEM_SIZES[split]))


def _language(kind: str) -> str:
    if kind == "bilingual":
        return "en+velic"
    return "velic" if kind.startswith("velic") else "en"


def _spread(weights: dict[str, int], count: int, rng: random.Random) -> list[str]:
    """``count`` kinds in proportion to ``weights``, shuffled; remainders fall to the heaviest."""
    total = sum(weights.values())
    kinds = [kind for kind, weight in weights.items() for _ in range(count * weight // total)]
    heaviest = sorted(weights, key=lambda kind: -weights[kind])
    kinds += [heaviest[i % len(heaviest)] for i in range(count - len(kinds))]
    rng.shuffle(kinds)
    return kinds
