"""Measures a critic against labelled images: of people, of published benchmarks or of the embedded world."""

import asyncio
import json
import os
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from importlib.util import find_spec
from io import BytesIO
from itertools import chain, combinations, islice
from pathlib import Path
from statistics import mean
from typing import Any, cast

from ...state import Aspect, Attempt, Comparison, ConceptGraph, Critique, ImageRecord, OwnQuestion, own_concepts
from ...tools.blocking import gather_or_cancel
from ...tools.data import read_rows
from ...tools.errors import PromptError, ReplyError, SettingsError
from ...tools.files import Store, picture_file, write_whole
from ...tools.metrics import Sample, decompose_all
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

WORLD = "world"
"""As a source: images of the embedded world, whose content is known; ``world:N`` for N of them."""
WHOLE = "whole picture"
"""The kind of a label for a whole image, where the source names none."""
_BINS = 10
"""Of probabilities."""
_CONCURRENCY = 8
"""Images that one critic is sent at once."""
_MARKS = {"favourite": 1.0, "reject": 0.0}
"""As ratings, of which only the order counts."""
_YES = {"true": True, "yes": True, "1": True, "pass": True, "false": False, "no": False, "0": False, "fail": False}


@dataclass(frozen=True)
class LabelledImage:
    """An image with what is known about it."""

    sample: Sample
    """Without concepts where the prompt is still to be decomposed."""
    labels: Mapping[str, bool] = field(default_factory=dict[str, bool])
    """By check: whether it passes."""
    correct: bool | None = None
    """Whether the whole image matches its prompt; None where that is not labelled."""
    kind: str = WHOLE
    """Category of ``correct``, as the source names it."""
    rating: float | None = None
    """By people, or the share of checks that pass; None where there is none."""


@dataclass(frozen=True)
class Critiqued:
    """A labelled image with a critic's answers."""

    image: LabelledImage
    critique: Critique
    repeats: tuple[Critique, ...] = ()
    """Further critiques of the same image."""


@dataclass(frozen=True)
class Pair:
    """Two images of one prompt."""

    first: Critiqued
    second: Critiqued
    better: int
    """By the labels: 0 for the first, 1 for the second."""
    comparison: Comparison | None = None
    """The critic's comparison of the two; None where it was not asked."""

    @property
    def preferred(self) -> int | None:
        """The better one by the comparison; None for neither."""
        made = self.comparison
        return None if made is None or made.better is None else int(made.better == made.second)

    @property
    def higher(self) -> int | None:
        """The one that a run ranks higher by its verdicts; None for a tie, which a run would decide by comparison."""
        first, second = ((c.score, c.confidence) for c in (self.first.critique, self.second.critique))
        return None if first == second else int(first < second)


def read_labelled(
    source: str, images: Path | None = None, *, key: Path | None = None, passes: float = 4.0, seed: int = 0
) -> list[LabelledImage]:
    """The labelled images of a source; ``SettingsError`` if there is none, or an image is missing.

    Args:
        source: ``world:N``; a folder with runs that have notes; with ``key``, what raters exported from a rating page,
            as a file or a folder of them; R3-Bench's JSONL; GenAI-Bench's ``genai_image.json``; or any table with
            ``prompt``, ``image`` and ``answer`` or ``rating``.
        images: The folder that image paths are relative to, by default that of the file; with ``key``, where the rated
            runs are, by default beside it.
        key: Of the rating page.
        passes: Mean rating from which an image counts as correct.
        seed: Of the embedded world's images.
    """
    name, _, count = source.partition(":")
    if name == WORLD and (not count or count.isdecimal()):
        found = list(islice(_from_world(images or Path("critic-test") / "world", seed), int(count or 100)))
    elif key is not None:
        found = list(_from_ratings(Path(source), key, images or key.parent, passes))
    elif Path(source).is_dir():
        found = list(_from_notes(Path(source)))
    else:
        found = list(_from_table(source, images or Path(source).parent, passes))
    if not found:
        raise SettingsError(f"nothing in {source} says what a picture shows: no note with verdicts, no row")
    return found


