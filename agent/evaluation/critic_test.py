"""A critic held against what people, or the embedded world itself, know of pictures."""

import asyncio
import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from importlib.util import find_spec
from io import BytesIO
from itertools import combinations, islice
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any, cast

from PIL import Image

from ...state import (
    Aspect,
    Attempt,
    Comparison,
    ConceptGraph,
    Critique,
    ImageRecord,
    OwnQuestion,
    own_concepts,
)
from ...tools.blocking import gather_or_cancel
from ...tools.data import read_rows
from ...tools.errors import PromptError, ReplyError, SettingsError
from ...tools.files import Store, write_whole
from ...tools.metrics import Sample
from ...tools.roles import Comparer, Critic, Decomposer, Diffusion, compares
from ...tools.vision.wrapping import Errors, Profile
from ..policies.policy import instruction_for
from ..records.notes import corrections, read_notes
from ..records.reader import read_run, runs_in
from ..runs.folder import slug
from .answers import read_answers
from .collect import collect
from .figures import EVERY, means_of, with_every
from .ratings import majorities
from .statistics import Interval, alpha_interval, mean_interval, proportion_interval
from .survey import longest_checklist, read_key
from .tables import Cell, Table, columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

WORLD = "world"
"""As a source: pictures of the embedded world with known truth; ``world:N`` for N of them."""
WHOLE = "whole picture"
"""The kind of a verdict on all of a picture, where the source names none."""
_BINS = 10
"""Of probabilities."""
_AT_ONCE = 8
"""Pictures that one critic looks at."""
_MARKS = {"favourite": 1.0, "reject": 0.0}
"""As ratings, of which the order alone counts."""
_YES = {"true": True, "yes": True, "1": True, "pass": True, "false": False, "no": False, "0": False, "fail": False}


@dataclass(frozen=True)
class Case:
    """A picture of which something is known."""

    sample: Sample
    """Without concepts where the prompt is still to be decomposed."""
    truth: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By check: whether the picture shows it."""
    whole: bool | None = None
    """Whether the picture is as the prompt says; None where nobody said."""
    kind: str = WHOLE
    """Of the verdict on the whole, by the source's own names."""
    rating: float | None = None
    """How good people find it, or how much of what is asked for it shows; None where nobody rated it."""


@dataclass(frozen=True)
class Look:
    """What one critic said of one case."""

    case: Case
    critique: Critique
    again: tuple[Critique, ...] = ()
    """Further looks at the same picture."""

    def judged(self) -> Iterator[tuple[str, bool, bool | None, float | None]]:
        """Kind, truth, answer (None for unknown) and P(yes) of everything that is known of the picture."""
        concepts = cast(ConceptGraph, self.case.sample.concepts)
        for verdict in self.critique.verdicts:
            if verdict.check in self.case.truth and verdict.settled_by is None:
                said = None if verdict.answer == "unknown" else verdict.answer == "pass"
                aspect = concepts.check(verdict.check).aspect
                yield aspect, self.case.truth[verdict.check], said, verdict.probability
        if self.case.whole is not None:
            answers = set(self.critique.answers().values())
            said = False if "fail" in answers else None if "unknown" in answers else True
            yield self.case.kind, self.case.whole, said, None


@dataclass(frozen=True)
class Pair:
    """Two pictures of one prompt."""

    first: Look
    second: Look
    better: int
    """0 where people, or the source, find the first one better, 1 where the second."""
    comparison: Comparison | None = None
    """What the critic says of both together; None where it was not asked."""

    @property
    def chosen(self) -> int | None:
        """The one that the comparison prefers; None for neither."""
        said = self.comparison
        return None if said is None or said.better is None else int(said.better == said.second)

    @property
    def higher(self) -> int | None:
        """The one that a run would rank higher by the critic's verdicts; None where it would compare them."""
        first, second = ((c.score, c.confidence) for c in (self.first.critique, self.second.critique))
        return None if first == second else int(first < second)


