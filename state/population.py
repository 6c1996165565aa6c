"""All images of a run, as a policy sees them."""

from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Self

from pydantic import Field, model_validator

from .base import Frozen, Seed
from .budget import Budget, Spend
from .concepts import ConceptGraph
from .critique import Comparison, Critique
from .decisions import Advice, Decision
from .images import ImageRecord


def spend_of(
    concepts: ConceptGraph | None,
    images: Mapping[str, ImageRecord],
    critiques: Mapping[str, Critique],
    advice: Iterable[Advice] = (),
    comparisons: Iterable[Comparison] = (),
) -> Spend:
    """The total cost of all of these. A comparison is one critic call."""
    decomposed, compared = () if concepts is None else (concepts,), tuple(comparisons)
    exchanges = [e for answer in (*decomposed, *critiques.values(), *advice, *compared) for e in answer.exchanges]
    return Spend(
        evaluations=sum(i.evaluations for i in images.values()),
        images=sum(i.origin != "look" for i in images.values()),
        critic_calls=sum(c.looks for c in critiques.values()) + len(compared),
        tokens=sum(e.prompt_tokens + e.reply_tokens for e in exchanges),
        seconds=sum(i.seconds for i in images.values()) + sum(e.seconds for e in exchanges),
        money=sum(i.money for i in images.values()) + sum(e.money for e in exchanges),
    )


def pair_name(first: ImageRecord, second: ImageRecord) -> str:
    """The key of a comparison of two images."""
    return f"{first.id} {second.id}"


class Population(Frozen):
    """All images of a run with critiques and decisions; each image has one critique of the whole checklist.
    ``pydantic.ValidationError`` if a key is not the record's id, an image lacks its critique, or a parent is unknown or
    not of an earlier round."""

    concepts: ConceptGraph
    images: dict[str, ImageRecord] = Field(min_length=1)
    """By id."""
    critiques: dict[str, Critique]
    """By image id."""
    decisions: dict[str, Decision]
    """By image id; images without one are pending."""
    advice: dict[str, Advice] = Field(default_factory=dict)
    """By round; only of policies that ask a model."""
    comparisons: dict[str, Comparison] = Field(default_factory=dict)
    """By ``pair_name`` of the images; only of equally ranked ones."""
    budget: Budget
    seed: Seed
    """The run's seed."""
    round: int = Field(ge=0)
    """The round that was critiqued last."""

    @model_validator(mode="after")
    def _records_fit_together(self) -> Self:
        for what, own in {
            "image": {id: i.id for id, i in self.images.items()},
            "critique": {id: c.image for id, c in self.critiques.items()},
            "decision": {id: d.image for id, d in self.decisions.items()},
        }.items():
            if wrong := sorted(key for key, id in own.items() if key != id):
                raise ValueError(f"{what} filed under another id than its own: {', '.join(wrong)}")
        if self.images.keys() != self.critiques.keys() or not self.decisions.keys() <= self.images.keys():
            raise ValueError("every image needs one critique, and only images have critiques and decisions")
        checklist = [c.id for c in self.concepts.checks]
        for critique in self.critiques.values():
            if [v.check for v in critique.verdicts] != checklist:
                raise ValueError(f"the critique of {critique.image!r} does not answer the checklist in its order")
        for image in self.images.values():
            parent = self.images.get(image.parent or "")
            if image.parent is not None and (parent is None or parent.round >= image.round):
                raise ValueError(f"parent {image.parent!r} of {image.id!r} is not an image of an earlier round")
        return self

    @property
    def spend(self) -> Spend:
        return spend_of(self.concepts, self.images, self.critiques, self.advice.values(), self.comparisons.values())

    def pending(self) -> tuple[ImageRecord, ...]:
        """Images without a decision, by id."""
        return tuple(i for id, i in sorted(self.images.items()) if id not in self.decisions)

    def unheard(self) -> tuple[ImageRecord, ...]:
        """Images without a decision for which the critic gave no usable answer at all, by id."""
        return tuple(i for i in self.pending() if self.critiques[i.id].silence)

    def heard(self) -> Self:
        """The images that a policy can decide on: without those of ``unheard``."""
        unheard = {image.id for image in self.unheard()}
        images = {id: image for id, image in self.images.items() if id not in unheard}
        critiques = {id: critique for id, critique in self.critiques.items() if id not in unheard}
        return self.model_copy(update={"images": images, "critiques": critiques}) if unheard else self

    def parent(self, image: ImageRecord) -> ImageRecord | None:
        """The image that it refines or replaces; None for a first drawing."""
        return None if image.parent is None else self.images[image.parent]

    def ancestors(self, image: ImageRecord) -> tuple[ImageRecord, ...]:
        line = [image]
        while (parent := self.parent(line[-1])) is not None:
            line.append(parent)
        return tuple(line[1:])

    def drawn(self, image: ImageRecord) -> ImageRecord:
        """The image itself or, for a second opinion, the one that was looked at again."""
        while image.origin == "look":
            image = self.images[image.parent or ""]
        return image

    def opinions(self, image: ImageRecord) -> tuple[Critique, ...]:
        """Every critique of this picture, the first one first; several if a policy asked for second opinions."""
        first = self.drawn(image).id
        again = [i for i in self.images.values() if i.origin == "look" and self.drawn(i).id == first]
        return (self.critiques[first], *(self.critiques[i.id] for i in sorted(again, key=lambda i: (i.round, i.id))))

    def rank(self, image: ImageRecord) -> tuple[float, float]:
        """The sort key of images: share of checks passed, then the critic's confidence; means over all opinions."""
        critiques = self.opinions(image)
        opinions = [c for c in critiques if not c.silence] or critiques
        return fmean(c.score for c in opinions), fmean(c.confidence for c in opinions)

    def leaders(self) -> tuple[ImageRecord, ...]:
        """The highest-ranked images over all rounds, by round and id. Previews, and images that a decision took out of
        the candidates, count only if there are no others; second opinions count in ``rank`` alone."""
        drawn = [i for i in self.images.values() if i.origin != "look"]
        heard = [i for i in drawn if not self.critiques[i.id].silence] or drawn
        whole = [i for i in heard if i.is_whole] or heard
        out = {self.drawn(self.images[id]).id for id, decision in self.decisions.items() if not decision.candidate}
        ranks = {i.id: self.rank(i) for i in [i for i in whole if i.id not in out] or whole}
        highest = max(ranks.values())
        leaders = (self.images[id] for id, rank in ranks.items() if rank == highest)
        return tuple(sorted(leaders, key=lambda i: (i.round, i.id)))

    def best(self) -> ImageRecord:
        """The best image over all rounds: the earliest of equals, unless it lost a comparison to a later one."""
        best, *others = self.leaders()
        for other in others:
            compared = self.comparisons.get(pair_name(best, other))
            if compared is not None and compared.better == other.id:
                best = other
        return best

    def advice_now(self) -> Advice | None:
        return self.advice.get(str(self.round))