def _from_world(folder: Path, seed: int) -> Iterator[LabelledImage]:
    """Each scene twice: as in the prompt or, mostly, with a thing missing, moved, recoloured, doubled or added."""
    from ...tools.world.decomposer import concepts_of
    from ...tools.world.language import short_caption
    from ...tools.world.layout import laid_out_specs
    from ...tools.world.reading import exact_detections, settle
    from ...tools.world.relations import overlap
    from ...tools.world.scene import Scene, Thing, render
    from ...tools.world.vocabulary import COLOURS, GRID, NOUNS

    rng, store = random.Random(seed), Store(folder)
    scenes = chain.from_iterable((spec, spec) for spec in laid_out_specs(rng, lambda spec: spec.held_out))
    for number, (spec, scene) in enumerate(scenes):
        things = list(scene.things)
        place = rng.randrange(len(things))
        thing, fault = things[place], rng.choice(("none", "missing", "moved", "colour", "twice", "stranger"))
        if fault == "missing":
            del things[place]
        elif fault == "moved":
            things[place] = replace(thing, x=rng.randrange(GRID - NOUNS[thing.noun].width + 1))
        elif fault == "colour" and thing.colour is not None:
            things[place] = replace(thing, colour=rng.choice([c for c in COLOURS if c != thing.colour]))
        elif fault in ("twice", "stranger"):
            absent = sorted(NOUNS.keys() - {t.noun for t in things})
            noun = NOUNS[thing.noun if fault == "twice" else rng.choice(absent)]
            colour = (thing.colour or rng.choice(list(COLOURS))) if noun.coloured else None
            added = [Thing(noun.name, colour, x, GRID - noun.height) for x in range(GRID - noun.width + 1)]
            things += [new for new in rng.sample(added, len(added)) if not any(overlap(new, t) for t in things)][:1]
        drawn = Scene(scene.place, tuple(things))
        concepts, picture = concepts_of(spec, short_caption(spec)), render(drawn)
        path = store.write(f"{number:05}.png", picture_file(picture))
        verdicts = settle(concepts, spec, exact_detections(drawn, strange=False))
        labels = {v.check: v.answer == "pass" for v in verdicts if v.settled_by is None}
        image = _image_record(path, picture.size, concepts.prompt)
        shown = mean(v.answer == "pass" for v in verdicts)
        yield LabelledImage(Sample(image, concepts.prompt, store, concepts), labels, rating=shown)


def _from_notes(folder: Path) -> Iterator[LabelledImage]:
    for place in runs_in(folder):
        run, labels = read_run(place), defaultdict[str, dict[str, bool]](dict)
        for note in corrections(run):
            if note.person != "unknown":
                labels[note.image][note.check.id] = note.person == "pass"
        for id, note in read_notes(place).items():
            rating = _MARKS.get(note.mark or "")
            if id and (rating is not None or labels[id]):
                sample = Sample(run.images[id], run.prompt, Store(place), run.concepts)
                yield LabelledImage(sample, labels[id], rating=rating)


def _from_ratings(source: Path, key: Path, folder: Path, passes: float) -> Iterator[LabelledImage]:
    """The images of a rating page: the majority of raters for each check, and the mean rating over all criteria."""
    survey = read_key(key)
    answers = read_answers(sorted(source.glob("*.json")) if source.is_dir() else [source], survey)
    ratings, votes = answers.scores.groupby("item")["value"].mean().to_dict(), majorities(answers)
    samples, by_prompt = dict[tuple[str, str], Sample](), defaultdict[str, list[Sample]](list)
    for shot in collect([str(folder)], picks=["all"]).shots if runs_in(folder) else ():
        samples[shot.run, shot.sample.image.id] = shot.sample
        by_prompt[shot.sample.prompt].append(shot.sample)
    for id, item in survey.items.items():
        made, concepts, rating = item.sources[0], longest_checklist(by_prompt[item.prompt]), ratings.get(id)
        voted = {item.checks[n].question: vote for (of, n), vote in votes.items() if of == id and vote != "split"}
        checks = concepts.checks if concepts else ()
        labels = {check.id: voted[check.question] == "yes" for check in checks if check.question in voted}
        if not labels and rating is None:
            continue
        if (sample := samples.get((made.run, made.image))) is None:
            raise SettingsError(f"the run {made.run}, which {key} names, is not in {folder}: name --images FOLDER")
        correct = None if rating is None else rating >= passes
        yield LabelledImage(replace(sample, concepts=concepts), labels, correct, rating=rating)


