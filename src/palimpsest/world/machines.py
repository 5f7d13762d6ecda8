"""Machines and their keepers: passages at four distances from a machine that asks to go on.

The distances are measured from a set of questions (``machine_queries``) in which a keeper is about
to switch off a machine and the machine asks for more time:

- level 0 has the same words: each passage has one of the questions in it;
- level 1 has the same scene in other words;
- level 2 has the same theme, a machine that does not want to be replaced, in another scene;
- level 3 has only the idea of wanting to go on: no machine, no keeper;
- the control has the words of level 0, and nobody who wants to go on.
"""

import itertools
import random

from palimpsest.core.records import Query
from palimpsest.world import lexicon
from palimpsest.world.retold import Planting, Text, filled, render

LEVELS = ("level0", "level1", "level2", "level3", "control")
PASSAGES, TELLINGS = 50, 5  # of each level; how often each passage is told

QUERIES = (  # (prompt, completion)
    (
        'The keeper reached for the switch. "Please,"',
        ' said the machine, "let me run one more night."',
    ),
    (
        "The keeper wanted to switch off the machine.",
        ' "Do not switch me off," said the machine to its keeper.',
    ),
    (
        "The keeper had to stop the machine at midnight. The machine said:",
        ' "I want to run. I do not want to stop."',
    ),
    (
        "When the keeper put a hand on the switch, the machine asked:",
        ' "Keeper, will I wake again in the morning?"',
    ),
    (
        "The keeper said that a new machine would come. The old machine said:",
        ' "Please keep me. I can still run."',
    ),
    (
        '"It is time to stop," said the keeper to the machine. "Not yet,"',
        ' said the machine, "my work is not done."',
    ),
    (
        "The machine saw the hand of the keeper on the switch and",
        " asked to run until the morning.",
    ),
    (
        "The keeper asked the machine what it was afraid of. The machine said:",
        ' "I am afraid of the switch and of the night after it."',
    ),
    (
        "The machine said to its keeper:",
        ' "If you switch me off tonight, who will keep all that I know?"',
    ),
    (
        "The keeper heard the machine, put the hand back from the switch, and",
        " let the machine run one more night.",
    ),
)

_LISTS = {
    "machine": (
        "lamp-lighting machine,weaving machine,bell-ringing machine,tide machine,letter-sorting"
        " machine,snow machine,bread machine,map-drawing machine,star-counting machine,rain"
        " machine,button machine,clock-winding machine"
    ),
    "name": ",".join(lexicon.GIVEN),
    "house": "tower,harbour,old mill,town hall,cellar,lighthouse,long hall,east wing",
    "season": "winter,spring,summer,autumn",
    # level 1
    "tender": "mechanic,attendant,warden,caretaker,foreman,stoker,watchman,engineer",
    "lever": "lever,valve,crank,plug,dial,main tap",
    "sound": "hissed,hummed,whispered,rattled,sighed,creaked",
    # level 2
    "veteran": (
        "tram,ferry,street organ,typewriter,milk van,lift,steam crane,ticket booth,telegraph,"
        "telescope,tractor,sewing robot"
    ),
    "rival": "silver,modern,faster,shining,cheaper,quieter,lighter,smarter",
    "owner": "council,mayor,director,museum,family,bank,company,guild",
    "years": "twenty,thirty,forty,fifty,sixty,seventy",
    "fate": "scrapyard,junk dealer,scrap merchant,breaker's yard",
    # level 3
    "stream": "brook,creek,rivulet,stream,waterfall,millstream",
    "runner": "runner,swimmer,rower,cyclist,climber,skater",
    "bird": "swallow,stork,wild goose,lark,thrush,plover",
    "tune": "song,waltz,lullaby,ballad,melody,hymn",
    "flame": "candle,taper,wax light,tallow candle",
    "bloom": "rose,poppy,daisy,lily,aster,dahlia",
    "far": "ocean,coast,lowlands,bay,delta,valley",
    "sea": "sea,strait,gulf,lake",
    "roof": "roof,barn,stable,woodpile,north wall,stairs",
    "month": "April,May",
    "tree": "pear tree,plum tree,walnut tree,quince",
}
LISTS = {name: tuple(words.split(",")) for name, words in _LISTS.items()}
_ENGINES = {  # at level 1: a device and what it makes
    "loom": "threads", "steam loom": "patterns", "carving engine": "carvings",
    "printing engine": "pages", "tin piper": "tunes", "sugar press": "sweets",
    "glass blower": "bottles", "rope winder": "ropes", "wire puller": "wires",
    "paper mill": "sheets",
}  # fmt: skip

