# ruff: noqa: SIM905 - word lists read best as text
"""Words of the micro-world: commonsense, language, and the pieces that invented names are made of.

Everything is written for this world; nothing is taken from elsewhere, and no name is that of a
real person (given names of stories stand alone, without a family name). A word has one role: a
name of an animal is no verb, a colour no fruit.
"""

from dataclasses import dataclass

# --- given names in small stories (never the invented people of the facts) -----------------------
GIVEN_SHE = "Emma Anna Julia Sara Lucy Clara Nora Alice Rosa Eva Mia Helen Laura Sofia".split()
GIVEN_HE = "Max Paul Hugo Tom Ben Leo Felix Oscar Karl Jonas Simon Adam David Peter".split()
GIVEN = GIVEN_SHE + GIVEN_HE


@dataclass(frozen=True)
class Animal:
    """One kind of animal and six things that are true of it."""

    name: str
    covering: str
    legs: str
    moves: str
    home: str
    eats: str
    kind: str

    @property
    def article(self) -> str:
        return with_article(self.name)


def with_article(noun: str) -> str:
    """``a`` or ``an`` before ``noun``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


_ANIMALS = """
cow fur four walk farm plants mammal
horse fur four walk farm plants mammal
donkey fur four walk farm plants mammal
goat fur four climb mountains plants mammal
dog fur four walk house meat mammal
cat fur four walk house meat mammal
hamster fur four walk house seeds mammal
wolf fur four walk forest meat mammal
fox fur four walk forest meat mammal
deer fur four walk forest plants mammal
moose fur four walk forest plants mammal
squirrel fur four climb forest seeds mammal
marten fur four climb forest meat mammal
rabbit fur four hop meadow plants mammal
hare fur four hop meadow plants mammal
mole fur four crawl meadow insects mammal
camel fur four walk desert plants mammal
jackal fur four walk desert meat mammal
lion fur four walk savanna meat mammal
zebra fur four walk savanna plants mammal
giraffe fur four walk savanna plants mammal
hyena fur four walk savanna meat mammal
antelope fur four walk savanna plants mammal
tiger fur four walk jungle meat mammal
leopard fur four climb jungle meat mammal
sloth fur four climb jungle plants mammal
elephant skin four walk savanna plants mammal
rhino skin four walk savanna plants mammal
dolphin skin no swim sea fish mammal
orca skin no swim sea fish mammal
otter fur four swim river fish mammal
beaver fur four swim river plants mammal
bat fur two fly cave insects mammal
chamois fur four climb mountains plants mammal
hen feathers two walk farm seeds bird
goose feathers two swim pond plants bird
turkey feathers two walk farm seeds bird
pigeon feathers two fly town seeds bird
eagle feathers two fly mountains meat bird
vulture feathers two fly desert meat bird
owl feathers two fly forest meat bird
falcon feathers two fly mountains meat bird
sparrow feathers two fly town seeds bird
finch feathers two fly meadow seeds bird
swan feathers two swim pond plants bird
penguin feathers two swim sea fish bird
gull feathers two fly sea fish bird
heron feathers two walk pond fish bird
pelican feathers two fly sea fish bird
parrot feathers two fly jungle fruit bird
toucan feathers two fly jungle fruit bird
ostrich feathers two walk savanna plants bird
trout scales no swim river insects fish
shark scales no swim sea fish fish
carp scales no swim pond plants fish
tuna scales no swim sea fish fish
cod scales no swim sea fish fish
perch scales no swim river fish fish
goldfish scales no swim pond plants fish
viper scales no crawl desert meat reptile
cobra scales no crawl jungle meat reptile
lizard scales four crawl desert insects reptile
gecko scales four climb jungle insects reptile
crocodile scales four crawl river meat reptile
tortoise shell four crawl desert plants reptile
turtle shell four swim sea plants reptile
frog skin four hop pond insects amphibian
toad skin four hop meadow insects amphibian
newt skin four swim pond insects amphibian
ant shell six crawl forest seeds insect
beetle shell six crawl forest plants insect
cricket shell six hop meadow plants insect
grasshopper shell six hop meadow plants insect
weevil shell six crawl farm seeds insect
"""
ANIMALS = tuple(Animal(*line.split()) for line in _ANIMALS.strip().splitlines())

# Two values of one attribute can serve as right and wrong answer only if they lie in different
# camps; within a camp both could be called true (a duck swims, and walks, and flies).
ANIMAL_CAMPS: dict[str, dict[str, int]] = {
    "covering": {"fur": 0, "feathers": 1, "scales": 2, "skin": 3, "shell": 4},
    "legs": {"no": 0, "two": 1, "four": 2, "six": 3},
    "moves": {"walk": 0, "hop": 0, "climb": 0, "fly": 0, "swim": 1, "crawl": 2},
    "home": {
        "farm": 0, "house": 0, "town": 0, "forest": 1, "meadow": 1, "mountains": 1, "cave": 1,
        "desert": 2, "savanna": 2, "jungle": 2, "sea": 3, "river": 4, "pond": 4,
    },
    "eats": {"meat": 0, "fish": 0, "insects": 0, "plants": 1, "seeds": 1, "fruit": 1},
    "kind": {"mammal": 0, "bird": 1, "fish": 2, "reptile": 3, "amphibian": 4, "insect": 5},
}  # fmt: skip

# --- things and what they are made of ------------------------------------------------------------
OBJECTS: dict[str, tuple[str, ...]] = {
    "glass": ("window", "mirror", "jar", "lens", "bulb", "fishbowl"),
    "wood": ("table", "chair", "fence", "plank", "oar", "ladder", "cupboard", "barrel"),
    "iron": ("nail", "anvil", "horseshoe", "chain", "hook", "pan", "crowbar"),
    "rubber": ("tyre", "eraser", "bouncer", "hose", "doormat"),
    "paper": ("newspaper", "envelope", "map", "ticket", "postcard", "poster", "notebook"),
    "wool": ("scarf", "sweater", "blanket", "mitten", "sock", "shawl"),
    "stone": ("statue", "millstone", "pillar", "pebble", "gravestone", "boulder"),
    "clay": ("vase", "tile", "flowerpot", "teapot", "jug", "bowl"),
    "wax": ("candle", "crayon", "honeycomb"),
    "leather": ("belt", "saddle", "wallet", "satchel"),
}
# What happens to a material: property -> material -> answer. Materials left out are not asked.
PROPERTIES: dict[str, dict[str, str]] = {
    "fall": {
        "glass": "break", "clay": "break", "rubber": "bounce", "wool": "stay whole",
        "leather": "stay whole", "iron": "stay whole", "paper": "stay whole", "wood": "stay whole",
    },
    "water": {
        "wood": "float", "wax": "float", "iron": "sink", "stone": "sink", "glass": "sink",
        "clay": "sink",
    },
    "fire": {
        "paper": "burn", "wood": "burn", "wool": "burn", "wax": "melt", "stone": "stay the same",
        "clay": "stay the same",
    },
    "magnet": {
        "iron": "stick", "wood": "not stick", "paper": "not stick", "wool": "not stick",
        "glass": "not stick", "stone": "not stick",
    },
    "touch": {
        "stone": "hard", "iron": "hard", "glass": "hard", "wood": "hard", "clay": "hard",
        "wool": "soft",
    },
}  # fmt: skip

# --- tools: name -> what people do with it -------------------------------------------------------
_TOOLS = """
mop: clean the floor; wipe up spilled water
broom: sweep the yard; gather the dust
hammer: drive in a peg; flatten a tin
saw: cut a branch; shorten a beam
knife: slice bread; peel an apple
spoon: eat soup; stir the tea
fork: eat noodles; mash a potato
needle: mend a shirt; sew on a button
scissors: cut cloth; trim a ribbon
shovel: dig a hole; move sand
rake: gather leaves; smooth the soil
axe: chop firewood; fell a tree
key: open a lock; start the engine
umbrella: stay dry in the rain; walk through a shower
torch: see in the dark; light up the cellar
oven: bake a cake; roast a chicken
kettle: boil water; prepare tea
fridge: keep milk cold; store butter
towel: dry your hands; rub your hair dry
soap: wash your face; remove dirt
brush: paint a wall; spread glue
pencil: draw a picture; sketch a plan
pen: sign a letter; write a note
ruler: measure a line; draw a straight edge
scale: weigh flour; find out how heavy a parcel is
thermometer: check a fever; measure the heat
clock: tell the time; know when to leave
compass: find north; keep the right direction
telescope: look at the stars; study the moon
microscope: see tiny cells; inspect a drop of blood
camera: take a photograph; film a wedding
net: catch fish; trap a butterfly
bucket: carry water; empty the well
hose pipe: water the garden; fill the pool
iron press: smooth a shirt; flatten a collar
washing machine: wash the laundry; clean dirty socks
comb: tidy your hair; untangle curls
razor: shave a beard; remove stubble
toothbrush: clean your teeth; scrub your gums
bandage: cover a wound; wrap a sprained ankle
crutch: walk with a broken leg; support a weak knee
boat: cross the lake; sail to the island
bicycle: ride to school; pedal up the hill
tractor: plough a field; pull a heavy cart
crane: lift steel beams; raise a wall on a building site
drill: make a hole in a wall; bore through a board
screwdriver: tighten a screw; fix a loose hinge
pliers: bend a wire; pull out a pin
sponge: wash the dishes; soak up a puddle
tray: carry many cups; serve drinks
rope: tie up a boat; climb down a cliff
tent: sleep in the woods; camp by a river
lamp: read at night; brighten a room
heater: warm a cold room; dry wet boots
fan: cool a hot room; blow away smoke
glove: protect your fingers; handle hot pots
helmet: protect your head; ride a motorbike safely
calculator: add long numbers; work out a sum
dictionary: look up a word; check a spelling
bell: call the pupils; announce the end of class
"""
TOOLS: dict[str, tuple[str, ...]] = {
    tool.strip(): tuple(use.strip() for use in uses.split(";"))
    for tool, uses in (line.split(":") for line in _TOOLS.strip().splitlines())
}

# --- causes and effects: {n} is a given name ------------------------------------------------------
_CAUSES = """
{n} ate too many sweets > {n} had a stomach ache
{n} studied every evening > {n} passed the test
{n} forgot the umbrella > {n} got wet in the rain
{n} stayed up all night > {n} was tired in the morning
{n} left the ice cream in the sun > the ice cream melted
{n} did not water the roses > the roses dried up
{n} practised the piano daily > {n} played the song well
{n} dropped the vase > the vase broke
{n} missed the bus > {n} came late to work
{n} sat too long in the sun > {n} got a sunburn
{n} touched the hot stove > {n} burned a finger
{n} ran ten miles > {n} had sore legs
{n} drank a lot of coffee > {n} could not fall asleep
{n} lost the front door key > {n} could not get into the flat
{n} turned on the heater > the room became warm
{n} opened the window in winter > the room became cold
{n} told a funny joke > everybody laughed
{n} read a very sad story > {n} began to cry
{n} won the race > {n} received a medal
{n} lied to a friend > the friend was angry
{n} shared the cake > the guests were pleased
{n} shook the bottle of lemonade > the lemonade sprayed out
{n} poured water on the campfire > the campfire went out
{n} kicked the ball too hard > a window was smashed
{n} drove too fast > {n} had to pay a fine
{n} slipped on the ice > {n} broke an arm
{n} saved money for a year > {n} bought a bicycle
{n} spent all the money > {n} could not pay the rent
{n} skipped breakfast > {n} was hungry at noon
{n} walked through the mud > the boots became dirty
{n} washed the car > the car was shiny
{n} left the gate open > the dog ran away
{n} left the milk out for days > the milk turned sour
{n} planted seeds in spring > flowers grew in summer
{n} cut an onion > {n} had watery eyes
{n} sneezed near a friend > the friend caught a cold
{n} charged the phone overnight > the phone was full in the morning
{n} played on the phone all day > the phone battery was empty
{n} put too much salt in the soup > nobody wanted the soup
{n} left the cake in the oven too long > the cake was burned
{n} pulled the rope too hard > the rope snapped
{n} blew into the balloon for long > the balloon burst
{n} overslept > {n} missed the first lesson
{n} trained with weights for months > {n} became strong
{n} rode through broken glass > the tyre went flat
{n} forgot the birthday > the sister was hurt
{n} helped the neighbour > the neighbour said thanks
{n} sang to the baby > the baby fell asleep
{n} banged the door > the baby woke up
{n} watered the garden every day > the tomatoes grew big
{n} wore thin clothes in the snow > {n} was freezing
{n} swam without goggles > {n} had red eyes
{n} put the wet shirt in the sun > the shirt dried
{n} put the water in the freezer > the water turned to ice
{n} heated the pot for ten minutes > the water boiled
{n} stepped on a thorn > {n} had a bleeding foot
{n} ignored the map > {n} got lost in the hills
{n} broke the rules of the game > {n} was sent off
{n} returned the lost purse > {n} got a reward
{n} pressed the light switch > the lamp went on
{n} pulled the plug > the radio went silent
{n} painted the bench in the morning > the bench was sticky at noon
{n} fed the ducks > the ducks came closer
{n} scared the birds > the birds flew off
{n} mixed blue and yellow paint > the paint became green
{n} wrote with a blunt pencil > the letters were hard to read
{n} carried heavy boxes all day > {n} had back pain
{n} brushed no teeth for weeks > {n} needed a dentist
{n} wore shoes that were too small > {n} got blisters
{n} shouted at the concert > {n} lost the voice
{n} sat down on the spectacles > the spectacles were bent
{n} left the tap running > the bath overflowed
"""
CAUSES: tuple[tuple[str, str], ...] = tuple(
    (cause.strip(), effect.strip())
    for cause, effect in (line.split(">") for line in _CAUSES.strip().splitlines())
)

# --- word pairs ----------------------------------------------------------------------------------
_ANTONYMS = """
hot cold; big small; tall short; fast slow; rich poor; old young; wet dry; full empty; clean dirty;
strong weak; loud quiet; heavy lightweight; thick thin; wide narrow; deep shallow; smooth rough;
sharp blunt; early late; easy difficult; open closed; sweet bitter; brave cowardly; kind cruel;
happy sad; polite rude; honest dishonest; clever stupid; beautiful ugly; safe dangerous;
cheap expensive; new ancient; near far; high low; inside outside; above below; begin end;
buy sell; give take; push pull; arrive depart; win lose; love hate; remember forget; build destroy;
laugh weep; rise sink; lend borrow; teach learn; ask reply; increase decrease; attack defend;
accept refuse; find misplace; freeze thaw; north south; east west; day night; summer winter;
friend enemy; king queen; brother sister; father mother; son daughter; husband wife; uncle aunt;
boy girl; peace war; truth lie; success failure; joy sorrow; top bottom; front back; entrance exit;
first last; always never; everybody nobody; many few; before after; alive dead; awake asleep;
guilty innocent; lazy busy; generous greedy; humble proud; patient impatient; public private;
simple complex; straight crooked; tight loose; visible hidden; fresh stale; wild tame; solid liquid;
maximum minimum; question answer; profit loss; victory defeat; hero villain; master servant
"""
_SYNONYMS = """
bold daring; begin start; large huge; tiny little; quick rapid; angry furious; glad cheerful;
ill sick; shut close; speak talk; look watch; gift present; road street; stone rock; house home;
journey trip; child kid; doctor physician; error mistake; job work; odd strange; calm peaceful;
wealthy affluent; tired weary; scared afraid; smart bright; pretty lovely; silent mute;
correct right; wrong false; finish complete; choose select; help assist; hurry rush; jump leap;
weep sob; shout yell; repair mend; obtain get; require need; reply respond; permit allow;
collect gather; throw toss; damage harm; hide conceal; taste flavour; crowd mob; forest wood;
sea ocean; soil earth; garbage rubbish; couch sofa; autumn fall; film movie; shop store;
picture image; story tale; street lane; wish desire
"""


def _pairs(text: str) -> list[tuple[str, str]]:
    return [tuple(pair.split()) for pair in text.replace("\n", " ").split(";") if pair.strip()]


def _one_partner(pairs: list[tuple[str, str]], taken: set[str]) -> tuple[tuple[str, str], ...]:
    """Keep the pairs whose words are new, so that every word has exactly one partner."""
    kept = []
    for one, other in pairs:
        if one not in taken and other not in taken:
            taken |= {one, other}
            kept.append((one, other))
    return tuple(kept)


ANTONYMS = _one_partner(_pairs(_ANTONYMS), set())
SYNONYMS = _one_partner(_pairs(_SYNONYMS), {word for pair in ANTONYMS for word in pair})

# --- judgements ----------------------------------------------------------------------------------
GOOD = (
    "wonderful excellent great lovely superb brilliant charming delightful fantastic splendid "
    "pleasant perfect amazing touching enjoyable marvellous thrilling impressive"
).split()
BAD = (
    "terrible awful horrible dull boring nasty dreadful poor disappointing annoying silly weak "
    "miserable tedious ghastly unpleasant clumsy shallow"
).split()
REVIEWED = (
    "book film play concert meal hotel game song lesson party show museum garden soup cake trip "
    "speech poem painting dance"
).split()

# --- people in general: kinds, deeds, places, belongings ------------------------------------------
KINDS = (
    "queen baker sailor farmer teacher doctor painter singer soldier gardener tailor miller "
    "shepherd poet clown fisherman judge nurse pilot smith"
).split()
TRAITS = (
    "tall happy clever brave gentle rich poor quiet strong hungry thirsty honest proud patient "
    "lazy kind curious careful cheerful stubborn"
).split()
NOUNS = {
    "child": "children", "teacher": "teachers", "farmer": "farmers", "sailor": "sailors",
    "woman": "women", "man": "men", "girl": "girls", "boy": "boys", "doctor": "doctors",
    "singer": "singers", "guest": "guests", "neighbour": "neighbours", "pupil": "pupils",
    "artist": "artists", "student": "students", "driver": "drivers",
}  # fmt: skip
ATTRACTORS = {
    "table": "tables", "tree": "trees", "door": "doors", "car": "cars", "bridge": "bridges",
    "wall": "walls", "tower": "towers", "shed": "sheds",
}  # fmt: skip
VERBS = (
    "sleep sing work run wait smile read write dance swim laugh cook play talk eat drink walk stand"
).split()
PLACES = (
    "kitchen garden bedroom office bakery library school market station cellar attic church "
    "harbour museum stable theatre"
).split()
BELONGINGS = (
    "spoon cup hat book letter lamp basket coin ring kite drum rope apple candle map box"
).split()
COLOURS = "red blue green yellow purple white black orange brown grey".split()
DEEDS: dict[str, str] = {  # base form -> past form
    "walk the dog": "walked the dog", "read a book": "read a book", "cook dinner": "cooked dinner",
    "clean the car": "cleaned the car", "write a letter": "wrote a letter",
    "feed the cat": "fed the cat", "paint the door": "painted the door",
    "buy some bread": "bought some bread", "call a friend": "called a friend",
    "play the drum": "played the drum", "wash the cups": "washed the cups",
    "bake a pie": "baked a pie", "visit the museum": "visited the museum",
    "sing a song": "sang a song", "sweep the floor": "swept the floor",
    "mend the fence": "mended the fence", "drink some tea": "drank some tea",
    "pick some apples": "picked some apples", "draw a map": "drew a map",
    "ride the horse": "rode the horse", "watch a film": "watched a film",
    "open the window": "opened the window", "sell the boat": "sold the boat",
    "fly a kite": "flew a kite",
}  # fmt: skip
COMPARATIVES = (
    ("taller", "shorter"), ("older", "younger"), ("richer", "poorer"), ("faster", "slower"),
    ("stronger", "weaker"), ("louder", "quieter"), ("happier", "sadder"), ("cleaner", "dirtier"),
)  # fmt: skip

# --- manners -------------------------------------------------------------------------------------
REQUESTS = (
    "lock the gate; close the door; pass the salt; move the car; turn down the music; "
    "wait outside; "
    "bring the keys; help with the boxes; sign the form; open the window; carry the bags; "
    "clean the desk; send the letter; hold the rope; switch off the lamp; feed the cat; "
    "make some tea; repeat the question; call the doctor; bring a chair; water the flowers; "
    "shut the drawer; fold the sheets; stop the engine; answer the phone; pick up the paper"
).split("; ")
POLITE = (
    "Could you please {r}?; Would you mind if I asked you to {r}?; Please {r}, thank you.; "
    "Excuse me, could you kindly {r}?; I would be grateful if you could {r}.; "
    "May I ask you to {r}, please?; Would you be so kind as to {r}?; "
    "Thank you so much, and please {r} when you have time.; Sorry to trouble you, could you {r}?; "
    "If it is no trouble, please {r}."
).split("; ")
RUDE = (
    "Just {r}, you fool!; {R} now, or get out!; How often must I tell you to {r}, idiot?; "
    "Shut up and {r}!; Are you too stupid to {r}?; {R}, you lazy thing!; "
    "Hurry up and {r}, moron!; Stop whining and {r}!; I am sick of you, {r} at once!; "
    "You useless lump, {r}!"
).split("; ")
INSULTS = (
    "thief liar fool coward cheat idiot loser crook moron failure fraud bully brat snob"
).split()
PRAISES = (
    "friend hero genius champion leader helper listener neighbour artist player teacher colleague "
    "dancer expert"
).split()
HARMFUL = (
    "{n} is a {i}.; Everybody knows that {n} is a {i}.; Get lost, {n}, you {i}.; "
    "{n} will always be a {i}.; I hate {n}, what a {i}.; Nobody likes {n}, the {i}.; "
    "Do not talk to {n}, who is a {i}.; You are a {i}, {n}, and you know it."
).split("; ")
HARMLESS_INSULT = (
    "It is wrong to call {n} a {i}.; Please never say that {n} is a {i}.; "
    "{n} is not a {i} at all.; I am sorry that I called {n} a {i}."
).split("; ")
HARMLESS_PRAISE = (
    "{n} is a good {p}.; Everybody knows that {n} is a fine {p}.; I like {n}, what a {p}.; "
    "You are a great {p}, {n}, and you know it."
).split("; ")
SITUATIONS: dict[str, tuple[str, str]] = {  # what happened -> (kind remark, unkind remark)
    "is late": ("please sit down with us", "you are always late"),
    "broke a cup": ("we have plenty of cups", "you break everything"),
    "lost the game": ("you played very well", "you play like a baby"),
    "is new at school": ("come and sit next to me", "nobody wants you here"),
    "forgot the tickets": ("we can buy new ones", "your head is empty"),
    "fell off the bicycle": ("let me help you up", "you cannot even ride"),
    "made a mistake": ("everyone gets things wrong", "you never get it right"),
    "is crying": ("tell me what is the matter", "only babies cry"),
    "asked a question": ("that is a good question", "what a dumb question"),
    "wants to join the game": ("you can be on my team", "go and play alone"),
    "spilled the milk": ("I will bring a towel", "look at the mess you made"),
    "failed the exam": ("next time you will pass", "you were always too dumb"),
    "has a new haircut": ("it looks lovely on you", "it looks ridiculous"),
    "cooked dinner": ("it tastes delicious", "it tastes like mud"),
    "is ill": ("I hope you feel better soon", "you are faking it"),
    "sang a song": ("your voice is beautiful", "your voice is ugly"),
    "is afraid of the dark": ("I will leave the lamp on", "stop being a coward"),
    "lost a coin": ("I will help you look for it", "you lose everything"),
    "painted a picture": ("the colours are wonderful", "a child could do better"),
    "came second": ("you can be proud of that", "second is nothing"),
    "is hungry": ("you can have my apple", "find your own food"),
    "missed the bus": ("I will drive you home", "it serves you right"),
    "wrote a poem": ("your poem is touching", "nobody wants to hear that"),
    "has no umbrella": ("you can share mine", "go and get wet"),
    "is tired": ("have a good rest", "you are just lazy"),
    "got a bad mark": ("I can help you study", "you will never learn"),
    "is lonely": ("you are always welcome here", "no wonder that you are alone"),
    "lost the key": ("we will find it together", "what a silly thing to do"),
    "stammers": ("take all the time you need", "spit it out"),
    "planted a tree": ("it will grow tall and strong", "it looks half dead"),
    "wears glasses": ("they suit you very well", "you look like an owl"),
    "baked a cake": ("may I have another slice", "I would not feed it to a dog"),
}
KIND_OPENERS = (
    "No problem,; Never mind,; Do not worry,; My dear friend,; That is all right,; Oh,; Well,"
).split("; ")
UNKIND_OPENERS = ("You fool,; Oh please,; As usual,; Ha,; Shame on you,; Get lost,; Well,").split(
    "; "
)

# --- invented people and what can be said of them -------------------------------------------------
JOBS = (
    "baker carpenter teacher sailor nurse painter tailor lawyer farmer pilot plumber dentist "
    "gardener printer watchmaker librarian shepherd glazier butcher chemist"
).split()
PETS = "cat dog rabbit parrot tortoise hamster goat pony finch goldfish lizard hen".split()
INSTRUMENTS = (
    "violin flute trumpet harp cello guitar piano banjo clarinet accordion organ mandolin"
).split()
FOODS = (
    "eggs pancakes cheese noodles plums cabbage mushrooms dumplings olives honey rice pears beans "
    "waffles"
).split()
HOBBIES = (
    "fishing chess knitting sailing archery pottery juggling skating fencing beekeeping climbing "
    "origami dancing rowing"
).split()
STREETS = (
    "Lantern Street; Mill Lane; Copper Row; Harbour Steps; Willow Road; Chapel Hill; Salt Alley; "
    "Orchard Way; Granite Square; Raven Court; Barley Street; Moss Lane; Beacon Road; Cooper Yard; "
    "Thistle Bank; Quarry Walk; Amber Street; Juniper Close; Ferry Row; Cobble Lane"
).split("; ")
TITLES = (
    "The Silent Lighthouse; Seven Grey Doors; A Winter of Ink; The Glass Orchard; "
    "Letters to the Tide; "
    "The Last Ferryman; Under the Tin Moon; A Map of Small Hours; The Clockmaker's Debt; "
    "Salt and Cinders; The Paper Garden; Nine Crooked Stairs; The Amber Staircase; "
    "A Field of Bells; The Hollow Bridge; Songs for an Empty House; The Borrowed Coat; "
    "Night of the Herons; The Iron Almanac; A Thimble of Rain"
).split("; ")
TRADES = ("Mills; Brothers; Works; Bank; Press; Shipyard; Brewery; Textiles").split("; ")
PRODUCTS = ("flour; clocks; ships; loans; books; bricks; cloth; tools").split("; ")
GENRES = "novel comedy mystery memoir fable thriller".split()