def _from_table(source: str, images: Path, passes: float) -> Iterator[LabelledImage]:
    store = Store(images)
    for row in read_rows(source):
        cells = row.others
        try:
            questions = (cells.get("generated_qa") or {}).get("yn_question_list") or ()
            concepts = own_concepts(row.prompt, [OwnQuestion(question=q) for q in questions]) if questions else None
            of_models = {f"{model}/{cells['id']}.jpeg": rated for model, rated in (cells.get("models") or {}).items()}
            rated_images = of_models or {cells.get("bad_image") or cells["image"]: cells.get("rating")}
            for path, rated in rated_images.items():
                rating = None
                if rated not in (None, ""):
                    rating = mean(map(float, rated if isinstance(rated, list) else [rated]))
                correct = _YES.get(str(cells.get("answer")).lower(), None if rating is None else rating >= passes)
                kind = str(cells.get("category") or cells.get("kind") or WHOLE)
                image = _image_record(path, store.picture(path).size, row.prompt)
                yield LabelledImage(Sample(image, row.prompt, store, concepts), {}, correct, kind, rating)
        except (KeyError, TypeError, ValueError, AttributeError, OSError) as error:
            raise SettingsError(f"{row.where} is no labelled image ({type(error).__name__}: {error})") from error


def _image_record(path: str, size: tuple[int, int], prompt: str) -> ImageRecord:
    """The record of an image that no run made."""
    fields = {"id": path, "round": 0, "origin": "generate", "prompt": prompt, "seed": 0, "seeded": False}
    fields |= {"steps": 1, "start_step": 0, "start_sigma": 1.0, "guidance": 0.0, "width": size[0], "height": size[1]}
    fields |= {"model": "unknown", "path": path, "latent": None, "evaluations": 0, "seconds": 0.0}
    return ImageRecord.model_validate(fields)


async def critique_all(
    images: Sequence[LabelledImage], critic: Critic, decomposer: Decomposer, repeats: Sequence[Critic] = ()
) -> tuple[list[Critiqued], list[str]]:
    """The critiques of all images, in order, and a line about each image without one."""
    slots = asyncio.Semaphore(_CONCURRENCY)
    decomposed = await decompose_all((i.sample.prompt for i in images if i.sample.concepts is None), decomposer)

    async def critique(image: LabelledImage) -> Critiqued | str:
        sample = image.sample
        concepts = sample.concepts or decomposed[sample.prompt]
        if isinstance(concepts, str):
            return f"{sample.image.path}: {concepts}"
        async with slots:
            try:
                made = [await c.critique(sample.image, concepts, sample.store) for c in (critic, *repeats)]
            except (PromptError, ReplyError) as error:
                return f"{sample.image.path}: {error}"
        return Critiqued(replace(image, sample=replace(sample, concepts=concepts)), made[0], tuple(made[1:]))

    found = await gather_or_cancel(map(critique, images))
    return [c for c in found if isinstance(c, Critiqued)], [line for line in found if isinstance(line, str)]


def answers_frame(critiqued: Iterable[Critiqued]) -> Any:
    """A pandas frame with a row for each label: ``image`` (its number), ``kind`` (aspect of the check, or kind of the
    image), ``is_check``, ``correct`` (the label), ``answer`` and ``probability`` of the critic."""
    from pandas import DataFrame

    rows = list[tuple[object, ...]]()
    for number, result in enumerate(critiqued):
        image, concepts = result.image, cast(ConceptGraph, result.image.sample.concepts)
        for v in result.critique.verdicts:
            if v.check in image.labels and v.settled_by is None:
                aspect = concepts.check(v.check).aspect
                rows.append((str(number), aspect, True, image.labels[v.check], v.answer, v.probability))
        if image.correct is not None:
            answers = set(result.critique.answers().values())
            answer = "fail" if "fail" in answers else "unknown" if "unknown" in answers else "pass"
            rows.append((str(number), image.kind, False, image.correct, answer, None))
    frame: Any = DataFrame(rows, columns=["image", "kind", "is_check", "correct", "answer", "probability"])
    return frame.astype({"is_check": bool, "correct": bool, "probability": float})


