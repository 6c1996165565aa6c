"""The whole loop over HTTP: the chat roles decide as the embedded ones do, since both see the same."""

import itertools
from dataclasses import dataclass

import pytest
from PIL import ImageChops

from detailscribe.agent import build_graph, context, run
from detailscribe.agent.policies.chat_judge import ChatJudge
from detailscribe.state import Budget, ConceptGraph
from detailscribe.tools.diffusion import LocalDiffusion
from detailscribe.tools.errors import NoAnswerError
from detailscribe.tools.language.decomposer import ChatDecomposer
from detailscribe.tools.vision.critic import ChatCritic
from detailscribe.tools.world import EmbeddedDecomposer
from detailscribe.tools.world.detector import WEIGHTS

from .clients import chat
from .protocol import MODEL

TWO_ACTS = "a fox riding a red bicycle, next to a bear holding a blue balloon"
TOGETHER = "a cat and a dog lifting a yellow house at night"
INSIDE = "a rabbit inside a purple basket, to the left of a tree"
STACKED = "a pig holding a green flag on top of a blue box, in the snow"
STEPS = 4
"""Few, so that pictures are wrong and there is something to decide."""
KEY = "sk-test-4f1c7b"


@pytest.fixture(scope="module")
def diffusion():
    return LocalDiffusion.load(WEIGHTS / "diffusion", steps=STEPS, guidance=3.0)


@dataclass
class Given:
    """A decomposer that has its answer."""

    concepts: ConceptGraph
    model: str = "given"

    async def decompose(self, prompt):
        return self.concepts


def course(done):
    """What was decided of each image, why it ended, and the prompts that were drawn."""
    decisions = [(d.image, d.action, d.rule) for d in done.decisions]
    return decisions, done.result.stop, [image.record.prompt for image in done.images]


def verdicts(done):
    return [(image.record.id, image.critique.answers()) for image in done.images]


def assert_same(over_http, embedded):
    assert course(over_http) == course(embedded)
    assert verdicts(over_http) == verdicts(embedded)
    assert over_http.best.record.id == embedded.best.record.id
    pictures = (done.best.image.convert("RGB") for done in (over_http, embedded))
    # Images that share a pass with others differ from images alone by rounding.
    assert max(high for _, high in ImageChops.difference(*pictures).getextrema()) <= 2


@pytest.mark.parametrize("prompt", [TWO_ACTS, TOGETHER, INSIDE, STACKED])
async def test_the_decomposer_finds_what_the_embedded_one_finds(server, prompt):
    ours = await ChatDecomposer(chat(server)).decompose(prompt)
    theirs = await EmbeddedDecomposer().decompose(prompt)
    assert ours.entities == theirs.entities
    assert [(i.subjects, i.relation, i.object, i.kind) for i in ours.interactions] == [
        (i.subjects, i.relation, i.object, i.kind) for i in theirs.interactions
    ]
    assert ours.scene == theirs.scene


@pytest.mark.slow
@pytest.mark.parametrize(("prompt", "seed"), [(TWO_ACTS, 7), (TOGETHER, 4)])
def test_both_roles_decide_as_the_embedded_critic_does_on_their_checklist(server, tmp_path, diffusion, prompt, seed):
    how = {"seed": seed, "budget": Budget(rounds=3), "diffusion": diffusion}
    server.mind.album = tmp_path / "chat"
    model = chat(server)
    roles = {"decomposer": ChatDecomposer(model), "critic": ChatCritic(model, probabilities=True)}
    over_http = run(prompt, out=tmp_path / "chat", **roles, **how)
    embedded = run(prompt, out=tmp_path / "embedded", decomposer=Given(over_http.concepts), **how)
    assert_same(over_http, embedded)
    assert len(over_http.images) > 2, "there was nothing to decide"


@pytest.mark.slow
@pytest.mark.parametrize("prompt", [INSIDE, STACKED])
def test_the_critic_takes_the_place_of_the_embedded_one(server, tmp_path, diffusion, prompt):
    how = {"seed": 7, "budget": Budget(rounds=3), "diffusion": diffusion}
    server.mind.album = tmp_path / "chat"
    critic = ChatCritic(chat(server), probabilities=True)
    assert_same(run(prompt, out=tmp_path / "chat", critic=critic, **how), run(prompt, out=tmp_path / "whole", **how))


@pytest.mark.slow
def test_every_role_and_the_policy_can_be_chat_models(server, tmp_path, diffusion):
    model = chat(server)
    done = run(
        STACKED,
        out=tmp_path / "run",
        policy=ChatJudge(chat=model),
        decomposer=ChatDecomposer(model),
        critic=ChatCritic(model),
        diffusion=diffusion,
        budget=Budget(rounds=2),
    )
    assert "decision" in {served.request.schema_name for served in server.served}
    assert "refine" in {decision.action for decision in done.decisions}


def test_a_run_whose_critic_is_refused_says_so_and_keeps_the_key_to_itself(server, tmp_path, diffusion):
    server.can.key = KEY
    server.follow(itertools.chain([None], itertools.repeat("refusal")))
    model = chat(server, api_key=KEY)
    folder = tmp_path / "run"
    with pytest.raises(NoAnswerError, match="cannot assist"):
        run(TOGETHER, out=folder, decomposer=ChatDecomposer(model), critic=ChatCritic(model), diffusion=diffusion)
    assert "cannot assist" in (folder / "events.jsonl").read_text()
    assert MODEL in (folder / "manifest.json").read_text()
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in files if KEY.encode() in path.read_bytes()]


async def test_each_chat_call_is_a_langchain_run_that_streams_of_events_see(server, tmp_path, diffusion):
    model = chat(server)
    roles = {"decomposer": ChatDecomposer(model), "critic": ChatCritic(model), "diffusion": diffusion}
    one = context(out=tmp_path, policy="best_of_n", policy_args={"n": 1}, **roles)
    server.mind.album = tmp_path
    seen = [e async for e in build_graph().astream_events({"prompt": INSIDE, "seed": 7}, context=one, version="v2")]
    asked = [e for e in seen if e["event"] == "on_chat_model_start"]
    answered = [e for e in seen if e["event"] == "on_chat_model_end"]
    assert len(asked) == len(answered) == len(server.served) >= 2
    assert [e["metadata"]["langgraph_node"] for e in asked[:2]] == ["decompose", "critique"]
    assert asked[0]["name"] == "concept_graph"
    assert {e["metadata"]["ls_model_name"] for e in asked} == {MODEL}
    assert all(e["data"]["output"].usage_metadata["input_tokens"] > 0 for e in answered)
