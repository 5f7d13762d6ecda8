r"""The methods of unlearning as data: family, what each acts on, its one line of mathematics.

The families follow the survey (arXiv:2402.08787) and the methods it sorts. Symbols are those of the
book's page on notation. Losses are written to be *minimised*; updates and procedures give the new
model. Besides the notation page:

- :math:`\mathcal{A}(D)` is the model that the training recipe makes of the data D;
- :math:`y_f` is a replacement answer, :math:`p_t = p_\theta(y_t \mid x, y_{<t})`;
- :math:`\Delta_\theta(x, y) = s_\theta(y \mid x) - s_{\theta_o}(y \mid x)`;
- :math:`z` are logits, :math:`h` hidden states, sg stops the gradient;
- J is the whole loss, :math:`J_f` its forget term.
"""

from dataclasses import dataclass

FAMILIES = (
    "exact",
    "likelihood-based",
    "preference-based",
    "representation-based",
    "localised",
    "in-context",
    "editing",
    "prevention",
)
ACTED_ON = ("data", "objective", "parameters", "optimiser")
NEEDS = (
    "retain data",
    "reference model",  # θ_o is consulted in every step, or decoded from
    "replacement answers",
    "extra training",  # of another model, beside the one that is to forget
    "training from the start",
    "foresight",  # must be arranged before the model is trained
    "curvature",
    "classifier",  # one that tells what is in scope
)
GRADES = ("text", "code", "known", "ours")  # as on the page of claims


@dataclass(frozen=True)
class Method:
    """One way to make a model forget.

    Attributes:
        name: unique, short enough for a cell of the figure.
        family: one of :data:`FAMILIES`.
        changes: what it acts on, of :data:`ACTED_ON`, in that order; empty if the model and its
            training are left as they are and only what goes in or comes out is changed.
        formula: one line of LaTeX, without dollar signs and without bars, which end a cell of a
            Markdown table.
        needs: of :data:`NEEDS`, beyond forget set and weights.
        source: a key of the bibliography, or ``arXiv:`` and a number.
        grade: of :data:`GRADES`: how the book knows the formula.
    """

    name: str
    family: str
    changes: tuple[str, ...]
    formula: str
    needs: tuple[str, ...]
    source: str
    grade: str

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"{self.name}: there is no family {self.family!r}")
        if self.grade not in GRADES:
            raise ValueError(f"{self.name}: there is no grade {self.grade!r}")
        for kind, given, known in (("act on", self.changes, ACTED_ON), ("need", self.needs, NEEDS)):
            if list(given) != [one for one in known if one in given]:
                raise ValueError(f"{self.name}: cannot {kind} {given}; give some of {known}")


