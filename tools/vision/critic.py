"""The critic that asks a chat model. Each check gets one verdict, which is unknown where a call fails."""

import itertools
import math
import random
from collections.abc import Sequence
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
from .questions import BoxedCritiqueAnswer, ComparisonAnswer, CritiqueAnswer, wire_line, wire_lines
from .verdicts import elect, failures, issues, read_answers, unheard, weigh

Exchanges = tuple[Exchange, ...]

_CHECKS_PER_CALL = 16
"""Checks asked in one call at most; a reply has room for ``questions.MOST_ANSWERS``."""


class ChatCritic:
    """Answers the checklist with a vision model, and has it write the corrected prompt.

    A check is asked after those that it depends on; where one of them failed, it fails without being asked.
    P(yes), the corrected prompt and comparisons are optional: where the server declines them, the run goes on and the
    trace has the reason. ``SettingsError`` if a number is out of range, or a user's template cannot be used.

    Args:
        chat: The model; it must take pictures.
        templates: Folder of the user's templates, which override those that ship.
        votes: How often each check is asked, each time in another order; the majority wins.
        probabilities: Whether each check is also asked alone for P(yes), which then decides; not in second opinions.
        words: Longest corrected prompt, in words.
        boxes: The form in which the model gives the boxes of what it looked at; None to ask for no boxes.
        second: The critic for second opinions; None for the same model, asked in another order.
    """

    def __init__(
        self,
        chat: ChatModel,
        *,
        templates: Path | None = None,
        votes: int = 1,
        probabilities: bool = False,
        words: int = 70,
        boxes: BoxForm | None = None,
        second: Critic | None = None,
    ) -> None:
        if votes < 1 or words < 1:
            raise SettingsError("votes and words must be at least 1")
        names = ("critique", "likelihood", "refine", "compare")
        self._wordings = {name: Wording.load(name, f"{name}_system", templates) for name in names}
        self._again = Wording.load("refine_again", folder=templates).text
        if boxes is not None:
            self._wordings["critique"] = questions.boxes_asked_for(self._wordings["critique"], boxes, templates)
        read = (*names, *(f"{name}_system" for name in names), "refine_again", "critique_boxes")
        own = with_templates(chat.name, templates, *read[: None if boxes else -1])
        self.model = own if second is None else f"{own}, then {model_name(second)}"
        self._chat, self._votes, self._probabilities = chat, votes, probabilities
        self._words, self._second = words, second
        self._boxes: BoxForm | None = boxes
        self._answer = CritiqueAnswer if boxes is None else BoxedCritiqueAnswer
        self._cannot_compare: str | None = None

    async def critique(self, image: ImageRecord, concepts: ConceptGraph, store: Store) -> Critique:
        """One verdict for each check, in the order of the checklist; unknown and unheard where no usable answer came.
        ``ModelError`` if the server refuses, cannot be found, or takes no pictures."""
        again = image.origin == "look"
        if again and self._second is not None:
            return await self._second.critique(image, concepts, store)
        picture = await questions.read_picture(store, image)
        own: dict[str, Verdict] = {}
        exchanges: list[Exchange] = []
        while True:
            verdicts = fail_dependents(concepts, own)
            decided = {v.check for v in verdicts}
            next_checks = [
                c for c in concepts.checks_in_order() if c.id not in decided and decided.issuperset(c.depends_on)
            ]
            if not next_checks:
                break
            answered, calls = await self._examine(concepts.prompt, next_checks, picture, image.seed if again else 0)
            own |= answered
            exchanges += calls
        failed = failures(concepts, verdicts)
        prompt, reason, calls = await self._corrected(concepts.prompt, failed) if failed else (None, None, ())
        return Critique(
            image=image.id,
            verdicts=verdicts,
            issues=(*issues(failed), *([f"No corrected prompt came: {reason}"] if reason else [])),
            refined_prompt=prompt,
            exchanges=(*exchanges, *calls),
            looks=self._votes,
        )

    async def compare(
        self, first: ImageRecord, second: ImageRecord, concepts: ConceptGraph, store: Store
    ) -> Comparison:
        """Which of two images shows more of what is asked for: the one preferred in both orders, since models favour a
        position.

        Where the server declines to compare, for instance since it takes one picture at a time, no image is preferred,
        and it is not asked again.
        """
        if first.id == second.id:
            raise ValueError(f"image {first.id!r} cannot be compared with itself")
        pictures = {image.id: await questions.read_picture(store, image) for image in (first, second)}
        orders = [(first.id, second.id), (second.id, first.id)]
        preferences = await gather_or_cancel(self._preferred(concepts, order, pictures) for order in orders)
        preferred = {better for better, _, _ in preferences}
        return Comparison(
            first=first.id,
            second=second.id,
            better=preferred.pop() if len(preferred) == 1 else None,
            reason="; ".join(dict.fromkeys(reason for _, reason, _ in preferences)),
            exchanges=tuple(exchange for _, _, calls in preferences for exchange in calls),
        )

    async def _preferred(
        self, concepts: ConceptGraph, order: tuple[str, str], pictures: dict[str, Picture]
    ) -> tuple[str | None, str, Exchanges]:
        """Id of the image preferred in this order, if any; the reason; and the calls."""
        if self._cannot_compare is not None:
            return None, self._cannot_compare, ()
        places = " before ".join(order)
        shown = [pictures[id] for id in order]
        texts = {"prompt": concepts.prompt, "checks": wire_lines(concepts.checks)}
        question = self._wordings["compare"].question("comparison", shown, **texts)
        try:
            reply = await self._chat.ask(question, ComparisonAnswer)
        except (ReplyError, ModelError) as error:
            reason, calls = self._why_not(question, error)
            if isinstance(error, ReplyError):
                return None, f"{places}: no answer, {reason}", calls
            self._cannot_compare = f"not compared, {reason}"
            return None, self._cannot_compare, calls
        better = {"first": order[0], "second": order[1], "equal": None}[reply.value.better]
        return better, f"{places}: {better or 'equal'}, {reply.value.reason or 'no reason given'}", reply.exchanges

    async def _examine(
        self, prompt: str, checks: Sequence[Check], picture: Picture, first: int
    ) -> tuple[dict[str, Verdict], Exchanges]:
        """A verdict on each check, by id, from concurrent calls; the votes are numbered from ``first`` on."""
        # As few groups as possible, of nearly the same size.
        number = math.ceil(len(checks) / _CHECKS_PER_CALL)
        bounds = itertools.pairwise(len(checks) * n // number for n in range(number + 1))
        groups = [checks[start:end] for start, end in bounds]
        votes = [(group, vote) for vote in range(first, first + self._votes) for group in groups]
        voting = gather_or_cancel(self._vote(prompt, group, picture, vote) for group, vote in votes)
        weighs = self._probabilities and not first  # P(yes) would be the first opinion's again
        weighing = gather_or_cancel(self._likelihood(prompt, c, picture) for c in checks if weighs)
        results: list[Any] = await gather_or_cancel([voting, weighing])
        replies: list[tuple[dict[str, Verdict], Exchanges]] = results[0]
        likelihoods: list[tuple[float | None, str, Exchanges]] = results[1]
        verdicts: dict[str, Verdict] = {}
        for n, check in enumerate(checks):
            answers = [reply[check.id] for reply, _ in replies if check.id in reply]
            verdicts[check.id] = weigh(check, answers, *likelihoods[n][:2]) if likelihoods else elect(check, answers)
        calls = [calls for _, calls in replies] + [calls for _, _, calls in likelihoods]
        return verdicts, tuple(itertools.chain.from_iterable(calls))

    async def _vote(
        self, prompt: str, checks: Sequence[Check], picture: Picture, vote: int
    ) -> tuple[dict[str, Verdict], Exchanges]:
        """One verdict on each of these checks, by id; those that the reply leaves out are asked once more."""
        missing = checks
        if vote:  # in another order than the first vote
            shuffled = random.Random(derive_seed(vote, *(check.id for check in checks)))
            missing = shuffled.sample(checks, len(checks))

        def about(asked: Sequence[Check]) -> Question:
            texts = {"prompt": prompt, "checks": wire_lines(asked)}
            return self._wordings["critique"].question("critique", [picture], vote, **texts)

        def answers_any(value: CritiqueAnswer | BoxedCritiqueAnswer) -> bool:
            return any(verdict.heard for verdict in read_answers(missing, value.answers).values())

        question = about(missing)
        verdicts: dict[str, Verdict] = {}
        exchanges: list[Exchange] = []
        for _ in range(2):
            try:
                reply = await self._chat.ask(question, self._answer, keep=answers_any)
                answers, lost = reply.value.answers, None
            except ReplyError as error:
                reply, answers, lost = error, questions.answers_in(error.raw, self._answer), error.reason
            exchanges += reply.exchanges
            side = reply.exchanges[-1].picture_side if reply.exchanges else None  # as sent, also for a cached reply
            size = picture.size_within(side) if self._boxes and side else (0, 0)
            read = read_answers(checks, answers, self._boxes or "shares", size)
            for check in missing:
                use_reason = lost is not None and not read[check.id].heard
                verdicts[check.id] = unheard(check, lost or "") if use_reason else read[check.id]
            missing = [check for check in missing if not verdicts[check.id].heard]
            if not missing or (lost and not answers):
                break
            reason = f"it gives no readable answer to {', '.join(map(questions.wire_id, missing))}."
            reason += " Copy each id exactly, and say yes, no or unclear."
            question = about(missing).again(reply.exchanges[-1].reply, reason)
        return verdicts, tuple(exchanges)

    async def _likelihood(self, prompt: str, check: Check, picture: Picture) -> tuple[float | None, str, Exchanges]:
        """P(yes) of one check or None, why there is none, and the calls."""
        texts = {"prompt": prompt, "checks": wire_line(check)}
        question = self._wordings["likelihood"].question("likelihood", [picture], **texts)
        try:
            likelihood = await self._chat.likelihood(question)
        except (ReplyError, ModelError) as error:
            return None, *self._why_not(question, error)
        return likelihood.probability, likelihood.reason or "", (likelihood.exchange,)

    async def _corrected(
        self, prompt: str, failed: Sequence[tuple[Check, Verdict]]
    ) -> tuple[str | None, str | None, Exchanges]:
        """A prompt that mends ``failed``, or why none came; and the calls.

        An answer that breaks a rule is asked for once more, and then repaired. Where no answer is usable there is no
        corrected prompt: one made up of the questions would pass for the critic's. A user's prompt that fills the words
        by itself is returned as it is, without a call.
        """
        if count_words(opening(prompt)) >= self._words:
            return opening(prompt), None, ()
        lines = "\n".join(f"{wire_line(c)} - {one_line(v.evidence) or questions.UNSEEN}" for c, v in failed)
        texts: dict[str, str | int] = {"prompt": prompt, "failures": lines, "words": self._words}
        question = self._wordings["refine"].question("refined_prompt", **texts)
        answer, exchanges = "", ()
        for _ in range(2):
            try:
                reply = await self._chat.ask(question, PromptAnswer)
            except (ReplyError, ModelError) as error:
                reason, calls = self._why_not(question, error)
                exchanges += calls
                if not answer:
                    return None, reason, exchanges
                break
            answer, exchanges = one_line(reply.value.prompt), exchanges + reply.exchanges
            if len(answer) > 1 and answer[0] + answer[-1] in ('""', "“”"):
                answer = answer[1:-1]
            wrong = problem(prompt, answer, self._words)
            if wrong is None:
                break
            again = f"{question.text}\n\n{self._again.render(answer=answer, problem=wrong)}"
            question = replace(question, text=again, template=f"{question.template} {self._again.label}")
        return repaired(prompt, answer, self._words), None, exchanges

    def _why_not(self, question: Question, error: ReplyError | ModelError) -> tuple[str, Exchanges]:
        """Why an optional question has no answer, and its calls for the trace."""
        if isinstance(error, ReplyError):
            return error.reason, error.exchanges
        return str(error), (Exchange(model=self.model, prompt=question.text, reply=f"not answered: {error}"),)