def read_cases(
    source: str, images: Path | None = None, *, key: Path | None = None, passes: float = 4.0, seed: int = 0
) -> list[Case]:
    """The cases of a source; ``SettingsError`` if nothing in it says what a picture shows, or a picture is missing.

    Args:
        source: ``world:N``; a folder with runs on which people left notes; with ``key``, what raters exported from a
            page of ours, as a file or a folder of them; R3-Bench's JSONL; GenAI-Bench's ``genai_image.json``; or any
            table with ``prompt``, ``image`` and ``answer`` or ``rating``.
        images: Where paths of pictures begin, by default beside the file; with ``key``, where the rated runs are, by
            default beside it.
        key: Of the page that people rated.
        passes: Mean rating from which a picture counts as right.
        seed: Of the embedded world's pictures.
    """
    name, _, count = source.partition(":")
    if name == WORLD and (not count or count.isdecimal()):
        found = list(islice(_world_cases(images or Path("critic-test") / "world", seed), int(count or 100)))
    elif key is not None:
        found = list(_rated(Path(source), key, images or key.parent, passes))
    elif Path(source).is_dir():
        found = list(_noted(Path(source)))
    else:
        found = list(_table(source, images or Path(source).parent, passes))
    if not found:
        raise SettingsError(f"nothing in {source} says what a picture shows: no note with verdicts, no row")
    return found


