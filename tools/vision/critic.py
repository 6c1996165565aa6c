"""The critic that asks a chat model: every check gets one verdict, and no failure of the model decides one."""

import itertools
import math
import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...state import (
    Check,
    Comparison,
    ConceptGraph,
    Critique,
    Exchange,
    ImageRecord,
    Verdict,
    derive_seed,
    fail_dependents,
)
from ..blocking import gather_or_cancel
from ..errors import ModelError, ReplyError, SettingsError
from ..files import Store
from ..language.chat import ChatModel
from ..language.question import Picture, PromptAnswer, Question, Wording, with_templates
from ..roles import BoxForm, Critic, model_name
from ..sentences import count_words, opening, problem, repaired
from ..text import one_line
from . import questions
from .questions import MOST_ANSWERS, BoxedCritiqueAnswer, ComparisonAnswer, CritiqueAnswer, wire_line, wire_lines
from .verdicts import Likelihood, elect, failures, issues, levels, read_answers, unheard, weigh

Exchanges = tuple[Exchange, ...]


class ChatCritic:
    """Answers the checklist with a chat model that sees, and has it write the corrected prompt.

    Checks are asked level by level: what depends on a failed check fails without being asked. What is optional (P(yes),
    the corrected prompt, comparisons) never ends a run: where the server declines it, the reason stands in its place.

    ``SettingsError`` if a number is out of range, or a template of the user's cannot be used.

    Args:
        chat: The model; it must take pictures.
        templates: Folder of the user's own templates, which stand in for those that ship.
        votes: Times that each check is asked, in another order; most answers win.
        probabilities: Whether each check is also asked by itself, with the image, for P(yes), which then decides.
        together: Whether all checks are asked at once and dependents of failed ones fail afterwards. One call where
            levels take two or three; but a question about a thing that is not there tempts a model to see it.
        checks_per_call: Checks asked in one call at most, 1 to 20.
        words: Length of the corrected prompt at most.
        boxes: The form in which the model is asked where it looked; None to ask for no boxes.
        second: Gives the second opinions that policies ask for; None for the same model, asked in another order.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        templates: Path | None = None,
        votes: int = 1,
        probabilities: bool = False,
        together: bool = False,
        checks_per_call: int = 16,
        words: int = 70,
        boxes: BoxForm | None = None,
        second: Critic | None = None,
    ) -> None:
        if votes < 1 or words < 1 or not 1 <= checks_per_call <= MOST_ANSWERS:
            raise SettingsError(f"votes and words must be at least 1, and checks_per_call from 1 to {MOST_ANSWERS}")
        self._chat = chat
        names = ("critique", "likelihood", "refine", "compare")
        self._wordings = {name: Wording.load(name, f"{name}_system", templates) for name in names}
        self._again = Wording.load("refine_again", folder=templates).text
        if boxes is not None:
            self._wordings["critique"] = questions.boxes_asked_for(self._wordings["critique"], boxes, templates)
        read = (*names, *(f"{name}_system" for name in names), "refine_again", "critique_boxes")
        own = with_templates(chat.name, templates, *read[: None if boxes else -1])
        self.model = own if second is None else f"{own}, then {model_name(second)}"
        self._votes, self._probabilities, self._together = votes, probabilities, together
        self._checks_per_call, self._words, self._second = checks_per_call, words, second
        self._boxes: BoxForm | None = boxes
        self._answer = CritiqueAnswer if boxes is None else BoxedCritiqueAnswer
        self._cannot_compare: str | None = None

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check, in the order of the checklist; what got no usable answer is unknown and unheard.
        ``ModelError`` if the server refuses, cannot be found, or takes no pictures."""
        again = image.origin == "look"
        if again and self._second is not None:
            return await self._second.critique(image, concepts, store)
        picture = await questions.read_picture(store, image)
        own: dict[str, Verdict] = {}
        exchanges: list[Exchange] = []
        for level in levels(concepts, self._together):
            known = {v.check for v in fail_dependents(concepts, own)}
            asked = [c for c in level if c.id not in known]
            found, made = await self._examine(concepts.prompt, asked, picture, image.seed if again else 0)
            own |= found
            exchanges += made
        verdicts = fail_dependents(concepts, own)
        failed = failures(concepts, verdicts)
        prompt, lost, made = await self._corrected(concepts.prompt, failed) if failed else (None, None, ())
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=(*issues(failed), *([] if lost is None else [f"No corrected prompt came: {lost}"])),
            refined_prompt=prompt,
            exchanges=(*exchanges, *made),
            looks=self._votes,
        )

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison:
        """Which of two images shows more of what is asked for: the one preferred with the images in either order.

        Models favour a place, and a preference that swaps with it is none. Where the server declines to compare, for
        instance since it takes one picture at a time, no image is preferred, and it is not asked again.
        """
        if first.id == second.id:
            raise ValueError(f"image {first.id!r} cannot be compared with itself")
        pictures = {one.id: await questions.read_picture(store, one) for one in (first, second)}
        orders = [(first.id, second.id), (second.id, first.id)]
        preferences = await gather_or_cancel(self._preferred(concepts, order, pictures) for order in orders)
        named = {better for better, _, _ in preferences}
        return Comparison(
            first=first.id,
            second=second.id,
            better=named.pop() if len(named) == 1 else None,
            reason="; ".join(dict.fromkeys(said for _, said, _ in preferences)),
            exchanges=_all(made for _, _, made in preferences),
        )

    async def _preferred(
        self, concepts: ConceptGraph, order: tuple[str, str], pictures: dict[str, Picture]
    ) -> tuple[str | None, str, Exchanges]:
        """Id of the image preferred in this order, if any; the reason; and the calls."""
        if self._cannot_compare is not None:
            return None, self._cannot_compare, ()
        places = " before ".join(order)
        question = self._wordings["compare"].question(
            "comparison",
            [pictures[id] for id in order],
            prompt=concepts.prompt,
            checks=wire_lines(concepts.checks),
        )
        try:
            reply = await self._chat.ask(question, ComparisonAnswer)
        except ReplyError as error:
            return None, f"{places}: no answer, {error.reason}", error.exchanges
        except ModelError as error:
            self._cannot_compare = f"not compared, {error}"
            return None, self._cannot_compare, self._declined(question, error)
        better = {"first": order[0], "second": order[1], "equal": None}[reply.value.better]
        return better, f"{places}: {better or 'equal'}, {reply.value.reason or 'no reason given'}", reply.exchanges

    async def _examine(
        self, prompt: str, checks: Sequence[Check], picture: Picture, first: int
    ) -> tuple[dict[str, Verdict], Exchanges]:
        """A verdict on each check, by id; all calls are under way at once. The votes are counted from ``first`` on."""
        # As few groups as will do, of nearly the same size.
        calls = math.ceil(len(checks) / self._checks_per_call)
        bounds = itertools.pairwise(len(checks) * n // calls for n in range(calls + 1)) if calls else ()
        groups = [checks[start:end] for start, end in bounds]
        votes = [(group, vote) for vote in range(first, first + self._votes) for group in groups]
        asked = gather_or_cancel(self._vote(prompt, group, picture, vote) for group, vote in votes)
        weighed = gather_or_cancel(self._likelihood(prompt, c, picture) for c in checks if self._probabilities)
        both: list[Any] = await gather_or_cancel([asked, weighed])
        ballots: list[tuple[dict[str, Verdict], Exchanges]] = both[0]
        likelihoods: list[tuple[Likelihood, Exchanges]] = both[1]
        likely = {check.id: found for check, (found, _) in zip(checks, likelihoods, strict=False)}
        verdicts: dict[str, Verdict] = {}
        for check in checks:
            said = [ballot[check.id] for ballot, _ in ballots if check.id in ballot]
            verdicts[check.id] = weigh(check, said, likely[check.id]) if likely else elect(check, said)
        return verdicts, (*_all(made for _, made in ballots), *_all(made for _, made in likelihoods))

    async def _vote(
        self, prompt: str, checks: Sequence[Check], picture: Picture, vote: int
    ) -> tuple[dict[str, Verdict], Exchanges]:
        """What one look says of each of these checks, by id; what it leaves out is asked for once more."""
        missing = checks
        if vote:  # in another order than that of the list, which the first vote has
            shuffled = random.Random(derive_seed(vote, *(check.id for check in checks)))
            missing = shuffled.sample(checks, len(checks))

        def about(asked: Sequence[Check]) -> Question:
            how = {"prompt": prompt, "checks": wire_lines(asked)}
            return self._wordings["critique"].question("critique", [picture], vote, **how)

        question = about(missing)
        found: dict[str, Verdict] = {}
        exchanges: list[Exchange] = []
        for _ in range(2):
            try:
                reply = await self._chat.ask(question, self._answer)
                answers, lost = reply.value.answers, None
            except ReplyError as error:
                reply, answers, lost = error, questions.answers_in(error.raw, self._answer), error.reason
            exchanges += reply.exchanges
            side = reply.exchanges[-1].picture_side if reply.exchanges else None  # as sent, also for a cached reply
            size = picture.size_within(side) if self._boxes and side else (0, 0)
            said = read_answers(checks, answers, self._boxes or "shares", size)
            found |= {c.id: unheard(c, lost) if lost and not said[c.id].heard else said[c.id] for c in missing}
            missing = [check for check in missing if not found[check.id].heard]
            if not missing or (lost and not answers):
                break
            reason = f"it gives no readable answer to {', '.join(map(questions.wire_id, missing))}."
            reason += " Copy each id exactly, and say yes, no or unclear."
            question = about(missing).again(reply.exchanges[-1].reply, reason)
        return found, tuple(exchanges)

    async def _likelihood(self, prompt: str, check: Check, picture: Picture) -> tuple[Likelihood, Exchanges]:
        """P(yes) of one check, or why there is none."""
        how = {"prompt": prompt, "checks": wire_line(check)}
        question = self._wordings["likelihood"].question("likelihood", [picture], **how)
        try:
            found = await self._chat.likelihood(question)
        except ReplyError as error:
            return (None, error.reason), error.exchanges
        except ModelError as error:
            return (None, str(error)), self._declined(question, error)
        return (found.probability, found.reason), (found.exchange,)

    async def _corrected(
        self, prompt: str, failed: Sequence[tuple[Check, Verdict]]
    ) -> tuple[str | None, str | None, Exchanges]:
        """A prompt that mends ``failed``, or why none came; and the calls. Asked once more if the answer breaks a rule.

        What still breaks one then is repaired. Where no answer is usable there is no corrected prompt: one
        made up of the questions would be no sentence that an image model can draw, and would pass for
        the critic's. A prompt of the user's that fills the words by itself is left alone, and nothing is asked.
        """
        if count_words(opening(prompt)) >= self._words:
            return opening(prompt), None, ()
        lines = "\n".join(f"{wire_line(c)} - {one_line(v.evidence) or questions.UNSEEN}" for c, v in failed)
        how: dict[str, str | int] = {"prompt": prompt, "failures": lines, "words": self._words}
        question = self._wordings["refine"].question("refined_prompt", **how)
        answer, exchanges = "", ()
        for _ in range(2):
            try:
                reply = await self._chat.ask(question, PromptAnswer)
            except (ReplyError, ModelError) as error:
                made = error.exchanges if isinstance(error, ReplyError) else self._declined(question, error)
                exchanges = (*exchanges, *made)
                if not answer:
                    return None, error.reason if isinstance(error, ReplyError) else str(error), exchanges
                break
            answer, exchanges = one_line(reply.value.prompt), (*exchanges, *reply.exchanges)
            if len(answer) > 1 and answer[0] + answer[-1] in ('""', "“”"):
                answer = answer[1:-1]
            wrong = problem(prompt, answer, self._words)
            if wrong is None:
                break
            again = f"{question.text}\n\n{self._again.render(answer=answer, problem=wrong)}"
            question = replace(question, text=again, template=f"{question.template} {self._again.label}")
        return repaired(prompt, answer, self._words), None, exchanges

    def _declined(self, question: Question, error: ModelError) -> Exchanges:
        """What a trace shows of an optional question that the server would not take."""
        return (Exchange(model=self.model, prompt=question.text, reply=f"not answered: {error}"),)


def _all(made: Iterable[Exchanges]) -> Exchanges:
    return tuple(itertools.chain.from_iterable(made))
