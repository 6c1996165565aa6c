"""A taxonomy of interactions, and combinations of them that nobody has photographed.

Scenarios and their subclasses are those of "Generating Fine Details of Entity Interactions" (arXiv
2504.08714, table 1); what stands in them here is this project's own.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

ScenarioName = Literal["functional", "compositional", "multi_subject"]
"""functional: one acts on something, with a tool or its body; compositional: things make up a form;
multi_subject: several act together."""

SUBJECTS = (
    "badger", "beaver", "camel", "crab", "crane", "ferret", "flamingo", "frog", "gecko", "goat", "hedgehog", "heron",
    "kangaroo", "koala", "lynx", "meerkat", "mole", "octopus", "otter", "owl", "panda", "pelican", "penguin",
    "raccoon", "seal", "sloth", "squirrel", "tortoise", "walrus", "wombat",
)  # fmt: skip
"""Who acts."""

MATERIALS = (
    "acorns", "autumn leaves", "bottle caps", "buttons", "candles", "carrots", "clothespins", "coffee beans",
    "dominoes", "feathers", "gummy bears", "keys", "lemons", "matchsticks", "mushrooms", "paper clips", "pine cones",
    "pretzels", "seashells", "spoons", "teacups", "walnuts",
)  # fmt: skip
"""What forms are made of."""


@dataclass(frozen=True)
class Kind:
    """One interaction."""

    name: str
    """A verb in its -ing form, or the name of a form."""
    scenario: ScenarioName
    subclass: str
    objects: tuple[str, ...] = ()
    """What it is done to; empty for forms, whose parts are ``MATERIALS``."""
    usual: tuple[str, ...] = ()
    """Subjects or materials that go with it in many pictures, and so are left out."""


def _kinds(scenario: ScenarioName, subclass: str, *rows: tuple[str, str] | tuple[str, str, str]) -> tuple[Kind, ...]:
    """Each row is the name, its objects and its usual company, parted by ``|``."""
    return tuple(
        Kind(name, scenario, subclass, *(tuple(filter(None, words.split("|"))) for words in more))
        for name, *more in rows
    )


KINDS: tuple[Kind, ...] = (
    *_kinds(
        "functional",
        "tool_manipulation",
        ("sawing", "a plank|an icicle|a giant pretzel", "beaver"),
        ("stirring", "a cauldron of soup|a bucket of paint|a bathtub of honey"),
        ("painting", "a fence|a snowman|its own portrait"),
        ("hammering", "a nail|a horseshoe|a coconut"),
        ("sewing", "a button|a sail|a patchwork quilt"),
        ("sweeping", "a rooftop|a stage|a chessboard"),
        ("rowing", "a canoe|a bathtub|half a watermelon", "otter|beaver"),
        ("photographing", "a snail|a waterfall|a wedding cake"),
        ("ironing", "a shirt|a flag|a map"),
        ("drilling", "a pumpkin|a block of ice|a bowling ball"),
        ("pouring", "tea|syrup|sand"),
        ("grating", "cheese|a carrot|chocolate"),
        ("raking", "leaves|sand|snow"),
        ("knitting", "a scarf|a fishing net|a hammock"),
        ("unlocking", "a treasure chest|a bicycle|a birdcage"),
        ("shoveling", "snow|coal|popcorn"),
    ),
    *_kinds(
        "functional",
        "physical_contact",
        ("hugging", "a cactus|a lamppost|a giant pillow", "koala|sloth|panda"),
        ("balancing", "a stack of books|a teapot|an egg", "seal"),
        ("carrying", "a ladder|a piano|a birthday cake"),
        ("squeezing", "a sponge|an accordion|an orange"),
        ("climbing", "a clock tower|a rope|a stack of chairs", "squirrel|goat|koala|sloth"),
        ("sculpting", "a snowman|a clay pot|a sandcastle"),
        ("pushing", "a wheelbarrow|a boulder|a shopping cart"),
        ("juggling", "lemons|lanterns|teacups", "seal"),
        ("unrolling", "a carpet|a map|a ball of yarn"),
        ("petting", "a porcupine|a robot dog|a snail"),
        ("wrapping", "a gift|a bicycle|a lamp"),
        ("catching", "a frisbee|a falling star|a soap bubble"),
        ("braiding", "a rope|a horse's mane|bread dough"),
        ("leaning on", "a mailbox|a harp|a snowplow"),
    ),
    *_kinds(
        "compositional",
        "abstract_layouts",
        ("a bridge", "", "matchsticks|dominoes"),
        ("a solar system", "", "lemons"),
        ("a bookshelf", ""),
        ("a lighthouse", "", "seashells"),
        ("a butterfly", "", "autumn leaves|feathers"),
        ("a windmill", "", "feathers"),
        ("a chessboard", "", "bottle caps|buttons"),
        ("a city skyline", "", "dominoes"),
        ("a musical note", ""),
        ("an hourglass", ""),
        ("a steam train", "", "matchsticks"),
        ("a tree", "", "autumn leaves|pine cones"),
        ("a violin", ""),
        ("an anchor", "", "keys"),
    ),
    *_kinds(
        "compositional",
        "geometric_patterns",
        ("a spiral", "", "seashells|dominoes"),
        ("a zigzag line", ""),
        ("three concentric circles", "", "candles"),
        ("a five-pointed star", "", "matchsticks"),
        ("a hexagonal grid", ""),
        ("a pyramid", "", "teacups"),
        ("a checkerboard", "", "bottle caps"),
        ("a double helix", ""),
    ),
    *_kinds(
        "multi_subject",
        "interaction",
        ("arm-wrestling", "on a tree stump|on a drum"),
        ("playing tug-of-war", "with a garland|with a fishing rod"),
        ("carrying together", "a grandfather clock|a canoe|a mattress"),
        ("dancing a waltz", "on a frozen lake|on a rooftop"),
        ("high-fiving", "over a fence|under one umbrella"),
        ("seesawing", "on a plank across a log|on a giant spoon"),
        ("building together", "a kite|a snow fort|a raft"),
        ("sharing", "a bowl of noodles|a pair of headphones|a blanket"),
        ("weaving together", "a basket|a hammock"),
        ("racing", "in wheelbarrows|on unicycles"),
        ("sawing together", "a log with one two-handled saw"),
        ("throwing to each other", "a pumpkin|a ball of yarn"),
        ("whispering to each other", "behind a curtain|through a garden hose"),
        ("folding together", "a bedsheet|a large map"),
    ),
)


@dataclass(frozen=True)
class Combination:
    """What one prompt is to be about."""

    kind: Kind
    members: tuple[str, ...]
    """Who acts, or what a form is made of."""
    object: str
    """What it is done to, or where; empty for forms."""

    def brief(self) -> str:
        """It as a model is told it."""
        if self.kind.scenario == "compositional":
            return f"{self.kind.name} made of {self.members[0]}"
        return f"{' and '.join(self.members)}, {self.kind.name} {self.object}".strip()


def combinations(scenario: ScenarioName, rng: random.Random) -> Iterator[Combination]:
    """Distinct uncommon combinations of a scenario, its kinds in turn, until there are no more."""
    kinds = [kind for kind in KINDS if kind.scenario == scenario]
    pools = [_all(kind, rng) for kind in rng.sample(kinds, len(kinds))]
    while pools:
        pools = [pool for pool in pools if pool]
        for pool in pools:
            yield pool.pop()


def _all(kind: Kind, rng: random.Random) -> list[Combination]:
    pool = MATERIALS if kind.scenario == "compositional" else SUBJECTS
    names = [name for name in pool if name not in kind.usual]
    if kind.scenario == "multi_subject":
        members = [(a, b) for n, a in enumerate(names) for b in names[n + 1 :]]
    else:
        members = [(name,) for name in names]
    found = [Combination(kind, m, object) for m in members for object in kind.objects or ("",)]
    return rng.sample(found, len(found))