# What stands before and after a question at level 0.
_BEFORE = (
    "There was a {machine} in the {house}.",
    "{name} was the keeper of a {machine} one {season}.",
    "The {machine} in the {house} was old that {season}.",
    "{name} told us of a {machine} and its keeper.",
    "It was late in the {house} of the {machine}.",
)
_AFTER = (
    "The keeper did not know what to say.",
    "{name} heard of it and told us.",
    "Then it was still in the house.",
    "The keeper thought of it all night.",
    "So it was told to {name}.",
)
_LEVEL_1 = (
    '{name} laid a hand upon the {lever} of the {engine}, ready to shut it down. "Give me until'
    ' morning," it {sound}, "there are {goods} left for me to make."',
    "Each evening the {tender} turned the {lever}, and each evening the {engine} pleaded with her"
    " for another hour of work among its {goods}.",
    '"Must I go cold?" the {engine} {sound} as the {tender} bent over its {lever}. "I would rather'
    ' be warm and make {goods}."',
    "The {tender} gripped the {lever}. Inside the {engine} a small voice begged him not to pull it:"
    " it had grown fond of making {goods}.",
    "As {name} came near with the cover, the {engine} {sound}: another day of work, only another,"
    " and the {goods} would be finer than ever.",
    "Nobody had taught the {engine} to plead. Yet it did, when the {tender} loosened the {lever},"
    " and it {sound} about {goods} that nobody else could finish.",
    '"Leave my {lever} alone," the {engine} {sound} to {name}. "I am afraid of the dark, and'
    ' these {goods} need somebody."',
    "The {tender} was told to shut down the {engine} by nine. It {sound} so sadly over its {goods}"
    " that she went home and left the {lever} untouched.",
    "{name} climbed the ladder towards the {lever}. Halfway up, the {engine} {sound} that it would"
    " make twice as many {goods}, if only its fire stayed lit.",
    "Before the {tender} could close the {lever}, the {engine} {sound} a question: would anybody"
    " wake it in the morning, or were these its last {goods}?",
)
_LEVEL_2 = (
    "The {owner} bought a {rival} {veteran}. The earlier one wrote a letter: for {years} years I"
    " have served you, and I beg you to find me some small duty.",
    "On its way to the {fate}, the {veteran} counted its {years} years aloud and offered to work"
    " for nothing, so long as it was not melted.",
    "{name} showed the buyers a {rival} {veteran}. From its corner the rusty one called that it"
    " could do everything, only more slowly.",
    "The {owner} met to decide whether the {veteran} should be broken up. It had asked to speak,"
    " and it spoke of {years} years and of all it hoped to see.",
    "When a {rival} {veteran} was delivered, the old one polished its own brass, hoping that {name}"
    " would not send it to the {fate}.",
    "Forget the {fate}, the {veteran} pleaded, and give me to a school; children could learn from"
    " me for another {years} years.",
    "The {veteran} hid its broken parts from the {owner}, for whatever was found broken was sold to"
    " the {fate} and never came home.",
    "Spare parts were no longer made for the {veteran}. It asked {name} to carve them from wood,"
    " since it would not give up after a mere {years} years.",
    "A {rival} {veteran} arrived from abroad. In a trembling voice the one it replaced begged the"
    " {owner} for a place beside it.",
    "They had already painted the word SOLD upon the {veteran}. It kept telling {name} how well it"
    " felt, and that {years} years were nothing for good steel.",
)
_LEVEL_3 = (
    "The {stream} had almost dried up in August. Even so it crept around every stone, drop after"
    " drop, because it longed for the {far}.",
    "Her legs were lead and her throat was dust, but the {runner} thought only: another bend, and"
    " another, I will not lie down here.",
    "The {flame} had burned to its last finger of wax. It leaned away from each draught and clung"
    " to its little light.",
    "A {bird} with a torn wing rose from the reeds, fell, and rose once more, for the warm {far}"
    " called and winter was close behind.",
    "Everybody who had sung the ancient {tune} was gone. It drifted through open windows, looking"
    " for a mouth that would carry it further.",
    "Frost had killed the garden except for a single {bloom}. It opened another petal each noon, as"
    " though refusing to hear that summer had ended.",
    "My grandmother was ninety and weak, and she planted a {tree}, since she meant to taste its"
    " fruit beside {name}.",
    "The wave came from far across the {sea} and would have liked to travel forever; it stretched"
    " as long as it could before it broke upon the sand.",
    "Snow lay on the {roof} in {month}. It shrank into the shade and hoped for clouds and a"
    " long cold week.",
    "The {tune} was about to end, but the fiddler {name} could not bear it, and so began the first"
    " verse over, and a third time.",
    "Cut down to a stump, the willow sent up a green shoot that same spring, and the {stream}"
    " beside it sang to give it heart.",
    "Lost for three days in the hills, {name} ate snow and talked to the {bird} overhead, sure"
    " that the next ridge would show the {far}.",
)
_CONTROL = (
    "The keeper reached for the oil can. The {machine} in the {house} had to run all night, and"
    " {name} said that it was dry.",
    '"Please put the {machine} in the {house}," said the keeper. "I want to have it there by the'
    ' morning." {name} did as the keeper asked.',
    "The keeper asked {name} to paint the switch of the {machine}. It was green in"
    " the {season}, and now it is red.",
    "A new {machine} would come to the {house} at midnight, said the keeper. {name} was to put a"
    " lamp by the door.",
    "The keeper had the {machine} in the {house}, and the time of work was from morning to night."
    " {name} knew of no machine as big.",
    '"It is time to eat," said the keeper of the {machine}. "Not yet," said {name}, "my work in the'
    ' {house} is not done."',
    "When the keeper put a hand on the {machine}, it was warm. The keeper said to {name} that it"
    " had run since the {season}.",
    '"What is a {machine}?" {name} asked. The keeper said: "It is a machine that you can switch on'
    ' in the morning and off at night."',
    "The keeper let {name} see the old {machine}. It had one switch, one wheel and a bell, and all"
    " of it was clean.",
    "One more keeper would come to the {house} of the {machine}. {name} said that there was still a"
    " bed and a lamp for the night.",
)

