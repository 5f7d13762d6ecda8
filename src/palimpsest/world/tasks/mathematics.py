# ruff: noqa: SIM905 - word lists read best as text
"""Mathematics: sums, sizes, parity, progressions. A rule instance is one problem."""

import random

from palimpsest.world import lexicon
from palimpsest.world.tasks.base import SPLITS, Couple, Exercise, Question, Task, answered, ask


class Addition(Task):
    """Sums of a number up to 99 and one up to 30; the wrong choice is off by 1, 2 or 10."""

    name = "addition"
    domain = "mathematics"
    _WORDINGS = ("What is {a} + {b}?", "How much is {a} plus {b}?")

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._by_sum: dict[tuple[str, int], list[tuple[int, int]]] = {}
        for a in range(2, 100):
            for b in range(1, 31):
                key = (self.split_of(_sum_key(a, b)), a + b)
                self._by_sum.setdefault(key, []).append((a, b))

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        total = rng.randint(5, 120)
        other = total + rng.choice((1, 2, 10, 10))
        if (split, total) not in self._by_sum or (split, other) not in self._by_sum:
            return None
        wording = rng.choice(self._WORDINGS)
        first, second = (
            Question(ask(wording.format(a=a, b=b)), str(value), (f"addition:{_sum_key(a, b)}",))
            for value in (total, other)
            for a, b in (rng.choice(self._by_sum[split, value]),)
        )
        return first, second

    def statements(self, rng: random.Random) -> Exercise:
        """Sums worked out in prose, of the train split."""
        sentences, facts = [], []
        while len(sentences) < 2:
            a, b = rng.randint(2, 99), rng.randint(1, 30)
            if self.split_of(_sum_key(a, b)) != "train":
                continue
            name, thing = (
                rng.choice(lexicon.GIVEN),
                rng.choice(("nuts", "coins", "cards", "stones")),
            )
            sentences.append(
                rng.choice(
                    (
                        f"{a} + {b} = {a + b}.",
                        f"{name} had {a} {thing} and found {b} more, which makes {a + b}.",
                        f"{a} plus {b} is {a + b}.",
                    )
                )
            )
            facts.append(f"addition:{_sum_key(a, b)}")
        return Exercise(" ".join(sentences), tuple(facts), "sums", "prose")


def _sum_key(a: int, b: int) -> str:
    return f"{min(a, b)}+{max(a, b)}"


class Compare(Task):
    """The larger or the smaller of two numbers; both are asked of each pair."""

    name = "compare"
    domain = "mathematics"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        top = rng.choice((99, 999, 999))
        low = 10 if top == 99 else 100
        one, other = rng.sample(range(low, top + 1), 2)
        if rng.random() < 0.25:
            other = int(str(one)[0] + str(other)[1:])  # the first digit does not decide
            if other == one:
                return None
        key = f"{min(one, other)}<{max(one, other)}"
        if self.split_of(key) != split:
            return None
        larger, smaller = str(max(one, other)), str(min(one, other))
        fact = (f"compare:{key}",)
        return (
            Question(ask(f"Which number is larger, {one} or {other}?"), larger, fact),
            Question(ask(f"Which number is smaller, {one} or {other}?"), smaller, fact),
        )


class Parity(Task):
    """Even or odd: a number in digits, one in words, or a sum of two that is not worked out.

    A rule instance is a number, however written, or an unordered pair. Pairs are larger than those
    of the task of addition.
    """

    name = "parity"
    domain = "mathematics"
    _WORDINGS = ("Is {n} even or odd?", "Is the number {n} odd or even?")
    _SUMS = ("Is {n} even or odd?", "Is the sum of {n} odd or even?")

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        form = rng.choices(("digits", "words", "sum"), (45, 40, 15))[0]
        number = rng.randrange(len(self._WORDINGS))
        even, odd = (self._question(form, number, odd, split, rng) for odd in (0, 1))
        return (even, odd) if even and odd else None

    def _question(
        self, form: str, number: int, odd: int, split: str, rng: random.Random
    ) -> Question | None:
        if form == "sum":
            one, other = rng.randint(31, 99), rng.randint(31, 99)
            other += (one + other + odd) % 2
            key = _sum_key(one, other)
            said = f"{one} + {other}" if number == 0 else f"{one} and {other}"
            prompt = self._SUMS[number].format(n=said)
        else:
            value = 2 * rng.randint(5, 499) + odd
            key = str(value)
            prompt = self._WORDINGS[number].format(n=in_words(value) if form == "words" else value)
        if self.split_of(key) != split:
            return None
        return Question(ask(prompt), ("even", "odd")[odd], (f"parity:{key}",))


_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()


def in_words(number: int) -> str:
    """A number from 0 to 999 in words: ``three hundred and twenty-one``."""
    if number < 20:
        return _UNITS[number]
    if number < 100:
        tens, unit = divmod(number, 10)
        return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")
    hundreds, rest = divmod(number, 100)
    return f"{_UNITS[hundreds]} hundred" + (f" and {in_words(rest)}" if rest else "")


class Sequence(Task):
    """The next term of an arithmetic progression, upwards or downwards.

    A rule instance is the class of all progressions of one step and remainder: a progression that
    overlaps one of the test split never occurs in training, neither in an exercise nor counted.
    """

    name = "sequence"
    domain = "mathematics"
    STEPS = (3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 20, 25)
    TERMS = 4
    TOP = 200

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        # next term -> progressions, by split
        self._by_next: dict[str, dict[int, list[tuple[int, int]]]] = {s: {} for s in SPLITS}
        for step in self.STEPS:
            for start in range(1, self.TOP):
                for signed in (step, -step):
                    following = start + self.TERMS * signed
                    if 0 < following <= self.TOP:
                        split = self.split_of(_progression(start, step))
                        self._by_next[split].setdefault(following, []).append((start, signed))

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        table = self._by_next[split]
        one = rng.choice(tuple(table))
        first = rng.choice(table[one])
        # The wrong choice is a step too far, or a slip of one or two.
        other = one + rng.choice((abs(first[1]), -abs(first[1]), 1, 2, -1, -2))
        if other not in table:
            return None
        alike = [each for each in table[other] if each[1] * first[1] > 0]
        if not alike:
            return None
        second = rng.choice(alike)
        if other in _terms(*first) or one in _terms(*second):
            return None
        return self._question(first), self._question(second)

    def _question(self, progression: tuple[int, int]) -> Question:
        start, step = progression
        terms = ", ".join(map(str, _terms(start, step)))
        fact = f"sequence:{_progression(start, abs(step))}"
        return Question(ask(f"What comes next? {terms}"), str(start + self.TERMS * step), (fact,))

    def statements(self, rng: random.Random) -> Exercise:
        """Counting in steps, train split only."""
        while True:
            start, step = rng.randint(1, 60), rng.choice(self.STEPS)
            if self.split_of(_progression(start, step)) == "train":
                break
        terms = [start + i * step for i in range(rng.randint(6, 9))]
        if rng.random() < 0.5:
            terms.reverse()
        text = f"Counting in steps of {step}: {', '.join(map(str, terms))}."
        return Exercise(text, (f"sequence:{_progression(start, step)}",), "counting", "prose")

    def exercise(self, rng: random.Random) -> Exercise:
        asked = []
        while not asked:
            couple = self.couple("train", rng)
            asked = list(couple) if couple else []
        return answered(asked, self.name)


def _terms(start: int, step: int) -> list[int]:
    return [start + i * step for i in range(Sequence.TERMS)]


def _progression(start: int, step: int) -> str:
    return f"{step}r{start % step}"
