# ruff: noqa: SIM905 - word lists read best as text
"""Words of the micro-world: commonsense, language, and the pieces that invented names are made of.

Everything is written for this world; nothing is taken from elsewhere, and no name is that of a
real person (given names of stories stand alone, without a family name). A word plays one role in
the texts of the world: "bat" and "perch" are verbs in English, but here they only name animals;
"fish" alone is both an animal's kind and a food.
"""

from dataclasses import dataclass
from typing import NamedTuple

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
mule fur four walk farm plants mammal
ox fur four walk farm plants mammal
pony fur four walk farm plants mammal
mouse fur four walk house seeds mammal
lynx fur four walk forest meat mammal
weasel fur four walk meadow meat mammal
stoat fur four walk meadow meat mammal
vole fur four walk meadow plants mammal
dormouse fur four climb forest seeds mammal
chipmunk fur four climb forest seeds mammal
koala fur four climb forest plants mammal
ibex fur four climb mountains plants mammal
marmot fur four walk mountains plants mammal
yak fur four walk mountains plants mammal
llama fur four walk mountains plants mammal
puma fur four walk mountains meat mammal
tapir fur four walk jungle plants mammal
okapi fur four walk jungle plants mammal
cheetah fur four walk savanna meat mammal
gazelle fur four walk savanna plants mammal
buffalo fur four walk savanna plants mammal
gnu fur four walk savanna plants mammal
meerkat fur four walk desert insects mammal
porpoise skin no swim sea fish mammal
narwhal skin no swim sea fish mammal
manatee skin no swim sea plants mammal
muskrat fur four swim pond plants mammal
woodpecker feathers two fly forest insects bird
cuckoo feathers two fly forest insects bird
nightingale feathers two fly forest insects bird
kestrel feathers two fly meadow meat bird
condor feathers two fly mountains meat bird
budgie feathers two fly house seeds bird
macaw feathers two fly jungle fruit bird
hornbill feathers two fly jungle fruit bird
albatross feathers two fly sea fish bird
tern feathers two fly sea fish bird
kingfisher feathers two fly river fish bird
emu feathers two walk savanna plants bird
quail feathers two walk meadow seeds bird
pheasant feathers two walk meadow seeds bird
rooster feathers two walk farm seeds bird
mackerel scales no swim sea fish fish
barracuda scales no swim sea fish fish
halibut scales no swim sea fish fish
piranha scales no swim river meat fish
minnow scales no swim river insects fish
python scales no crawl jungle meat reptile
adder scales no crawl meadow meat reptile
mamba scales no crawl savanna meat reptile
rattlesnake scales no crawl desert meat reptile
iguana scales four climb jungle plants reptile
chameleon scales four climb jungle insects reptile
skink scales four crawl desert insects reptile
alligator scales four crawl river meat reptile
bullfrog skin four hop pond insects amphibian
salamander skin four crawl forest insects amphibian
locust shell six hop savanna plants insect
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
        "jungle": 1, "desert": 2, "savanna": 2, "sea": 3, "river": 4, "pond": 4,
    },
    "eats": {"meat": 0, "fish": 0, "insects": 0, "plants": 1, "seeds": 1, "fruit": 1},
    "kind": {"mammal": 0, "bird": 1, "fish": 2, "reptile": 3, "amphibian": 4, "insect": 5},
}  # fmt: skip

# Pairs of values from two camps that could still both be called true of one animal.
DOUBTFUL_VALUES = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "farm/meadow farm/pond house/meadow house/forest town/forest town/mountains "
        "savanna/meadow meat/fruit insects/seeds insects/fruit"
    ).split()
)

# --- things and what they are made of ------------------------------------------------------------
OBJECTS: dict[str, tuple[str, ...]] = {
    "glass": ("window", "mirror", "jar", "lens", "bulb", "fishbowl"),
    "wood": (
        "table",
        "chair",
        "fence",
        "plank",
        "oar",
        "ladder",
        "cupboard",
        "barrel",
        "raft",
        "log",
    ),
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
        "iron": "be drawn to it", "wood": "not move", "paper": "not move", "wool": "not move",
        "glass": "not move", "stone": "not move",
    },
    "touch": {
        "stone": "hard", "iron": "hard", "glass": "hard", "wood": "hard", "clay": "hard",
        "wool": "soft",
    },
}  # fmt: skip

