"""A thousand replies of a server that fails in every way: nothing is made up, and every loss shows."""

import itertools
import json
import math
import random
import re

import pytest

from detailscribe.tools.errors import ReplyError
from detailscribe.tools.files import Store
from detailscribe.tools.language.decomposer import ChatDecomposer
from detailscribe.tools.language.demo_server import Subject, verdict_on
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.world.decomposer import concepts_of
from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.reading import probability

from ..agent.fakes import record
from .clients import chat
from .faults import fault_sequence
from .pictures import PROMPT, picture

LOOKS, READINGS = 800, 200
"""Replies to a critic, and to a decomposer."""
SLOW_EVERY = 700
"""Replies; each slow one costs the client's whole patience."""
SILENT = ("empty", "no_content")
"""Faults that are a reply, of no words."""
VOID = ("contradiction", "filtered")
"""Faults whose replies settle nothing, whatever stands in them."""
ANSWERS = {"yes": "pass", "no": "fail", "unclear": "unknown"}
CONCEPTS = concepts_of(parse(PROMPT), PROMPT)
PICTURES = {
    "00-00": picture(),
    "00-01": picture(without="cat"),
    "00-02": picture(without="umbrella"),
    "00-03": picture("a dog holding a blue umbrella, at night"),
}
CRITICS = ({}, {"probabilities": True}, {"votes": 3})


@pytest.fixture
def store(tmp_path):
    store = Store(tmp_path)
    for id, png in PICTURES.items():
        store.write(record(id).path, png)
    return store


class Truth:
    """What an honest reply says of each check on one picture."""

    def __init__(self, server, png):
        subject, seen = Subject.of(PROMPT), server.mind.look(png)
        self.answers = {c.id: ANSWERS[verdict_on(c, subject, seen)[0]] for c in CONCEPTS.checks}
        self.likely = {c.id: probability(c, CONCEPTS, subject.spec, seen) for c in CONCEPTS.checks}


def said(served):
    """Check and answer of everything that these replies say, in whatever state they are."""
    for reply in served:
        if reply.answer is None or (reply.fault in VOID and not reply.request.body.get("logprobs")):
            continue
        if reply.request.body.get("logprobs"):
            words = {token.strip().lower() for token in reply.answer.first or {}}
            yield from ((id, ANSWERS[word]) for id, _ in reply.request.checks for word in words & ANSWERS.keys())
        for verdict in re.findall(r'\{"check": [^{}]*\}', reply.answer.text):
            one = json.loads(verdict)
            yield one["check"], ANSWERS.get(one["answer"])


def unfounded(critique, served, truth):
    """Verdicts and probabilities that no reply bears out; settled ones follow from others."""
    heard = set(said(served))
    misled = any(reply.fault == "another_picture" for reply in served)
    asked = [v for v in critique.verdicts if v.settled_by is None]
    decided = [v for v in asked if v.answer != "unknown"]
    weighed = [v for v in asked if v.probability is not None]
    return [
        *(v for v in decided if (v.check, v.answer) not in heard),
        *(v for v in decided if not misled and v.answer != truth.answers[v.check]),
        *(v for v in weighed if not is_share(v.probability, truth.likely[v.check])),
    ]


def is_share(given, likely):
    """P(yes) as the server had it, or a share of three votes."""
    return math.isclose(given, likely, abs_tol=1e-9) or given in (0, 1 / 3, 1 / 2, 2 / 3, 1)


def broken_sequence(seed):
    """Faults of every kind, of which the slow one is rare."""
    for n, fault in enumerate(fault_sequence(seed, without=("slow",)), 1):
        yield "slow" if n % SLOW_EVERY == 0 else fault


@pytest.mark.slow
async def test_no_verdict_is_made_up_and_every_loss_shows(server, store):
    server.follow(broken_sequence(7))
    model = chat(server, timeout=5)
    critics = [ChatCritic(model, **options) for options in CRITICS]
    truths = {id: Truth(server, png) for id, png in PICTURES.items()}
    chosen, lost = random.Random(7), 0
    for critic in itertools.cycle(critics):
        if len(server.served) >= LOOKS:
            break
        before, id = len(server.served), chosen.choice(list(PICTURES))
        critique = await critic.critique(record(id), CONCEPTS, store)
        served = server.served[before:]
        assert unfounded(critique, served, truths[id]) == []
        assert len(critique.exchanges) == len(served), "a call is missing from the trace, or made up"
        silent = [exchange for exchange in critique.exchanges if not exchange.reply]
        assert len(silent) <= sum(reply.fault in SILENT for reply in served), "a lost reply leaves no word"
        unknown = [v for v in critique.verdicts if v.answer == "unknown"]
        lost += len(unknown)
        assert not unknown or any(reply.fault for reply in served), "honest replies were lost"
        assert critique.refined_prompt is None or critique.refined_prompt.startswith(PROMPT)
    assert lost > 100


@pytest.mark.slow
async def test_a_prompt_is_read_rightly_or_not_at_all(server):
    decomposer = ChatDecomposer(chat(server, timeout=5, attempts=2))
    right, _, _ = await read(decomposer)
    server.reset()
    server.follow(broken_sequence(8))
    lost = 0
    while len(server.served) < READINGS:
        before = len(server.served)
        concepts, exchanges, reason = await read(decomposer)
        served = server.served[before:]
        assert concepts == right or (concepts is None and reason)
        assert len(exchanges) == len(served), "a call is missing from the trace, or made up"
        assert len(served) == 1 or served[0].fault, "an honest reply was not taken"
        lost += concepts is None
    assert lost > READINGS / 20


async def read(decomposer):
    """Concepts, the calls that they took, and why there are none."""
    try:
        concepts = await decomposer.decompose(PROMPT)
    except ReplyError as error:
        return None, error.exchanges, error.reason
    return concepts.model_copy(update={"exchanges": ()}), concepts.exchanges, None