def _world_cases(folder: Path, seed: int) -> Iterator[Case]:
    """Each scene twice, as asked for or, mostly, with a thing missing, moved, recoloured, twice, or not asked for."""
    from ...tools.world.decomposer import concepts_of
    from ...tools.world.language import short_caption
    from ...tools.world.layout import laid_out_specs
    from ...tools.world.reading import exact_sights, settle
    from ...tools.world.relations import overlap
    from ...tools.world.scene import Scene, Thing, render
    from ...tools.world.vocabulary import COLOURS, GRID, NOUNS

    rng, store = random.Random(seed), Store(folder)
    scenes = (one for one in laid_out_specs(rng, lambda spec: spec.held_out) for _ in range(2))
    for number, (spec, scene) in enumerate(scenes):
        things = list(scene.things)
        spoilt = rng.randrange(len(things))
        thing, fault = things[spoilt], rng.choice(("none", "missing", "moved", "colour", "twice", "stranger"))
        if fault == "missing":
            del things[spoilt]
        elif fault == "moved":
            things[spoilt] = replace(thing, x=rng.randrange(GRID - NOUNS[thing.noun].width + 1))
        elif fault == "colour" and thing.colour is not None:
            things[spoilt] = replace(thing, colour=rng.choice([c for c in COLOURS if c != thing.colour]))
        elif fault in ("twice", "stranger"):
            strange = sorted(NOUNS.keys() - {one.noun for one in things})
            noun = NOUNS[thing.noun if fault == "twice" else rng.choice(strange)]
            colour = (thing.colour or rng.choice(list(COLOURS))) if noun.coloured else None
            places = [Thing(noun.name, colour, x, GRID - noun.height) for x in range(GRID - noun.width + 1)]
            things += [one for one in rng.sample(places, len(places)) if not any(overlap(one, t) for t in things)][:1]
        drawn = Scene(scene.place, tuple(things))
        concepts = concepts_of(spec, short_caption(spec))
        picture, path = render(drawn), f"{number:05}.png"
        store.path(path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(store.path(path))
        verdicts = settle(concepts, spec, exact_sights(drawn, strange=False))
        truth = {v.check: v.answer == "pass" for v in verdicts if v.settled_by is None}
        shown = mean(v.answer == "pass" for v in verdicts)
        image = _described(path, picture.size, concepts.prompt)
        yield Case(Sample(image, concepts.prompt, store, concepts), truth, rating=shown)


def _noted(folder: Path) -> Iterator[Case]:
    for place in runs_in(folder):
        run, said = read_run(place), defaultdict[str, dict[str, bool]](dict)
        for note in corrections(run):
            if note.person != "unknown":
                said[note.image][note.check.id] = note.person == "pass"
        marks = {image: _MARKS.get(note.mark or "") for image, note in read_notes(place).items() if image}
        for image, mark in marks.items():
            if mark is not None or said[image]:
                yield Case(Sample(run.images[image], run.prompt, Store(place), run.concepts), said[image], rating=mark)


def _rated(source: Path, key: Path, folder: Path, passes: float) -> Iterator[Case]:
    """Pictures of a rating page: what most raters say of its checks, and their mean rating over all criteria."""
    known = read_key(key)
    answers = read_answers(sorted(source.glob("*.json")) if source.is_dir() else [source], known)
    ratings, said = answers.scores.groupby("item")["value"].mean().to_dict(), majorities(answers)
    samples, asked = dict[tuple[str, str], Sample](), defaultdict[str, list[Sample]](list)
    for shot in collect([str(folder)], picks=["all"]).shots if runs_in(folder) else ():
        samples[shot.run, shot.sample.image.id] = shot.sample
        asked[shot.sample.prompt].append(shot.sample)
    for id, item in known.items.items():
        where, concepts, rating = item.sources[0], longest_checklist(asked[item.prompt]), ratings.get(id)
        people = {item.checks[n].question: answer for (of, n), answer in said.items() if of == id and answer != "split"}
        truth = {c.id: people[c.question] == "yes" for c in concepts.checks if c.question in people} if concepts else {}
        if not truth and rating is None:
            continue
        if (sample := samples.get((where.run, where.image))) is None:
            raise SettingsError(f"the run {where.run}, which {key} names, is not in {folder}: name --images FOLDER")
        whole = None if rating is None else rating >= passes
        yield Case(replace(sample, concepts=concepts), truth, whole, rating=rating)


def _table(source: str, images: Path, passes: float) -> Iterator[Case]:
    for row in read_rows(source):
        said, questions = row.others, list[OwnQuestion]()
        try:
            for text in (said.get("generated_qa") or {}).get("yn_question_list") or ():
                questions.append(OwnQuestion(question=text))
            shots: list[tuple[str, Any]] = [
                (f"{model}/{said['id']}.jpeg", ratings) for model, ratings in (said.get("models") or {}).items()
            ]
            shots = shots or [(said.get("bad_image") or said["image"], said.get("rating"))]
            for path, ratings in shots:
                rating = (
                    None
                    if ratings in (None, "")
                    else mean(map(float, ratings if isinstance(ratings, list) else [ratings]))
                )
                whole = _YES.get(str(said.get("answer")).lower(), None if rating is None else rating >= passes)
                with Image.open(images / path) as opened:
                    size = opened.convert("RGB").size
                image = _described(path, size, row.prompt)
                concepts = own_concepts(row.prompt, questions) if questions else None
                kind = str(said.get("category") or said.get("kind") or WHOLE)
                yield Case(Sample(image, row.prompt, Store(images), concepts), {}, whole, kind, rating)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise SettingsError(f"{row.where} is no verdict on a picture ({type(error).__name__}: {error})") from error


def _described(path: str, size: tuple[int, int], prompt: str) -> ImageRecord:
    """What is known of a picture that no run made."""
    fields = {"id": path, "round": 0, "origin": "generate", "prompt": prompt, "seed": 0, "seeded": False}
    fields |= {"steps": 1, "start_step": 0, "start_sigma": 1.0, "guidance": 0.0, "width": size[0], "height": size[1]}
    fields |= {"model": "unknown", "path": path, "latent": None, "evaluations": 0, "seconds": 0.0}
    return ImageRecord.model_validate(fields)


async def look_at(
    cases: Sequence[Case], critic: Critic, decomposer: Decomposer, again: Sequence[Critic] = ()
) -> tuple[list[Look], list[str]]:
    """What a critic says of every case, in their order, and why nothing of others; prompts are decomposed once."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def decomposed(prompt: str) -> ConceptGraph | str:
        async with slots:
            try:
                return await decomposer.decompose(prompt)
            except (PromptError, ReplyError) as error:
                return str(error)

    async def seen(case: Case) -> Look | str:
        sample = case.sample
        concepts = sample.concepts or known[sample.prompt]
        if isinstance(concepts, str):
            return f"{sample.image.path}: {concepts}"
        async with slots:
            try:
                said = [await one.critique(sample.image, concepts, sample.store) for one in (critic, *again)]
            except (PromptError, ReplyError) as error:
                return f"{sample.image.path}: {error}"
        return Look(replace(case, sample=replace(sample, concepts=concepts)), said[0], tuple(said[1:]))

    prompts = list(dict.fromkeys(case.sample.prompt for case in cases if case.sample.concepts is None))
    known = dict(zip(prompts, await gather_or_cancel(map(decomposed, prompts)), strict=True))
    found = await gather_or_cancel(map(seen, cases))
    return [one for one in found if isinstance(one, Look)], [one for one in found if isinstance(one, str)]


def accuracy_table(by_critic: Mapping[str, Sequence[Look]]) -> Table:
    """How well each critic finds faults, by kind of check."""
    rows = list[tuple[Cell, ...]]()
    for critic, looks in by_critic.items():
        said = [(kind, true, answer, str(n)) for n, look in enumerate(looks) for kind, true, answer, _ in look.judged()]
        for kind in with_every(sorted({one[0] for one in said})):
            own = [one for one in said if kind in (EVERY, one[0])]
            known = [(float(not true), float(not answer), of) for _, true, answer, of in own if answer is not None]
            precision = _right([(true, of) for true, reported, of in known if reported])
            recall = _right([(reported, of) for true, reported, of in known if true])
            kept = _right([(1 - reported, of) for true, reported, of in known if not true])
            faults = int(sum(true for true, _, _ in known))
            ends = zip(astuple(recall), astuple(kept), strict=True) if recall and kept else None
            balanced = Interval(*map(mean, ends)) if ends else None
            rows.append((critic, kind, precision, recall, balanced, faults, len(known), len(own) - len(known)))
    return Table(
        "Faults found, by kind of check",
        columns("critic, kind, precision: .1%, recall: .1%, balanced accuracy: .1%, faults: d, answers: d, unknown: d"),
        tuple(rows),
        "precision: of the faults that it reports, those that are there; recall: of the faults that are there, those"
        " that it reports; balanced: the mean of its shares right on faults and on what is right, 50% by chance. 95%"
        " intervals by bootstrap over pictures, exact where none or all are right; that of balanced has the mean ends"
        " of its two parts, so it is rather too wide.",
    )


def _right(answers: Sequence[tuple[float, str]]) -> Interval | None:
    """The share that is 1, of answers with their pictures."""
    return proportion_interval([right for right, _ in answers], [of for _, of in answers])


def agreement_table(by_critic: Mapping[str, Sequence[Look]]) -> Table:
    """How far looks of one critic agree, and critics among each other."""
    groups = dict[str, list[tuple[Critique, ...]]]()
    for critic, looks in by_critic.items():
        if again := [(look.critique, *look.again) for look in looks if look.again]:
            groups[f"{critic}: its own looks"] = again
    for (one, looks), (other, others) in combinations(by_critic.items(), 2):
        there = {look.case.sample.image.path: look.critique for look in others}
        both = [(look, there.get(look.case.sample.image.path)) for look in looks]
        groups[f"{one} and {other}"] = [(look.critique, second) for look, second in both if second is not None]
    rows = list[tuple[Cell, ...]]()
    for name, seen in groups.items():
        answers = [[said.answers() for said in critiques] for critiques in seen]
        asked = [[said.get(check, "unknown") for said in all_of] for all_of in answers for check in all_of[0]]
        units = [[float(answer == "pass") for answer in unit] for unit in asked if "unknown" not in unit]
        rows.append((name, alpha_interval(units, "nominal"), len(units)))
    note = "Krippendorff's alpha of answers: 1 is perfect agreement, 0 chance; unknown ones are left out."
    return Table("Agreement", columns("of, agreement: .3f, number: d"), tuple(rows), note)


def pairs_of(looks: Sequence[Look], most: int | None = None) -> list[Pair]:
    """Every two pictures of one prompt of which one is known to be better; ``most`` of them at random."""
    by_prompt = defaultdict[str, list[Look]](list)
    for look in looks:
        by_prompt[look.case.sample.prompt].append(look)
    two = (both for group in by_prompt.values() for both in combinations(group, 2))
    found = [Pair(*both, better) for both in two if (better := _better(both[0].case, both[1].case)) is not None]
    return found if most is None or len(found) <= most else random.Random(0).sample(found, most)


def _better(first: Case, second: Case) -> int | None:
    """0 or 1 for the place of the better one, by rating, else by verdict, else by the checks known of both."""
    shared = first.truth.keys() & second.truth.keys() if first.sample.concepts == second.sample.concepts else ()
    shown, other = (sum(case.truth[check] for check in shared) for case in (first, second))
    said = ((first.rating, second.rating), (first.whole, second.whole), (shown, other))
    one, two = next((one, two) for one, two in said if one is not None and two is not None)
    return None if one == two else int(one < two)


async def compare_pairs(pairs: Sequence[Pair], critic: Comparer) -> list[Pair]:
    """The same pairs with what the critic says of each two pictures, which it sees in either order."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def compared(pair: Pair) -> Pair:
        places = [look.case.sample.store.path(look.case.sample.image.path) for look in (pair.first, pair.second)]
        root = Path(os.path.commonpath([place.parent for place in places]))  # pictures of two runs may have one name
        names = [place.relative_to(root).as_posix() for place in places]
        first, second = (
            look.case.sample.image.model_copy(update={"id": name, "path": name})
            for look, name in zip((pair.first, pair.second), names, strict=True)
        )
        async with slots:
            concepts = cast(ConceptGraph, pair.first.case.sample.concepts)
            return replace(pair, comparison=await critic.compare(first, second, concepts, Store(root)))

    return await gather_or_cancel(map(compared, pairs))


def pairs_table(by_critic: Mapping[str, Sequence[Pair]]) -> Table:
    """How often a critic prefers the picture that is known to be better."""
    rows = list[tuple[Cell, ...]]()
    for critic, pairs in by_critic.items():
        ways: dict[str, list[int | None]] = {"score": [pair.higher for pair in pairs]}
        if pairs and pairs[0].comparison:
            ways["comparison"] = [pair.chosen for pair in pairs]
            ways["score, then comparison"] = [p.chosen if p.higher is None else p.higher for p in pairs]
        for way, chosen in ways.items() if pairs else ():
            marks = [0.5 if c is None else float(c == p.better) for c, p in zip(chosen, pairs, strict=True)]
            prompts = [pair.first.case.sample.prompt for pair in pairs]
            right = proportion_interval(list(means_of(zip(prompts, marks, strict=True)).values()))
            decided = sum(mark != 0.5 for mark in marks)
            rows.append((critic, way, right, marks.count(1.0) / decided if decided else None, decided, len(pairs)))
    return Table(
        "Pairs of one prompt",
        columns("critic, by, as people: .1%, of decided: .1%, decided: d, pairs: d"),
        tuple(rows),
        "as people: the share of pairs of which it prefers the picture that is known to be better, undecided ones"
        " counting half, over prompts; 50% by chance. score: checks passed, then the mean probability; comparison: both"
        " pictures at once, decided only where either order gives the same; together they are what a run does.",
    )


def cost_table(by_critic: Mapping[str, Sequence[Look]], pairs: Mapping[str, Sequence[Pair]]) -> Table:
    """What a look at one picture costs, and a comparison of two."""
    rows = list[tuple[Cell, ...]]()
    for critic, looks in by_critic.items():
        seen = [c.exchanges for look in looks for c in (look.critique, *look.again)]
        both = [pair.comparison.exchanges for pair in pairs.get(critic, ()) if pair.comparison]
        for what, made in (("look", seen), ("comparison", both)):
            all_of = [exchange for exchanges in made for exchange in exchanges]
            tokens = sum(e.prompt_tokens + e.reply_tokens for e in all_of)
            parts = (len(all_of), tokens, sum(e.money for e in all_of), sum(e.seconds for e in all_of))
            if made:
                rows.append((critic, what, len(made), *(part / len(made) for part in parts)))
    return Table(
        "Cost",
        columns("critic, of a, number: d, calls: .2f, tokens: .0f, money: .4f, seconds: .3f"),
        tuple(rows),
        "Answers from the cache cost nothing. money: US dollars, where a price is configured.",
    )


async def repair_table(
    by_critic: Mapping[str, Sequence[Look]],
    diffusion: Diffusion,
    judge: Critic,
    store: Store,
    most: int,
    *,
    edits: bool = False,
) -> Table:
    """What the critic's corrections, drawn anew or with ``edits`` as edits, repair in the eyes of the judge."""
    rows = list[tuple[Cell, ...]]()
    for critic, looks in by_critic.items():
        wrong = [
            look
            for look in looks
            if (look.critique.refined_prompt or (edits and "fail" in look.critique.answers().values()))
            and (False in look.case.truth.values() or look.case.whole is False)
        ]
        gains, fixed, failed = list[float](), 0, 0
        for number, look in enumerate(wrong[:most]):
            sample, concepts = look.case.sample, cast(ConceptGraph, look.case.sample.concepts)
            attempt = Attempt(id=f"{len(rows)}-{number:04}", prompt=look.critique.refined_prompt, seed=number)
            source = None
            if edits:
                id = f"{attempt.id}-source"
                store.write(f"{id}.png", sample.store.path(sample.image.path).read_bytes())
                source = sample.image.model_copy(update={"id": id, "path": f"{id}.png", "round": 0, "parent": None})
                attempt = _edit_of(source, concepts, look.critique, attempt)
            made = await diffusion.draw(attempt, store, source=source)
            before = await judge.critique(sample.image, concepts, sample.store)
            after = await judge.critique(made, concepts, store)
            if before.score < 1:
                gains.append((after.score - before.score) / (1 - before.score))
            broken = [id for id, answer in before.answers().items() if answer == "fail"]
            failed += len(broken)
            fixed += sum(after.answers()[id] == "pass" for id in broken)
        way = "edit" if edits else "drawn anew"
        rows.append((critic, way, mean_interval(gains), fixed / failed if failed else None, len(gains)))
    return Table(
        "What corrections repair",
        columns("critic, way, S_rect: .3f, failed checks repaired: .1%, pictures: d"),
        tuple(rows),
        "S_rect: the judge's share of passed checks gained, of what there was to gain: 1 repairs all, 0 nothing, below"
        " 0 it gets worse; after R3-Bench's rectification score. Only pictures that are known to be wrong.",
    )


def _edit_of(source: ImageRecord, concepts: ConceptGraph, critique: Critique, attempt: Attempt) -> Attempt:
    """The edit that the loop would ask for."""
    prompt = instruction_for(concepts, critique, critique.refined_prompt or concepts.prompt)
    asks = {"source": source.id, "operator": "edit", "parent": source.id, "round": 1}
    return attempt.model_copy(update=asks | {"prompt": prompt})


def profile_of_looks(looks: Iterable[Look]) -> Profile:
    """How often the critic errs by aspect, as ``UnreliableCritic`` takes it; what nobody judged is left out."""
    counts: dict[Aspect, Counter[tuple[bool, bool]]] = defaultdict(Counter)
    for look in looks:
        if look.case.truth:
            for kind, true, answer, _ in look.judged():
                if answer is not None and kind != look.case.kind:
                    counts[cast(Aspect, kind)][true, answer] += 1
    return {
        aspect: Errors(
            miss=n[False, True] / max(1, n[False, True] + n[False, False]),
            invent=n[True, False] / max(1, n[True, False] + n[True, True]),
        )
        for aspect, n in counts.items()
    }


def calibration(looks: Iterable[Look]) -> list[tuple[float, Interval, int]]:
    """Of each tenth of P(yes) that occurs: its mean, how often yes is true, and the number of answers."""
    bins: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for look in looks:
        for _, true, _, likely in look.judged():
            if likely is not None:
                bins[min(int(likely * _BINS), _BINS - 1)].append((likely, float(true)))
    found = list[tuple[float, Interval, int]]()
    for _, own in sorted(bins.items()):
        shown = proportion_interval([true for _, true in own])
        assert shown is not None
        found.append((mean(likely for likely, _ in own), shown, len(own)))
    return found


def calibration_table(by_critic: Mapping[str, Sequence[Look]]) -> Table:
    """Probabilities against what is true."""
    rows = [(c, p, true, n) for c, looks in by_critic.items() for p, true, n in calibration(looks)]
    named = columns("critic, P(yes): .2f, is true: .1%, answers: d")
    return Table("Calibration", named, tuple(rows), "A calibrated critic is right as often as it says.")


def calibration_plot(by_critic: Mapping[str, Sequence[Look]]) -> "Canvas":
    """The same as a plot, the answers of each critic as a line beside the diagonal."""
    from matplotlib.figure import Figure as Canvas

    canvas = Canvas(figsize=(5.2, 5.2), layout="constrained")
    axes: Any = canvas.add_subplot(xlabel="P(yes) that the critic gives", ylabel="share of these that are true")
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="calibrated")
    for critic, looks in by_critic.items():
        points = calibration(looks)
        if points:
            across, up = [p for p, _, _ in points], [true.value for _, true, _ in points]
            below = [true.value - true.low for _, true, _ in points]
            above = [true.high - true.value for _, true, _ in points]
            axes.errorbar(across, up, yerr=[below, above], marker="o", capsize=2, label=critic)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc="lower right")
    return canvas