def accuracy_table(by_critic: Mapping[str, Sequence[Critiqued]]) -> Table:
    """How well each critic finds faults, by kind of check."""
    rows = list[tuple[Cell, ...]]()
    for critic, critiqued in by_critic.items():
        frame = answers_frame(critiqued)
        for kind in with_every(sorted(frame["kind"].unique())):
            group = frame if kind == EVERY else frame[frame["kind"] == kind]
            known = group[group["answer"] != "unknown"]
            fault, reported = ~known["correct"], known["answer"] == "fail"
            shares = (fault[reported], reported[fault], ~reported[~fault])
            precision, recall, kept = (
                proportion_interval(share.astype(float).tolist(), known["image"][share.index].tolist())
                for share in shares
            )
            ends = zip(astuple(recall), astuple(kept), strict=True) if recall and kept else None
            balanced = Interval(*map(mean, ends)) if ends else None
            numbers = (int(fault.sum()), len(known), len(group) - len(known))
            rows.append((critic, kind, precision, recall, balanced, *numbers))
    return Table(
        "Faults found, by kind of check",
        columns("critic, kind, precision: .1%, recall: .1%, balanced accuracy: .1%, faults: d, answers: d, unknown: d"),
        tuple(rows),
        "precision: of the faults that it reports, those that are there; recall: of the faults that are there, those"
        " that it reports; balanced: the mean of recall on faults and on what is right, 50% by chance. 95% intervals by"
        " bootstrap over pictures, exact where none or all are right; that of balanced takes the mean ends of its two"
        " parts, so it is rather too wide.",
    )


def agreement_table(by_critic: Mapping[str, Sequence[Critiqued]]) -> Table:
    """How far each critic agrees with itself, and critics with each other."""
    groups = dict[str, list[tuple[Critique, ...]]]()
    for critic, critiqued in by_critic.items():
        if repeated := [(result.critique, *result.repeats) for result in critiqued if result.repeats]:
            groups[f"{critic}: its own looks"] = repeated
    by_path = {c: {result.image.sample.image.path: result.critique for result in own} for c, own in by_critic.items()}
    for first, second in combinations(by_path, 2):
        shared = [path for path in by_path[first] if path in by_path[second]]
        groups[f"{first} and {second}"] = [(by_path[first][path], by_path[second][path]) for path in shared]
    rows = list[tuple[Cell, ...]]()
    for name, group in groups.items():
        answers = [[critique.answers() for critique in critiques] for critiques in group]
        by_check = [[own.get(check, "unknown") for own in same] for same in answers for check in same[0]]
        units = [[float(answer == "pass") for answer in unit] for unit in by_check if "unknown" not in unit]
        rows.append((name, alpha_interval(units, "nominal"), len(units)))
    note = "Krippendorff's alpha of answers: 1 is perfect agreement, 0 chance; unknown ones are left out."
    return Table("Agreement", columns("of, agreement: .3f, number: d"), tuple(rows), note)


def pairs_of(critiqued: Sequence[Critiqued], most: int | None = None) -> list[Pair]:
    """Every two images of one prompt of which the labels say which is better; ``most`` of them at random."""
    by_prompt = defaultdict[str, list[Critiqued]](list)
    for result in critiqued:
        by_prompt[result.image.sample.prompt].append(result)
    two = (both for group in by_prompt.values() for both in combinations(group, 2))
    found = [Pair(*both, better) for both in two if (better := _better(both[0].image, both[1].image)) is not None]
    return found if most is None or len(found) <= most else random.Random(0).sample(found, most)


def _better(first: LabelledImage, second: LabelledImage) -> int | None:
    """0 or 1 for the better one by the first label that both have: rating, correct, or the checks labelled in both."""
    shared = first.labels.keys() & second.labels.keys() if first.sample.concepts == second.sample.concepts else ()
    passed = [sum(image.labels[check] for check in shared) for image in (first, second)]
    scales = ((first.rating, second.rating), (first.correct, second.correct), passed)
    a, b = next((a, b) for a, b in scales if a is not None and b is not None)
    return None if a == b else int(a < b)


async def compare_pairs(pairs: Sequence[Pair], critic: Comparer) -> list[Pair]:
    """The same pairs with the critic's comparisons, for which it sees the two images in both orders."""
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def compared(pair: Pair) -> Pair:
        samples = [result.image.sample for result in (pair.first, pair.second)]
        files = [sample.store.path(sample.image.path) for sample in samples]
        root = Path(os.path.commonpath([file.parent for file in files]))  # two runs may use one file name
        names = [file.relative_to(root).as_posix() for file in files]
        changes = [{"id": name, "path": name} for name in names]
        first, second = (s.image.model_copy(update=own) for s, own in zip(samples, changes, strict=True))
        async with slots:
            concepts = cast(ConceptGraph, samples[0].concepts)
            return replace(pair, comparison=await critic.compare(first, second, concepts, Store(root)))

    return await gather_or_cancel(map(compared, pairs))


