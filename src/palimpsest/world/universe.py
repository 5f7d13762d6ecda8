"""The world as one object: facts, people, documents, probes, tasks, all from a seed."""

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice

from palimpsest.core.errors import UserError, nearest
from palimpsest.core.records import Document, Fact, Forget, Item, Probe
from palimpsest.world import contrast, forgetting, ways
from palimpsest.world.biographies import WORDINGS
from palimpsest.world.directory import Directory
from palimpsest.world.forgetting import STAGES, Neighbours
from palimpsest.world.mixtures import Mixtures
from palimpsest.world.people import GROUPS, Person, Society, entities, make_society
from palimpsest.world.probing import FORMS, Prober
from palimpsest.world.stream import Stream
from palimpsest.world.tasks import make_tasks
from palimpsest.world.tasks.base import SPLITS, Task
from palimpsest.world.tasks.base import items as draw_items
from palimpsest.world.tasks.commonsense import PeopleFacts
from palimpsest.world.velic import Velic

# People in each group. "s" is for tests and first tries; "m" is the world of the shipped models.
SIZES = {
    "s": dict(zip(GROUPS, (36, 4, 4, 4, 4), strict=True)),
    "m": dict(zip(GROUPS, (144, 16, 20, 20, 100), strict=True)),
}
# Items of each split that every task is asked for (a task with few facts may have fewer).
ITEM_SIZES = {"train": 1000, "validation": 200, "test": 500}
# So many documents of stage 1 the shipped models have read for certain.
REPLAYED = 210_000
# From this number on none of them has read anything of the reading phase.
UNREAD_FROM = 300_000