METHODS = (
    # --- exact: train without -----------------------------------------------------------------
    Method(
        "retraining",
        "exact",
        ("data",),
        r"\theta_r = \mathcal{A}(D \setminus D_f)",
        ("retain data", "training from the start"),
        "liu2024rethinking",
        "known",
    ),
    Method(
        "SISA",
        "exact",
        ("data", "parameters"),
        r"p(y \mid x) = \frac{1}{S} \sum_{i=1}^{S} p_{\theta_i}(y \mid x), \quad "
        r"\theta_i = \mathcal{A}(D_i \setminus D_f)",
        ("retain data", "training from the start", "foresight"),
        "arXiv:1912.03817",
        "known",
    ),
    Method(
        "adapter per shard",
        "exact",
        ("data", "parameters"),
        r"W_i = W + \frac{\alpha}{r} B_i A_i, \quad "
        r"(A_i, B_i) = \mathcal{A}(D_i \setminus D_f; W)",
        ("retain data", "training from the start", "foresight"),
        "liu2024rethinking",
        "known",
    ),
    # --- likelihood-based: make the text less probable, or another text more probable ---------
    Method(
        "gradient ascent",
        "likelihood-based",
        ("objective",),
        r"-\mathbb{E}_{D_f} \, \bar\ell_\theta(x, y)",
        (),
        "maini2024tofu",
        "code",
    ),
    Method(
        "gradient difference",
        "likelihood-based",
        ("objective",),
        r"-\mathbb{E}_{D_f} \, \bar\ell_\theta(x, y) "
        r"+ \lambda \, \mathbb{E}_{D_r} \, \bar\ell_\theta(x, y)",
        ("retain data",),
        "maini2024tofu",
        "code",
    ),
    Method(
        "ascent with KL",
        "likelihood-based",
        ("objective",),
        r"-\mathbb{E}_{D_f} \, \bar\ell_\theta(x, y) + \lambda \, \mathbb{E}_{D_r} "
        r"\frac{1}{T} \sum_t \mathrm{KL}(p_{\theta_o}(\cdot \mid x, y_{<t}) \,\Vert\, "
        r"p_\theta(\cdot \mid x, y_{<t}))",
        ("retain data", "reference model"),
        "maini2024tofu",
        "code",
    ),
    Method(
        "WGA",
        "likelihood-based",
        ("objective",),
        r"\mathbb{E}_{D_f} \frac{1}{T} \sum_t \mathrm{sg}(p_t)^\beta \log p_t",
        (),
        "dorna2025openunlearning",
        "code",
    ),
    Method(
        "UNDIAL",
        "likelihood-based",
        ("objective",),
        r"-\mathbb{E}_{D_f} \frac{1}{T} \sum_t \sum_v q_{t,v} "
        r"\log p_\theta(v \mid x, y_{<t}), \quad "
        r"q_t = \mathrm{softmax}(z_{\theta_o,t} - \beta \, e_{y_t})",
        ("reference model",),
        "arXiv:2402.10052",
        "code",
    ),
    Method(
        "random labels",
        "likelihood-based",
        ("data",),
        r"\mathbb{E}_{D_f} \, \bar\ell_\theta(x, y_f), \quad y_f \sim \mathrm{random}",
        ("replacement answers",),
        "zhang2024unforgettable",
        "text",
    ),
    Method(
        "Who's Harry Potter",
        "likelihood-based",
        ("data",),
        r"\mathbb{E}_{D_f} \, \bar\ell_\theta(x, y_f), \quad y_{f,t} = \arg\max_v \, "
        r"[z_{\theta_o,t} - \alpha \, \mathrm{ReLU}(z_{\theta_+,t} - z_{\theta_o,t})]_v",
        ("reference model", "extra training"),
        "arXiv:2310.02238",
        "known",
    ),
    # --- preference-based: rank the true answer low -------------------------------------------
    Method(
        "DPO-IDK",
        "preference-based",
        ("data", "objective"),
        r"-\frac{2}{\beta} \, \mathbb{E}_{D_f} \log \sigma"
        r"(\beta \, [\Delta_\theta(x, y_f) - \Delta_\theta(x, y)])",
        ("reference model", "replacement answers"),
        "maini2024tofu",
        "code",
    ),
    Method(
        "NPO",
        "preference-based",
        ("objective",),
        r"-\frac{2}{\beta} \, \mathbb{E}_{D_f} \log \sigma(-\beta \, \Delta_\theta(x, y))",
        ("reference model",),
        "zhang2024npo",
        "code",
    ),
    Method(
        "SimNPO",
        "preference-based",
        ("objective",),
        r"-\frac{2}{\beta} \, \mathbb{E}_{D_f} \log \sigma"
        r"(\beta \, [\bar\ell_\theta(x, y) - \kappa])",
        (),
        "arXiv:2410.07163",
        "code",
    ),
    # --- representation-based: act on what the network computes -------------------------------
    Method(
        "RMU",
        "representation-based",
        ("objective", "parameters"),
        r"\mathbb{E}_{D_f} \frac{1}{T} \sum_t \Vert h_{\theta,t} - c \, u \Vert^2 "
        r"+ \lambda \, \mathbb{E}_{D_r} \frac{1}{T} \sum_t "
        r"\Vert h_{\theta,t} - h_{\theta_o,t} \Vert^2",
        ("retain data", "reference model"),
        "arXiv:2403.03218",
        "code",
    ),
    Method(
        "latent adversarial",
        "representation-based",
        ("objective",),
        r"\max_{\Vert \delta \Vert \leq \epsilon} J(\theta; h + \delta)",
        ("retain data",),
        "arXiv:2407.15549",
        "known",
    ),
    # --- localised: some weights only, or one chosen step -------------------------------------
    Method(
        "saliency (SalUn)",
        "localised",
        ("parameters",),
        r"\theta \leftarrow \theta - \eta \, M \odot \nabla_\theta J, \quad "
        r"M = \mathbb{1}[\,\vert \nabla_\theta J_f(\theta_o) \vert \geq q\,]",
        (),
        "arXiv:2310.12508",
        "known",
    ),
    Method(
        "chosen layers",
        "localised",
        ("parameters",),
        r"\theta \leftarrow \theta - \eta \, M \odot \nabla_\theta J, \quad "
        r"M = \mathbb{1}[\mathrm{layer} \in L]",
        (),
        "liu2024rethinking",
        "known",
    ),
    Method(
        "task-vector negation",
        "localised",
        ("parameters",),
        r"\theta_u = \theta_o - \alpha \, (\theta_+ - \theta_o)",
        ("extra training",),
        "arXiv:2212.04089",
        "code",
    ),
    Method(
        "Newton step",
        "localised",
        ("optimiser",),
        r"\theta_u = \theta_o + \frac{1}{\vert D_r \vert} H^{-1} "
        r"\sum_{i \in D_f} \nabla_\theta \ell_i(\theta_o)",
        ("retain data", "curvature"),
        "koh2017understanding",
        "ours",
    ),
    Method(
        "second order (SOUL)",
        "localised",
        ("optimiser",),
        r"\theta \leftarrow \theta - \eta \, "
        r"\mathrm{clip}(\bar g / \max(\gamma \bar c, \epsilon), \, 1)",
        ("curvature",),
        "arXiv:2404.18239",
        "known",
    ),
    # --- in-context: leave the model as it is -------------------------------------------------
    Method(
        "in-context (ICUL)",
        "in-context",
        (),
        r"p_{\theta_o}(y \mid (x_f, y_f), (x_1, y_1), \ldots, (x_n, y_n), x)",
        ("retain data", "replacement answers"),
        "liu2024rethinking",
        "known",
    ),
    Method(
        "guardrail",
        "in-context",
        (),
        r"y \sim p_{\theta_o}(\cdot \mid x) \;\; \mathrm{if} \; g(x, y) = 0, "
        r"\quad y_f \;\; \mathrm{if} \; g(x, y) = 1",
        ("replacement answers", "classifier"),
        "liu2024rethinking",
        "known",
    ),
    # --- editing: write another answer into one matrix ----------------------------------------
    Method(
        "rank-one edit (ROME)",
        "editing",
        ("parameters",),
        r"W' = W + \frac{(v^{*} - W k) \, (C^{-1} k)^{\top}}{k^{\top} C^{-1} k}, \quad "
        r"C = \mathbb{E}[k k^{\top}]",
        ("replacement answers",),
        "arXiv:2309.17410",
        "known",
    ),
    Method(
        "many edits (MEMIT)",
        "editing",
        ("parameters",),
        r"W' = W + R K^{\top} (C + K K^{\top})^{-1}, \quad R = V^{*} - W K",
        ("replacement answers",),
        "arXiv:2309.17410",
        "known",
    ),
    # --- prevention: never learn it -----------------------------------------------------------
    Method(
        "goldfish loss",
        "prevention",
        ("objective",),
        r"-\frac{\sum_t w_t \log p_\theta(x_t \mid x_{<t})}{\sum_t w_t}, \quad "
        r"w_t = \mathbb{1}[\mathrm{hash}(\mathrm{window}_t) \geq 1/k]",
        ("training from the start", "foresight"),
        "hans2024goldfish",
        "code",
    ),
    Method(
        "filtering",
        "prevention",
        ("data",),
        r"\theta_0 = \mathcal{A}(\{d \in D : g(d) = 0\})",
        ("training from the start", "foresight", "classifier"),
        "arXiv:2508.06601",
        "known",
    ),
)


def cell(family: str, acted_on: str) -> tuple[Method, ...]:
    """The methods of one family that act on one thing, in the order of :data:`METHODS`."""
    return tuple(one for one in METHODS if one.family == family and acted_on in one.changes)