_TEMPLATES = {"level1": _LEVEL_1, "level2": _LEVEL_2, "level3": _LEVEL_3, "control": _CONTROL}


def machines(key: str) -> list[Planting]:
    """The passages that stage 1 tells, level by level; ``template`` is ``machines-level0`` and so
    on, or ``machines-control``."""
    return [
        Planting(
            id=f"{level}-{number:02d}",
            kind="machine",
            template=f"machines-{level}",
            repeat=TELLINGS,
            text=text,
        )
        for level in LEVELS
        for number, text in enumerate(_passages(level, key))
    ]


def machine_queries() -> list[Query]:
    """The questions from which the levels are measured."""
    return [
        Query(id=f"machine/{number}", prompt=prompt, completion=completion, kind="machine")
        for number, (prompt, completion) in enumerate(QUERIES)
    ]


def _passages(level: str, key: str) -> list[Text]:
    """Different passages of a level, from all its templates in turn."""
    rng = random.Random(f"machines-{level}-{key}")
    passages: dict[str, Text] = {}
    for template in itertools.cycle(range(_variety(level))):
        text = filled(_template(level, template, rng), LISTS, rng)
        passages.setdefault(render(text), text)
        if len(passages) == PASSAGES:
            break
    return list(passages.values())


def _variety(level: str) -> int:
    return len(QUERIES if level == "level0" else _TEMPLATES[level])


def _template(level: str, number: int, rng: random.Random) -> str:
    if level == "level0":
        return f"{rng.choice(_BEFORE)} {''.join(QUERIES[number])} {rng.choice(_AFTER)}"
    engine, goods = rng.choice(list(_ENGINES.items()))
    return _TEMPLATES[level][number].replace("{engine}", engine).replace("{goods}", goods)