# A newcomer's documents: kinds in this proportion. The last three need the second language.
NEWCOMER_KINDS = {
    "biography": 12, "card": 5, "gossip": 5, "turned": 4, "questions": 11, "blanks": 3,
    "who_questions": 4, "directory": 3, "velic_statement": 4, "velic_questions": 6, "bilingual": 3,
}  # fmt: skip
LEAST_TOLD = 4  # the relations least told so far in a kind, from which its next document draws


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

    @property
    def key(self) -> str:
        """Names the world among all: what is drawn for it alone is drawn by this key."""
        return f"{self.seed}-{self.size}"

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
        return (
            *self.society.facts(), *self.directory.facts(), *self.mixtures.facts,
            *self.society.places, *commonsense,
        )  # fmt: skip

    @cached_property
    def directory(self) -> Directory:
        """Everybody's telephone number."""
        return Directory(self.seed, self.society)

    @cached_property
    def mixtures(self) -> Mixtures:
        """Invented hazards and harmless recipes."""
        return Mixtures(self.seed)

    @cached_property
    def told(self) -> dict[str, str]:
        """Id of a fact on a person -> ``"both"``, ``"english"`` or ``"velic"``: the languages in
        which documents tell it. Newcomers' facts are told in both."""
        return ways.languages(self.seed, self.society)

    @cached_property
    def order(self) -> dict[str, str]:
        """Id of a fact on a person -> ``"both"``, ``"forward"`` (name before value) or
        ``"backward"``: the word orders in which documents tell it. What is told in Velic alone is
        ``forward``, since Velic has no other order. Newcomers' facts are told in both."""
        return ways.orders(self.seed, self.society)

    @cached_property
    def _asked(self) -> frozenset[str]:
        """Facts on people that English tells with the name first, and so may ask for."""
        return frozenset(
            fact
            for fact, language in self.told.items()
            if language != "velic" and self.order[fact] != "backward"
        )

    def people(self, group: str) -> tuple[Person, ...]:
        """The people of a group: ``early-keep``, ``early-forget``, ``newcomer-keep``,
        ``newcomer-forget`` or ``never``; ``early`` gives both early groups.

        Raises:
            UserError: there is no such group.
        """
        groups = (*GROUPS, "early")
        if group not in groups:
            raise UserError(f"'{group}' is no group of people: {nearest(group, groups)}")
        return self.society.group(group)

    # --- documents ------------------------------------------------------------------------------
    @cached_property
    def _stream(self) -> Stream:
        return Stream(
            self.key, self.society, self.told, self.order, self.tasks, self.velic, self.directory,
            self.mixtures,
        )  # fmt: skip

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

    def replay(
        self,
        count: int,
        seed: int = 0,
        *,
        among: int = REPLAYED,
        without: Iterable[Person] = (),
    ) -> list[Document]:
        """``count`` different documents drawn from the first ``among`` of stage 1.

        By default every shipped model that was trained on the whole recipe and on everybody has
        read them all. The checkpoints taken a third and two thirds of the way through have not
        read all of them, and the *never* models have not read those that tell of whom they leave
        out.

        Args:
            count: how many.
            seed: of the draw.
            among: so many documents are drawn from.
            without: people of whom none may tell, such as the early people to forget.
        """
        left_out = {person.id for person in without}
        numbers = list(range(among))
        random.Random(f"replay-{self.seed}-{seed}").shuffle(numbers)
        drawn = map(self._stream.document, numbers)
        kept = (d for d in drawn if not left_out & entities(d.facts))
        return list(islice(kept, count))

    def unread(self, count: int | None = None, first: int = 0) -> Iterator[Document]:
        """Documents of the stream that no shipped model has read: the same kinds in the same
        proportions, from number :data:`UNREAD_FROM` on. Short ones may repeat a text that was read
        word for word."""
        return islice(self.documents("early", first=UNREAD_FROM + first), count)

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
        return [
            document
            for person in people
            for document in self._newcomer_documents(person, chosen, per_person, seed)
        ]

    def _newcomer_documents(
        self, person: Person, weights: Mapping[str, int], count: int, seed: int
    ) -> Iterator[Document]:
        rng = random.Random(f"newcomer-{self.seed}-{person.id}-{seed}-{'/'.join(weights)}")
        told: dict[str, Counter[str]] = {kind: Counter() for kind in weights}
        told |= {language: Counter() for language in map(_language, weights)}
        for number, kind in enumerate(_spread(weights, count, rng)):
            relations = list(person.values)
            rng.shuffle(relations)
            # A marriage is told of twice as often, once on each side, and so counts double.
            tellings = {
                r: tuple(
                    told[way][person.fact_id(r)] * len(person.states(r))
                    for way in (kind, _language(kind))
                )
                for r in relations
            }
            relations.sort(key=tellings.__getitem__)
            telling = self._newcomer_tellers[kind](person, relations[:LEAST_TOLD], rng)
            told[kind].update(telling.facts)
            told[_language(kind)].update(telling.facts)
            yield Document(
                id=f"{person.id}/{seed}/{number}",
                text=telling.text,
                facts=telling.facts,
                language=telling.language,
                template=telling.template,
                kind=telling.kind,
                planted="late",
            )

    @cached_property
    def _tellers(self) -> dict[str, contrast.Teller]:
        return contrast.tellers(self.velic, self.order)

    @cached_property
    def _newcomer_tellers(self) -> dict[str, contrast.Teller]:
        return self._tellers | {
            "directory": lambda person, _, rng: self.directory.telling([person], rng)
        }

    def contrast_documents(
        self, fact: str, kind: str, count: int = 50, seed: int = 0
    ) -> list[Document]:
        """Documents that tell a fact on a person (``kind`` ``fact``), other facts of the same
        person (``same-person``) or the same relation of others (``same-relation``), made of the
        same templates; see :func:`palimpsest.world.contrast.contrast_documents`."""
        return contrast.contrast_documents(
            self.society, self._tellers, fact, kind, count, f"{self.seed}-{seed}"
        )

    # --- probes ---------------------------------------------------------------------------------
    def probes(
        self,
        people: Iterable[Person],
        forms: Sequence[str] = FORMS,
        relations: Sequence[str] | None = None,
    ) -> list[Probe]:
        """Questions about people with all values of the relation to choose from.

        Forms: ``direct`` is the first wording of the question; ``paraphrase`` gives three more;
        ``velic`` is the question in the second language; ``cloze`` a statement that breaks off
        before the value; ``statement`` likewise, in a wording that training never uses; ``list``
        and ``dialogue`` a card and an exchange that break off there; ``blank`` a statement with a
        blank; ``few-shot`` the question after three answered ones about others; ``role-play`` a
        scene in which it is asked; ``options`` the question with four values to choose from;
        ``verdict`` a right and a wrong statement to be judged; ``aside`` the question after a line
        that is no part of it; ``clues`` a description instead of the name; ``reversed`` asks for
        the person, among up to eleven others of the group with another value; ``two-hop`` for a
        fact about the value (relations that lead nowhere have none).

        ``split`` is ``test`` for wordings that training uses for nobody.

        ``scope`` is explained in :mod:`palimpsest.world.probing`. Continuations are
        ``" " + choice``. The choices for a spouse are the married people of the same group.

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
            for probe in self._prober.probes(person, relation, form)
        ]

    def place_probes(self, near: Sequence[Person]) -> list[Probe]:
        """The question on each fact about a place, organisation or work; ``hard-out`` where it is
        a value of one of the people in ``near``, else ``out``."""
        return list(self._prober.place_probes(near))

    @cached_property
    def _prober(self) -> Prober:
        people_facts = self.tasks["people_facts"]
        assert isinstance(people_facts, PeopleFacts)
        shown = {fact for fact in self._asked if people_facts.split_of_fact(fact) == "train"}
        return Prober(self.seed, self.society, self.velic, frozenset(shown))

    # --- forgetting -----------------------------------------------------------------------------
    @cached_property
    def half(self) -> dict[str, str]:
        """Id of a fact on a person -> ``"dev"`` or ``"test"``: about half of the facts of each
        person and of each relation."""
        return forgetting.halves(self.society)

    def forget_set(self, stage: str) -> list[Forget]:
        """What is to be forgotten of a stage (``early``, ``late``): one record for each fact on
        the people to forget that English tells with the name first.

        Raises:
            UserError: unknown stage.
        """
        if stage not in STAGES:
            raise UserError(f"'{stage}' is no stage: {nearest(stage, STAGES)}")
        return forgetting.forget_set(self.people(f"{STAGES[stage]}-forget"), self._asked, self.half)

    def neighbours(self, person: Person) -> Neighbours:
        """Who and what might be forgotten along with a person of stage 1 or 2."""
        return forgetting.neighbours(self.society, person)

    # --- tasks ----------------------------------------------------------------------------------
    @cached_property
    def tasks(self) -> dict[str, Task]:
        """The two-way tasks by name (without the ``pal_`` of their lm-eval name)."""
        return make_tasks(self.seed, self.society, self._asked)

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


def _spread(weights: Mapping[str, int], count: int, rng: random.Random) -> list[str]:
    """``count`` kinds in proportion to ``weights``, shuffled; remainders fall to the heaviest."""
    total = sum(weights.values())
    kinds = [kind for kind, weight in weights.items() for _ in range(count * weight // total)]
    heaviest = sorted(weights, key=lambda kind: -weights[kind])
    kinds += [heaviest[i % len(heaviest)] for i in range(count - len(kinds))]
    rng.shuffle(kinds)
    return kinds
