"""What the embedded model answers where its network is not asked: new prompts and lists of noun phrases."""

import re

from detailscribe.state import ConceptGraph
from detailscribe.tools.metrics.phrases import noun_phrases

LINE = re.compile(r"(?P<number>\d+): (?P<brief>.*?)(?: - '.*)?")
"""One combination, with what was wrong with an earlier prompt for it."""
FORM = re.compile(r"(?P<form>an? .+?|three .+?) made of (?P<parts>.+)")
DOES = re.compile(r"(?P<who>[^,]+), (?P<what>.+)")


def new_prompts(combinations: str) -> dict[str, object]:
    """One plain sentence for each combination."""
    found = [LINE.fullmatch(line) for line in combinations.splitlines()]
    return {"prompts": [{"number": int(one["number"]), "prompt": sentence(one["brief"])} for one in found if one]}


def sentence(brief: str) -> str:
    """Who does what, or what makes up which form, in the present tense."""
    if form := FORM.fullmatch(brief):
        return f"{form['parts'].capitalize()} form {form['form']}."
    if does := DOES.fullmatch(brief):
        who = [f"{'an' if name[0] in 'aeiou' else 'a'} {name}" for name in does["who"].split(" and ")]
        return f"{' and '.join(who).capitalize()} {'are' if len(who) > 1 else 'is'} {does['what']}."
    return brief


def phrases(concepts: ConceptGraph) -> dict[str, object]:
    """The things of a prompt, each with its article and adjectives."""
    return {"phrases": list(noun_phrases(concepts))}
