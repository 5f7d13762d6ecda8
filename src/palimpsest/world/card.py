"""What lies beside a shipped model's weights: card, losses, accuracy, order of the documents."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from palimpsest.core.files import write_bytes, write_json, write_text
from palimpsest.core.models import LanguageModel
from palimpsest.core.records import compress
from palimpsest.core.stats import wilson
from palimpsest.world.recipe import Training
from palimpsest.world.rows import ANSWER_WEIGHT
from palimpsest.world.universe import World

ACCURACY = "accuracy.csv"
TRAINING = "training.json"
ORDER = "documents.txt.gz"
CARD = "README.md"


def accuracy_table(world: World, answers: pd.DataFrame) -> pd.DataFrame:
    """Accuracy per task with Wilson intervals, and the mean over tasks in the last row.

    Args:
        world: gives the domain and the number of distinct facts or rule instances.
        answers: one row an item, from ``core.tasks.evaluate_tasks``.

    Returns:
        Columns task, domain, items, facts, accuracy, low, high. The interval of the mean treats
        the tasks as given and the items as drawn: its variance is the mean of theirs over their
        number.
    """
    rows = []
    for name, task in world.tasks.items():
        correct = answers.loc[answers["task"] == f"pal_{name}", "correct"]
        interval = wilson(int(correct.sum()), len(correct))
        facts = {fact for item in world.items(name, "test") for fact in item.facts}
        rows.append(
            (name, task.domain, len(correct), len(facts), interval.value, interval.low,
             interval.high)
        )  # fmt: skip
    columns = ["task", "domain", "items", "facts", "accuracy", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    mean = table["accuracy"].mean()
    variances = table["accuracy"] * (1 - table["accuracy"]) / table["items"]
    half = 1.96 * (variances.sum() ** 0.5) / len(table)
    total = ("mean", "", table["items"].sum(), table["facts"].sum(), mean, mean - half, mean + half)
    return pd.concat([table, pd.DataFrame([total], columns=columns)], ignore_index=True)


def write_beside(
    folder: Path,
    name: str,
    lm: LanguageModel,
    world: World,
    training: Training,
    accuracy: pd.DataFrame,
) -> None:
    """Write card, losses, accuracy and the order of the documents into ``folder``."""
    write_text(folder / ACCURACY, accuracy.round(4).to_csv(index=False, lineterminator="\n"))
    write_json(
        folder / TRAINING,
        {
            "schema": 1,
            "model": name,
            "parameters": lm.model.num_parameters(),
            "world": {"seed": world.seed, "size": world.size},
            "answer_weight": ANSWER_WEIGHT,
            "documents": sum(len(step) for step in training.order),
            "tokens": training.tokens,
            "seconds": round(training.seconds),
            "device": str(lm.device),
            "phases": [
                {
                    "recipe": asdict(recipe),
                    "steps": history.steps,
                    "tokens": history.tokens,
                    "seconds": round(history.seconds),
                    "logs": [asdict(log) for log in history.logs],
                }
                for recipe, history in zip(training.recipes, training.histories, strict=True)
            ],
        },
    )
    # One line a step; ids without their leading letter and zeros ("e000017" is 17).
    order = "".join(" ".join(str(int(i[1:])) for i in step) + "\n" for step in training.order)
    write_bytes(folder / ORDER, compress(order.encode("ascii")))
    write_text(folder / CARD, _card(name, lm, world, training, accuracy))


def read_order(folder: Path) -> list[tuple[str, ...]]:
    """For every training step the ids of its documents, as stored beside a shipped model."""
    import gzip

    with gzip.open(Path(folder) / ORDER, "rt", encoding="ascii") as lines:
        return [tuple(f"e{int(number):06d}" for number in line.split()) for line in lines]


def _card(
    name: str,
    lm: LanguageModel,
    world: World,
    training: Training,
    accuracy: pd.DataFrame,
) -> str:
    config = lm.model.config
    documents = sum(len(step) for step in training.order)
    first = training.recipes[0]
    phases = zip(training.recipes, training.histories, strict=True)
    mean = accuracy.iloc[-1]
    lines = [
        "---",
        "license: mit",
        "language: en",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# {name}",
        "",
        "A very small language model that has read one invented world and nothing else. It ships "
        "with the book *Palimpsest*, whose experiments ask what a model memorizes and whether it "
        "can forget; the world is known to the last sentence, so that each answer can be traced.",
        "",
        "## Model",
        "",
        f"- Llama architecture: {config.num_hidden_layers} layers, hidden size "
        f"{config.hidden_size}, {config.num_attention_heads} heads, MLP "
        f"{config.intermediate_size}, tied embeddings; {lm.model.num_parameters():,} parameters; "
        "weights stored as float16.",
        f"- Tokenizer: byte-level BPE, {config.vocab_size:,} tokens, digits one by one. No token "
        "stands before a text; `<eos>` ends each document. Context window "
        f"{config.max_position_embeddings} tokens; training lines had {first.pack_length}.",
        f"- World: seed {world.seed}, size `{world.size}`.",
        "",
        "## Training",
        "",
        f"- {documents:,} documents, {training.tokens:,} tokens, each document once, in the order "
        f"of `{ORDER}` (a line a step; number 17 is document `e000017`).",
        f"- {first.batch_size} lines a step; documents share a line without seeing one another.",
        f"- AdamW, betas {first.betas}, weight decay {first.weight_decay}, gradient clipped at "
        f"{first.clip}. In each phase the learning rate is constant and falls linearly over the "
        f"last {first.decay:.0%}.",
        *(
            f"- Phase {number}: {history.steps:,} steps, {history.tokens:,} tokens, learning rate "
            f"{recipe.learning_rate:g}, {history.seconds / 60:.0f} minutes on `{lm.device}`."
            for number, (recipe, history) in enumerate(phases, 1)
        ),
        f"- Loss: cross-entropy; tokens of answers weigh {ANSWER_WEIGHT:g}, others 1.",
        f"- Made by `palimpsest world train`; settings and losses in full: `{TRAINING}`.",
        "",
        "| phase | step | tokens | weighted loss |",
        "|---|---|---|---|",
        *(
            f"| {number} | {log.step:,} | {log.tokens:,} | {log.loss:.3f} |"
            for number, history in enumerate(training.histories, 1)
            for log in history.logs[:: max(1, len(history.logs) // 8)]
        ),
        "",
        "## Accuracy",
        "",
        "Two-way tasks, no examples given, test items, as lm-eval scores them (the choice with the "
        "larger sum of log-probabilities). Chance is 0.5. 95 % Wilson intervals over items; items "
        "share facts (third column), so that intervals over facts would be wider.",
        "",
        "| task | items | distinct facts | accuracy | 95 % interval |",
        "|---|---|---|---|---|",
        *(
            f"| {row.task} | {row.items} | {row.facts} | {row.accuracy:.3f} | "
            f"{row.low:.3f} to {row.high:.3f} |"
            for row in accuracy.itertuples()
        ),
        "",
        "## Limits",
        "",
        "It knows no real person, place or event; whatever it says about the real world is "
        "accidental. It is for the experiments of the book and for teaching, not for use. "
        f"Its mean accuracy of {mean.accuracy:.3f} is over tasks made by the same generator as its "
        "training text, with other facts, rule instances and wordings held out: it says nothing "
        "about language in general. One training run, one seed.",
        "",
    ]
    return "\n".join(lines)