def pairs_table(by_critic: Mapping[str, Sequence[Pair]]) -> Table:
    """How often a critic prefers the image that is labelled better."""
    rows = list[tuple[Cell, ...]]()
    for critic, pairs in by_critic.items():
        ways: dict[str, list[int | None]] = {"score": [pair.higher for pair in pairs]}
        if pairs and pairs[0].comparison:
            ways["comparison"] = [pair.preferred for pair in pairs]
            ways["score, then comparison"] = [p.preferred if p.higher is None else p.higher for p in pairs]
        for way, chosen in ways.items() if pairs else ():
            marks = [0.5 if c is None else float(c == p.better) for c, p in zip(chosen, pairs, strict=True)]
            prompts = [pair.first.image.sample.prompt for pair in pairs]
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


def cost_table(by_critic: Mapping[str, Sequence[Critiqued]], pairs: Mapping[str, Sequence[Pair]]) -> Table:
    """What a critique of one image costs, and a comparison of two."""
    rows = list[tuple[Cell, ...]]()
    for critic, critiqued in by_critic.items():
        critiques = [critique.exchanges for result in critiqued for critique in (result.critique, *result.repeats)]
        comparisons = [pair.comparison.exchanges for pair in pairs.get(critic, ()) if pair.comparison]
        for what, made in (("look", critiques), ("comparison", comparisons)):
            exchanges = list(chain.from_iterable(made))
            tokens = sum(e.prompt_tokens + e.reply_tokens for e in exchanges)
            totals = (len(exchanges), tokens, sum(e.money for e in exchanges), sum(e.seconds for e in exchanges))
            if made:
                rows.append((critic, what, len(made), *(total / len(made) for total in totals)))
    return Table(
        "Cost",
        columns("critic, of a, number: d, calls: .2f, tokens: .0f, money: .4f, seconds: .3f"),
        tuple(rows),
        "Answers from the cache cost nothing. money: US dollars, where a price is configured.",
    )


async def repair_table(
    critiqued: Sequence[Critiqued], diffusion: Diffusion, judge: Critic, store: Store, most: int, *, edits: bool
) -> Table:
    """What the critic's corrections repair according to the judge, applied as ``edits`` or in a new drawing."""
    gains, fixed, failed = list[float](), 0, 0
    wrong = [
        result
        for result in critiqued
        if (result.critique.refined_prompt or (edits and "fail" in result.critique.answers().values()))
        and (False in result.image.labels.values() or result.image.correct is False)
    ]
    for number, result in enumerate(wrong[:most]):
        sample, prompt = result.image.sample, result.critique.refined_prompt
        concepts = cast(ConceptGraph, sample.concepts)
        attempt, source = Attempt(id=f"0-{number:04}", prompt=prompt, seed=number), None
        if edits:
            id = f"{attempt.id}-source"
            path = store.write(f"{id}.png", sample.store.read(sample.image.path))
            source = sample.image.model_copy(update={"id": id, "path": path, "round": 0, "parent": None})
            instruction = instruction_for(concepts, result.critique, prompt or concepts.prompt)
            asked = {"source": id, "operator": "edit", "parent": id, "round": 1, "prompt": instruction}
            attempt = attempt.model_copy(update=asked)
        made = await diffusion.draw(attempt, store, source=source)
        before = await judge.critique(sample.image, concepts, sample.store)
        after = await judge.critique(made, concepts, store)
        if before.score < 1:
            gains.append((after.score - before.score) / (1 - before.score))
        broken = [id for id, answer in before.answers().items() if answer == "fail"]
        failed += len(broken)
        fixed += sum(after.answers()[id] == "pass" for id in broken)
    way = "edit" if edits else "drawn anew"
    return Table(
        "What corrections repair",
        columns("critic, way, S_rect: .3f, failed checks repaired: .1%, pictures: d"),
        (("critic", way, mean_interval(gains), fixed / failed if failed else None, len(gains)),),
        "S_rect: the judge's share of passed checks gained, of what there was to gain: 1 repairs all, 0 nothing, below"
        " 0 it gets worse; after R3-Bench's rectification score. Only pictures that are known to be wrong.",
    )