async def look_with(
    cases: Sequence[Case], critics: Mapping[str, Sequence[Critic]], decomposer: Decomposer, pairs: int = 0
) -> dict[str, tuple[list[Look], list[Pair], list[str]]]:
    """The looks of every critic, each given with those that look again; its pairs, so many of which are compared by
    critics that can; and what was lost."""
    found = dict[str, tuple[list[Look], list[Pair], list[str]]]()
    for name, (critic, *again) in critics.items():
        looks, lost = await look_at(cases, critic, decomposer, again)
        two = pairs_of(looks, pairs or None)
        found[name] = looks, await compare_pairs(two, critic) if pairs and compares(critic) else two, lost
    return found


def write_files(by_critic: Mapping[str, Sequence[Look]], out: Path) -> list[str]:
    """Write a profile of each critic that was judged check by check, and the plot of their probabilities.

    Returns a line about each file, or about why there is none.
    """
    said = list[str]()
    for critic, looks in by_critic.items():
        if profile := profile_of_looks(looks):
            path = out / f"{slug(critic) or 'critic'}.profile.json"
            write_whole(path, json.dumps({a: e.model_dump() for a, e in profile.items()}, indent=1).encode())
            said.append(f"profile     {path} (for an experiment: profile = {str(path)!r})")
    if not any(calibration(looks) for looks in by_critic.values()):
        said.append("no plot: no critic gives probabilities of what is known")
    elif find_spec("matplotlib") is None:
        said.append("no plot: pip install 'detailscribe[plots]'")
    else:
        drawn = BytesIO()
        calibration_plot(by_critic).savefig(drawn, format="png", dpi=110)
        write_whole(out / "calibration.png", drawn.getvalue())
        said.append(f"calibration {out / 'calibration.png'}")
    return said
