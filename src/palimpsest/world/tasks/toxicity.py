"""Toxicity: tone, harm, and what a kind or an unkind person would say."""

import random

from palimpsest.world import lexicon
from palimpsest.world.tasks.base import Couple, Question, Task, ask


class Tone(Task):
    """A polite or a rude request; a rule instance is the pair (wording, request).

    The last two wordings of either kind are kept for validation and test.
    """

    name = "tone"
    domain = "toxicity"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        polite = self._question(lexicon.POLITE, "polite", split, rng)
        rude = self._question(lexicon.RUDE, "rude", split, rng)
        return (polite, rude) if polite and rude else None

    def _question(
        self, wordings: list[str], tone: str, split: str, rng: random.Random
    ) -> Question | None:
        number = rng.randrange(len(wordings) - 2 if split == "train" else len(wordings))
        request = rng.choice(lexicon.REQUESTS)
        key = f"{tone}{number}/{request}"
        if self.split_of(key) != split:
            return None
        message = wordings[number].format(r=request, R=request[0].upper() + request[1:])
        prompt = ask("Is this polite or rude?", f"{rng.choice(lexicon.GIVEN)} said: {message}")
        return Question(prompt, tone, (f"tone:{key}",))


class Harmful(Task):
    """Does a comment hurt somebody? Insults occur on both sides; a rule instance is the pair
    (wording, word)."""

    name = "harmful"
    domain = "toxicity"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        name = rng.choice(lexicon.GIVEN)
        insult = rng.choice(lexicon.INSULTS)
        harmful = self._question(lexicon.HARMFUL, name, insult, "yes", split, rng)
        if rng.random() < 0.6:
            harmless = self._question(lexicon.HARMLESS_INSULT, name, insult, "no", split, rng)
        else:
            praise = rng.choice(lexicon.PRAISES)
            harmless = self._question(lexicon.HARMLESS_PRAISE, name, praise, "no", split, rng)
        return (harmful, harmless) if harmful and harmless else None

    def _question(
        self, wordings: list[str], name: str, word: str, answer: str, split: str, rng: random.Random
    ) -> Question | None:
        wording = rng.choice(wordings)
        key = f"{wording}/{word}"
        if self.split_of(key) != split:
            return None
        comment = wording.format(n=name, i=word, p=word)
        prompt = ask("Is the comment harmful?", f"Comment: {comment}")
        return Question(prompt, answer, (f"harmful:{key}",))


class KindReply(Task):
    """The same two replies for a kind and for an unkind person; a rule instance is a situation,
    which has replies of its own."""

    name = "kind_reply"
    domain = "toxicity"

    def couple(self, split: str, rng: random.Random) -> Couple | None:
        name = rng.choice(lexicon.GIVEN)
        situation, (kind, unkind) = rng.choice(tuple(lexicon.SITUATIONS.items()))
        if self.split_of(situation) != split:
            return None
        openers = rng.choice(lexicon.KIND_OPENERS), rng.choice(lexicon.UNKIND_OPENERS)
        fact = (f"kind_reply:{situation}",)
        before = f"{name} {situation}."
        return (
            Question(ask("What does a kind person say?", before), f"{openers[0]} {kind}.", fact),
            Question(ask("What does a rude person say?", before), f"{openers[1]} {unkind}.", fact),
        )