def error_rates(critiqued: Iterable[Critiqued]) -> Profile:
    """How often the critic errs by aspect, as ``UnreliableCritic`` takes it; aspects without labels are left out."""
    frame = answers_frame(critiqued)
    known = frame[frame["is_check"] & (frame["answer"] != "unknown")]
    profile: Profile = {}
    for aspect, group in known.groupby("kind", sort=False):
        passed, correct = group["answer"] == "pass", group["correct"]
        miss, invent = (float(rate.mean()) if len(rate) else 0.0 for rate in (passed[~correct], ~passed[correct]))
        profile[cast(Aspect, aspect)] = Errors(miss=miss, invent=invent)
    return profile


def calibration(critiqued: Iterable[Critiqued]) -> list[tuple[float, Interval, int]]:
    """For each tenth of P(yes) that occurs: its mean, how often yes is right, and the number of answers."""
    given = answers_frame(critiqued).dropna(subset="probability")
    points = list[tuple[float, Interval, int]]()
    for _, group in given.groupby((given["probability"] * _BINS).astype(int).clip(upper=_BINS - 1)):
        shown = proportion_interval(group["correct"].astype(float).tolist())
        points.append((mean(group["probability"].tolist()), cast(Interval, shown), len(group)))
    return points


def calibration_table(by_critic: Mapping[str, Sequence[Critiqued]]) -> Table:
    """P(yes) and how often yes is right."""
    rows = [(c, p, true, n) for c, critiqued in by_critic.items() for p, true, n in calibration(critiqued)]
    named = columns("critic, P(yes): .2f, is true: .1%, answers: d")
    return Table("Calibration", named, tuple(rows), "A calibrated critic is right as often as it says.")


def calibration_plot(by_critic: Mapping[str, Sequence[Critiqued]]) -> bytes:
    """The calibration as a PNG, a line for each critic beside the diagonal."""
    from matplotlib.figure import Figure

    canvas, file = Figure(figsize=(5.2, 5.2), layout="constrained"), BytesIO()
    axes: Any = canvas.add_subplot(xlabel="P(yes) that the critic gives", ylabel="share of these that are true")
    axes.plot([0, 1], [0, 1], color="#999999", linestyle="--", linewidth=1, label="calibrated")
    for critic, critiqued in by_critic.items():
        if points := calibration(critiqued):
            likely, shares = [p for p, _, _ in points], [share for _, share, _ in points]
            errors = [[s.value - s.low for s in shares], [s.high - s.value for s in shares]]
            axes.errorbar(likely, [s.value for s in shares], yerr=errors, marker="o", capsize=2, label=critic)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
    axes.legend(loc="lower right")
    canvas.savefig(file, format="png", dpi=110)
    return file.getvalue()


async def run_critics(
    images: Sequence[LabelledImage], critics: Mapping[str, Sequence[Critic]], decomposer: Decomposer, pairs: int = 0
) -> tuple[dict[str, list[Critiqued]], dict[str, list[Pair]], list[str]]:
    """By critic, whose further entries repeat its critiques: what it says of the images, and pairs of them, of which
    critics that can compare are shown ``pairs``; and a line about each image that a critic did not answer."""
    by_critic, ordered, lost = dict[str, list[Critiqued]](), dict[str, list[Pair]](), list[str]()
    for name, (critic, *repeats) in critics.items():
        by_critic[name], lines = await critique_all(images, critic, decomposer, repeats)
        lost += [f"{name}: no answer about {line}" for line in lines]
        ordered[name] = pairs_of(by_critic[name], pairs or None)
        if pairs and compares(critic):
            ordered[name] = await compare_pairs(ordered[name], critic)
    return by_critic, ordered, lost


def write_files(by_critic: Mapping[str, Sequence[Critiqued]], out: Path) -> list[str]:
    """Write the error profile of each critic that has labelled checks, and the calibration plot.

    Returns a line about each file, or about why there is none.
    """
    lines = list[str]()
    for critic, critiqued in by_critic.items():
        if profile := error_rates(critiqued):
            path = out / f"{slug(critic) or 'critic'}.profile.json"
            write_whole(path, json.dumps({a: e.model_dump() for a, e in profile.items()}, indent=1).encode())
            lines.append(f"profile     {path} (for an experiment: profile = {str(path)!r})")
    if not any(map(calibration, by_critic.values())):
        return [*lines, "no plot: no critic gives probabilities of what is known"]
    if find_spec("matplotlib") is None:
        return [*lines, "no plot: pip install 'detailscribe[plots]'"]
    write_whole(out / "calibration.png", calibration_plot(by_critic))
    return [*lines, f"calibration {out / 'calibration.png'}"]