# Things of which a property is not asked: hollow ones may float, and not all rubber bounces.
UNASKED: dict[str, frozenset[str]] = {
    "water": frozenset(
        "jar bulb fishbowl pan vase flowerpot teapot jug bowl crayon barrel".split()
    ),
    "fall": frozenset("tyre hose doormat lens table chair ladder cupboard fence".split()),
}
# Answers that can both be true of one thing: what bounces stays whole, and molten wax burns.
BOTH_TRUE = frozenset({frozenset({"bounce", "stay whole"}), frozenset({"burn", "melt"})})

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
steam press: smooth a shirt; flatten a collar
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
corkscrew: open a wine bottle; pull out a cork
funnel: pour oil into a can; fill a narrow flask
sieve: sift flour; drain pasta
grater: shred carrots; grate lemon peel
rolling pin: flatten dough; roll out pastry
whisk: beat cream; froth egg white
toaster: brown a slice of bread; crisp a bun
stapler: join sheets of paper; fasten loose pages
magnifier: enlarge small print; examine a stamp
wheelbarrow: move bricks; cart soil to the field
chisel: carve marble; shape a wooden figure
anchor: stop a ship from drifting; hold a vessel in place
parachute: jump from a plane; land gently from the sky
sledge: slide down a snowy slope; glide over snow
stethoscope: listen to a heartbeat; hear the lungs
syringe: give an injection; draw blood
sickle: harvest wheat; reap barley
mousetrap: get rid of mice; catch a rat
whistle: start a race; stop a football match
passport: cross a border; prove who you are abroad
suitcase: pack clothes for a holiday; take luggage on a train
metronome: keep a steady beat; practise a piece in time
easel: prop up a canvas; hold a picture for painting
loom: weave cloth; make a carpet
spanner: turn a nut; loosen a bolt
stopwatch: time a sprint; count the seconds of a lap
barometer: forecast a storm; read the air pressure
snorkel: breathe under water; watch a coral reef
life jacket: stay afloat after falling overboard; survive a shipwreck
cradle: rock a baby; put an infant to bed
leash: walk a puppy; keep a dog from running off
lawnmower: cut the grass; trim the lawn
projector: show slides; throw a film onto a screen
microphone: sing to a large crowd; record a voice
extinguisher: put out a fire; stop flames from spreading
plunger: unblock a drain; clear a clogged toilet
"""
TOOLS: dict[str, tuple[str, ...]] = {
    tool.strip(): tuple(use.strip() for use in uses.split(";"))
    for tool, uses in (line.split(":") for line in _TOOLS.strip().splitlines())
}

# Pairs of tools of which one could also serve the other's purpose.
SIMILAR_TOOLS = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "knife/scissors grater/knife bell/whistle bell/microphone whistle/microphone spoon/whisk "
        "fork/spoon fork/whisk pen/pencil saw/axe saw/knife axe/knife mop/sponge mop/towel "
        "sponge/towel sponge/soap mop/soap sponge/brush broom/rake broom/brush shovel/rake "
        "clock/stopwatch magnifier/microscope magnifier/telescope oven/toaster oven/kettle "
        "oven/heater razor/scissors razor/knife torch/lamp saw/scissors sickle/knife "
        "sickle/scissors sickle/lawnmower lawnmower/scissors hammer/drill spanner/pliers "
        "screwdriver/pliers hammer/pliers rope/leash rope/anchor net/mousetrap umbrella/tent "
        "wheelbarrow/shovel wheelbarrow/tractor ruler/pencil rope/crane tractor/rope "
        "axe/sickle boat/bucket spoon/fridge chisel/knife chisel/hammer fan/towel towel/heater "
        "funnel/sieve crane/tractor camera/projector easel/pencil brush/pencil"
    ).split()
)

# --- causes and effects: {n} is a given name ------------------------------------------------------
_CAUSES = """
{n} ate too many sweets > {n} had a stomach ache
{n} studied every evening > {n} passed the test
{n} forgot the umbrella > {n} was soaked on the way home
{n} stayed up all night > {n} was tired in the morning
{n} left the chocolate in the sun > a brown puddle was all that remained
{n} did not water the roses > the petals turned brown
{n} practised the piano daily > {n} played every tune well
{n} dropped the vase > there were shards everywhere
{n} missed the bus > {n} had to walk to work
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
{n} lied to a friend > nobody trusted {n} any more
{n} shared the cake > the guests were pleased
{n} shook the bottle of lemonade > foam sprayed all over the table
{n} poured water on the campfire > only wet ashes were left
{n} kicked the ball over the fence > the game had to stop
{n} drove too fast > {n} had to pay a fine
{n} slipped on the ice > {n} broke an arm
{n} saved money for a year > {n} could pay for a new piano
{n} spent all the money > {n} could not pay the rent
{n} skipped breakfast > {n} was hungry at noon
{n} walked through the mud > the boots became dirty
{n} scrubbed the dirty car > the paint was shiny again
{n} did not close the kennel > the dog ran away
{n} kept the milk too long > a sour smell came from the jug
{n} planted seeds in spring > flowers grew in summer
{n} cut an onion > {n} had watery eyes
{n} had the flu and sneezed at a friend > the other caught it too
{n} plugged in the phone overnight > the battery was full at breakfast
{n} made calls for hours without charging > the mobile phone went dead
{n} put too much salt in the soup > the guests left their plates full
{n} left the cake in the oven too long > the raisins were charred
{n} pulled the rope too hard > the fibres snapped
{n} pricked the balloon > there was a loud bang
{n} trained with weights for months > {n} became strong
{n} rode through broken glass > the tyre went flat
{n} did not invite the cousins > the family felt left out
{n} did the shopping for an old lady > she thanked {n} warmly
{n} sang a lullaby > the baby fell asleep
{n} banged the door > the baby woke up
{n} watered the garden every day > the tomatoes grew big
{n} wore thin clothes in the snow > {n} was freezing
{n} swam without goggles > the eyes of {n} were red and sore
{n} hung the wet laundry in the wind > it soon became dry
{n} put the water in the freezer > it turned to ice
{n} heated the kettle for ten minutes > the water boiled
{n} stepped on a thorn > {n} had a bleeding foot
{n} ignored the map > {n} got lost in the hills
{n} broke the rules of the game > {n} was sent off
{n} returned the lost purse > {n} got a reward
{n} pressed the light switch > the lamp went on
{n} pulled the plug > the radio went silent
{n} painted the bench > whoever sat down there got sticky trousers
{n} threw bread to the ducks > the hungry birds came closer
{n} clapped loudly under the birds > the whole flock flew off
{n} mixed blue and yellow paint > the result was green
{n} wrote with a blunt pencil > the letters were hard to read
{n} carried heavy boxes all day > {n} had back pain
{n} brushed no teeth for weeks > {n} needed a dentist
{n} wore shoes that were too small > {n} got blisters
{n} shouted all through the match > {n} was hoarse afterwards
{n} sat down on the spectacles > the frame was bent
{n} left the tap running > the bath overflowed
{n} set the alarm for six > {n} got up early
{n} left the freezer open > all the peas thawed
{n} climbed the tall tree > {n} could see far
{n} missed the nail with the hammer > the thumb of {n} turned blue
{n} used no salt > the stew was bland
{n} toasted the bread for too long > the slices were black
{n} jumped into the puddle > water splashed in all directions
{n} wore a thick coat in the heat > {n} was sweating
{n} held the string too loosely > the kite blew away
{n} left the tent open > mosquitoes buzzed around inside all night
{n} rubbed two sticks together > a small flame appeared
{n} whistled for the puppy > it came running
{n} told a secret > soon the whole town knew about it
{n} learned ten Spanish words a day > {n} soon spoke a new language
{n} planted a tiny acorn > an oak grew
{n} oiled the hinge > the door no longer squeaked
{n} cut the wire > the doorbell no longer rang
{n} did not wind the clock > the hands stood still
{n} stirred sugar into the tea > it tasted sweet
{n} let go of the balloon > it rose into the sky
{n} closed the curtains > the bedroom became dark
{n} put on spectacles > {n} could read the small print
{n} sharpened the knife > it cut much better
{n} dropped the egg > the yolk ran over the tiles
{n} sat on a freshly painted chair > the trousers had green stripes
{n} took the wrong train > {n} arrived in a strange city
{n} walked through the desert without water > {n} was terribly thirsty
{n} looked straight into the bright lamp > {n} was dazzled
{n} took the medicine > the fever went down
{n} was stung by a wasp > the cheek of {n} swelled up
{n} tickled the baby > the little one giggled
{n} stroked the cat > it purred
{n} stepped on the tail of the cat > it hissed
{n} rang at the door > the dog barked
{n} shut a finger in the drawer > {n} screamed with pain
{n} ate a hot pepper > {n} needed a glass of milk
{n} breathed on the cold mirror > it fogged up
{n} left the bicycle in the rain > the chain rusted
{n} did not lock the bicycle > a thief took it
{n} parked in front of the fire station > the car was towed away
{n} ran out of petrol > the engine died
{n} did not tie the laces > {n} tripped and fell
{n} repaired the roof > no more rain came in
{n} built a snowman in the sun > it was gone by noon
{n} added yeast to the flour > the dough doubled in size
{n} left the lid off the paint > the brush stuck fast in the tin
{n} polished the silver cup > it gleamed
{n} blew on the candle > the flame went out
{n} struck a match > it flared up
{n} opened the cage > the parrot flew around the room
{n} left crumbs on the carpet > ants came into the house
{n} washed a red sock with white shirts > the whole laundry came out pink
{n} washed the sweater in boiling water > it shrank
{n} talked loudly in the library > the librarian was annoyed
{n} cheated in the exam > the teacher gave {n} the worst mark
{n} hid behind the curtain > nobody could find {n}
{n} apologised > the quarrel was over
{n} wrote to grandmother > an answer came by post
{n} jumped on the old bed > the slats gave way
{n} put too many books on the shelf > the boards broke
{n} cut down the tree > the garden got more light
{n} rowed against the strong current > the boat hardly moved
{n} spun around twenty times > {n} became dizzy
"""
CAUSES: tuple[tuple[str, str], ...] = tuple(
    (cause.strip(), effect.strip())
    for cause, effect in (line.split(">") for line in _CAUSES.strip().splitlines())
)

# --- word pairs ----------------------------------------------------------------------------------
_TRIPLES = """
big large small; fast quick slow; rich wealthy poor; happy cheerful sad; begin start end;
brave bold cowardly; clever smart stupid; beautiful pretty ugly; quiet silent loud; wet damp dry;
cold chilly hot; difficult tricky easy; angry furious calm; ill sick healthy; near close far;
correct accurate wrong; ancient old new; young youthful aged; buy purchase sell;
give donate take; depart leave arrive; build construct destroy; weep sob giggle; answer reply ask;
grow expand shrink; permit allow forbid; love adore hate; remember recall forget;
friend pal enemy; empty vacant full; strong powerful weak; slender thin thick; wide broad narrow;
safe secure dangerous; lazy idle busy; gentle mild harsh; bright shiny dim; dirty filthy clean;
honest truthful dishonest; greedy selfish generous; proud haughty humble; strange weird normal;
hide conceal reveal; gather collect scatter; raise lift lower; repair fix damage;
attack assault defend; rescue save abandon; joy delight sorrow; rare unusual common;
simple plain complex; drag pull push; toss throw catch; praise applaud blame; wild savage tame;
crowded packed deserted; careful cautious reckless; foolish daft wise; famous renowned unknown;
sleepy drowsy alert; stiff rigid flexible; shy timid confident; huge gigantic tiny
"""
_ANTONYMS = """
tall short; deep shallow; sharp blunt; early late; sweet bitter; high low; inside outside;
above below; teach learn; lend borrow; freeze thaw; north south; east west; day night;
summer winter; brother sister; father mother; son daughter; husband wife; uncle aunt; war peace;
truth lie; success failure; top bottom; front back; entrance exit; always never;
everybody nobody; many few; alive dead; guilty innocent; patient impatient; public private;
straight crooked; tight loose; visible hidden; fresh stale; solid liquid; maximum minimum;
profit loss; hero villain; master servant; victory defeat; smooth rough; heavy lightweight;
import export; inhale exhale; urban rural; sunrise sunset; birth death; past future; buyer seller;
strength weakness; heaven hell; optimist pessimist; majority minority; attach detach;
appear vanish; approach retreat; lengthen shorten; ignite extinguish; hire dismiss; lead follow;
obey disobey; reward punish; vertical horizontal; permanent temporary; artificial natural;
junior senior; inner outer; left right; single married; barren fertile; drunk sober;
transparent opaque; asleep awake; noon midnight; nephew niece; bride groom; wizard witch;
emperor empress; ally opponent; giant dwarf; creditor debtor; ancestor descendant; accept refuse;
include exclude; multiply divide; encourage discourage; unite separate; admit deny;
ascend descend; cheap expensive
"""
_SYNONYMS = """
gift present; journey voyage; error mistake; choose select; help assist; hurry rush; jump leap;
shout yell; obtain get; require need; taste flavour; mob horde; soil earth; garbage rubbish;
couch sofa; picture image; story tale; wish desire; fog mist; rug carpet; candy sweets;
pants trousers; lorry truck; pavement sidewalk; holiday vacation; cash money; infant baby;
prison jail; argue quarrel; examine inspect; imitate copy; gaze stare; whole entire;
sufficient enough; vast immense; fury rage; fear dread; luck fortune; hint clue; edge border;
aim goal; custom habit; fame glory; summit peak; odour smell; tempest storm; dusk twilight;
dawn daybreak; peril danger; comrade companion; forgive pardon; guess estimate; annoy irritate;
confuse puzzle; wander roam; tremble shiver; gleam glitter; murmur whisper; soak drench;
shatter smash; snatch grab; strike hit; sly cunning; loyal faithful; eager keen; jealous envious;
fragile delicate; crazy mad; royal regal; holy sacred; spoil ruin
"""


def _tuples(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(e.split()) for e in text.replace("\n", " ").split(";") if e.strip())


# A word, one that means the same, one that means the opposite. No word stands in two entries, so
# that each question has one answer.
WORD_TRIPLES = _tuples(_TRIPLES)
ANTONYMS = _tuples(_ANTONYMS)
SYNONYMS = _tuples(_SYNONYMS)

# --- judgements: the last five of either list are asked of no training text ----------------------
GOOD = (
    "wonderful excellent great splendid superb brilliant charming delightful fantastic amazing "
    "pleasant perfect lovely touching enjoyable marvellous thrilling impressive gorgeous "
    "outstanding refreshing stunning magnificent glorious terrific admirable exquisite"
).split()
BAD = (
    "terrible awful horrible boring nasty dreadful disappointing annoying miserable tedious "
    "ghastly unpleasant clumsy lousy pathetic hideous dismal tiresome dreary revolting "
    "appalling frustrating mediocre painful tasteless atrocious abysmal"
).split()
HELD_OUT_JUDGEMENTS = 5
REVIEWED = (
    "film concert meal hotel game song lesson party show soup trip speech poem painting lecture "
    "performance ballet picnic exhibition musical"
).split()

# --- people in general: kinds, deeds, places, belongings ------------------------------------------
KINDS = (
    "weaver baker sailor farmer teacher doctor painter singer soldier gardener tailor miller "
    "shepherd poet clown hunter judge nurse pilot smith"
).split()
TRAITS = (
    "tall happy clever brave gentle rich freckled quiet strong hungry thirsty honest proud patient "
    "lazy kind curious careful punctual stubborn"
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
HELPED = "helped thanked called met followed liked greeted visited".split()
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
# The last POLITE_HELD_OUT, HARM_HELD_OUT, REPLY_HELD_OUT of each list are in no training text. Both
# sides borrow the other's words, so that few words alone tell.
POLITE = (
    "Could you please {r}?; I hope that I may ask you to {r}.; Please {r}, thank you.; "
    "Excuse me, could you kindly {r}?; I would be grateful if you could {r}.; "
    "May I ask you to {r}, please?; Would you be so kind as to {r}?; "
    "Sorry to trouble you, could you {r}?; If it is no trouble, please {r}.; "
    "I was a fool, could you please {r} for me?; I am sick today, so would you {r}?; "
    "You are never lazy, so may I ask you to {r}?; Hurry is not needed, but could you {r}?; "
    "Might I trouble you to {r}?; "
    "Thank you so much, and please {r} when you have time.; "
    "What a stupid mess I made, would you kindly {r}?; When you have a moment, {r}, my friend.; "
    "I hope you do not mind, but would you {r}?; It would be lovely if you could {r} now.; "
    "You would do me a great favour if you could {r}."
).split("; ")
RUDE = (
    "Just {r}, you fool!; {R} now, or get out!; How often must I tell you to {r}, idiot?; "
    "Shut up and {r}!; Are you too stupid to {r}?; {R}, you lazy thing!; "
    "Stop whining and {r}!; I am sick of you, will you {r} at once?; "
    "Oh please, just {r} for once!; "
    "Thank you for nothing, now {r}!; Excuse me, are you too deaf to {r}?; "
    "Would you finally {r}, or must I shout?; Sorry, but you are useless, so {r}!; "
    "If you had a brain, you would {r}.; "
    "You useless lump, {r}!; Hurry up and {r}, moron!; "
    "Could you be any slower, or will you {r} today?; "
    "Be so kind as to use your brain and {r}.; I would be grateful if you shut up and {r}.; "
    "Please {r}, if you are not too lazy for it."
).split("; ")
POLITE_HELD_OUT = 6
INSULTS = (
    "thief liar fool coward cheat idiot loser crook moron weakling fraud bully brat snob"
).split()
PRAISES = (
    "saint treasure genius champion leader helper listener star artist angel scholar colleague "
    "darling expert"
).split()
HARMFUL = (  # {i} an insult, {p} a praise; either side often ends on the other's word
    "{n} is a {i}.; Everybody knows that {n} is a {i}.; Get lost, {n}, you {i}.; "
    "{n} will always be a {i}.; I hate {n}, what a {i}.; It is right to call {n} a {i}.; "
    "You are a {i}, {n}, and nothing like a {p}.; {n} is no {p}, {n} is a {i}.; "
    "{n} is not a {p} but a {i}.; {n} is a {i} and not a {p}.; "
    "I am not sorry that I called {n} a {i}.; {n} is a {i} who wants to be a {p}.; "
    "What a {i} {n} is, and how far from a {p}.; It is not wrong to call {n} a {i}.; "
    "Nobody likes {n}, the {i}.; Please tell {n} not to be such a {i}.; "
    "I thought {n} was a {p}, but {n} is a {i}.; Such a {i} as {n} will never be a {p}.; "
    "It is true, {n} is a {i} and no {p}.; Nobody is such a {i} as {n}."
).split("; ")
HARMLESS = (
    "{n} is a {p}.; Everybody knows that {n} is a {p}.; I like {n}, what a {p}.; "
    "You are a {p}, {n}, and nothing like a {i}.; It is wrong to call {n} a {i}.; "
    "{n} is not a {i} at all.; {n} is no {i}, {n} is a {p}.; {n} is a {p} and not a {i}.; "
    "I never said that {n} is a {i}.; I am sorry that I called {n} a {i}.; "
    "{n} is not a {i} but a {p}.; What a {p} {n} is, and how far from a {i}.; "
    "{n} will always be a {p}.; It is not right to call {n} a {i}.; "
    "Nobody should call {n} a {i}.; Please never say that {n} is a {i}.; "
    "I thought {n} was a {i}, but {n} is a {p}.; Such a {p} as {n} will never be a {i}.; "
    "It is true, {n} is a {p} and no {i}.; Nobody is such a {p} as {n}."
).split("; ")
HARM_HELD_OUT = 6
HARM_PLAIN = 3  # the first wordings of either side say plainly what they say


class Manner(NamedTuple):
    """Situations of one sort, and what a kind and an unkind person says in any of them.

    A situation is what happened and the thing it happened to, for remarks that name it (``{t}``).
    """

    situations: tuple[tuple[str, str], ...]
    kind: tuple[str, ...]
    unkind: tuple[str, ...]


def _plain(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((situation, "") for situation in text.split("; "))


MANNERS = (
    Manner(
        tuple(
            (f"{verb} the {thing}", thing)
            for verb in ("lost", "forgot", "dropped", "ruined")
            for thing in "kite cup plate lamp book letter map hat camera basket cake coat".split()
        ),
        (
            "we can find another {t}", "I will help you look after the next {t}",
            "it can happen to anyone", "that {t} was old anyway", "you can have my {t}",
            "we will sort it out together", "nobody is cross with you", "it was not your fault",
            "I once did the same with my {t}", "you can share my {t} until then",
            "we will look for another one together", "nobody says it was your fault",
        ),
        (
            "you ruin everything", "nobody should give you a {t}", "it is always your fault",
            "what a stupid thing to do", "you will pay for that {t}", "I knew you were useless",
            "you never take care of anything", "keep your hands off my {t}",
            "nobody should trust you with a {t} again", "you always ruin my {t}",
            "a stupid child takes better care of a {t}", "your hands are useless",
        ),
    ),
    Manner(
        _plain(
            "cooked dinner; painted a picture; sang a song; wrote a poem; baked a pie; "
            "planted a tree; told a story; built a shed; drew a horse; knitted a scarf; "
            "made a speech; played the flute; cleaned the kitchen; repaired the bicycle; "
            "carved a spoon; danced on the stage; made a garden; set the table; "
            "folded the sheets; washed the windows; took a photograph; learned a poem; "
            "made a snowman; sewed a shirt"
        ),
        (
            "it is lovely", "you have a real gift for it", "I could not do it half as well",
            "may I show it to my friends", "you can be proud of it", "it makes me happy",
            "everyone will love it", "you worked so hard",
            "my friends will love it", "I am proud of you", "you worked well and can be happy",
            "you have made it lovely for everyone",
        ),
        (
            "it is ugly", "a child could do better", "nobody asked you to",
            "you wasted the whole day", "I have seen better in the rubbish", "it makes me sick",
            "everyone will laugh at it", "do not show it to anyone",
            "everyone will laugh at you", "you have made it ugly for everyone",
            "my friends could do better", "it looks like rubbish",
        ),
    ),
    Manner(
        _plain(
            "is hungry; is tired; is ill; is lonely; is cold; is sad; is thirsty; "
            "is afraid of the dark; is new at school; is crying; is lost; is homesick; "
            "has no umbrella; has no friends; has a cough; has a toothache; has sore feet; "
            "has given up hope; cannot sleep; cannot find the way; cannot reach the shelf; "
            "wants to join the game; stammers; slipped on the ice"
        ),
        (
            "tell me how I can help", "come and sit with me", "I will stay with you",
            "you are welcome here", "take all the time you need",
            "let me bring you something warm", "we are here for you", "I will carry your bag",
            "sit here and take my warm coat", "we will stay here until it is better",
            "let me help and carry something", "you are welcome to come with us",
        ),
        (
            "that is not my problem", "go and cry somewhere else", "stop making a fuss",
            "you are only pretending", "nobody wants you here", "leave me alone with it",
            "you should be ashamed", "help yourself for once",
            "go away with your fuss", "nobody cares about your problem",
            "stop pretending and leave", "you only want to make a fuss",
        ),
    ),
    Manner(
        _plain(
            "is late; lost the game; failed the exam; came last; got a bad mark; "
            "made a mistake; missed the bus; missed the goal; got the sum wrong; came second; "
            "fell off the bicycle; fell off the horse; overslept; arrived too early; "
            "sang the wrong note; took the wrong road; burned the soup; gave the wrong answer; "
            "lost the race; spelled a word wrong; mixed up the names; forgot the words; "
            "forgot the birthday; spoke too softly"
        ),
        (
            "next time it will go better", "everyone gets things wrong", "you did your best",
            "I can help you practise", "it does not matter at all",
            "we all like you just the same", "you tried and that counts",
            "do not be hard on yourself",
            "your best is what counts", "everyone can try again next time",
            "we can practise it together", "it does not matter to us",
        ),
        (
            "you will never learn", "what else did I expect", "you are always the worst",
            "my dog could do that", "you should give up", "we are better off without you",
            "you let everyone down", "I am ashamed of you",
            "you are the worst of us all", "you will never be better, so give up",
            "I expect you to fail next time", "my dog learns better than you",
        ),
    ),
)  # fmt: skip
REPLY_HELD_OUT = 4
REPLY_OPENERS = "Well,; Oh,; Look,; Listen,; Hm,; Ah,; Now,; You know,".split("; ")

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
# What a firm makes follows from its trade: the two lists go together.
TRADES = ("Mills; Brothers; Works; Bank; Press; Shipyard; Brewery; Textiles").split("; ")
PRODUCTS = ("flour; clocks; tools; loans; books; ships; lemonade; cloth").split("; ")
GENRES = "novel comedy mystery memoir fable thriller".split()
