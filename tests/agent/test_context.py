"""A context from one line, for a graph that others invoke."""

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

from detailscribe.agent import arun, build_graph, context, serializer
from detailscribe.agent.policies import BestOfN, stop
from detailscribe.state import ConceptGraph, RunInput, RunState
from detailscribe.tools.errors import SettingsError

from .fakes import FakeDiffusion, roles
from .fakes import context as fake_context

PROMPT = "a cat holding an umbrella"
ONE = {"policy": "best_of_n", "policy_args": {"n": 1}, "steps": 4}


async def test_the_graph_draws_with_it_what_a_run_draws(tmp_path):
    done = await arun(PROMPT, seed=3, out=tmp_path / "run", **ONE)
    state = await build_graph().ainvoke({"prompt": PROMPT, "seed": 3}, context=context(out=tmp_path / "graph", **ONE))
    drawn = state["images"][state["best"]]
    assert drawn.digest == done.best.record.digest
    assert drawn.guidance == 3.0
    assert (tmp_path / "graph" / drawn.path).exists()


def test_contexts_of_the_same_settings_share_their_models_and_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second, other = context(), context(policy=BestOfN(n=2), budget={"images": 2}), context(steps=5)
    assert first.diffusion is second.diffusion is not other.diffusion
    assert first.critic is second.critic is other.critic
    assert first.store.root != second.store.root
    assert (second.policy, second.budget.images) == (BestOfN(n=2), 2)


async def test_the_public_serializer_reads_every_checkpoint_back_without_a_warning(tmp_path, caplog):
    graph, thread = build_graph(InMemorySaver(serde=serializer())), {"configurable": {"thread_id": "one"}}
    await graph.ainvoke({"prompt": PROMPT}, thread, context=context(out=tmp_path / "graph", **ONE))
    assert isinstance((await graph.aget_state(thread)).values["concepts"], ConceptGraph)
    assert "unregistered" not in caplog.text


def test_a_role_and_a_policy_of_your_own_take_the_place_of_the_presets():
    def judge(population):
        return [stop(image, "enough", "one is enough") for image in population.pending()]

    drawer = FakeDiffusion()
    mine = context(diffusion=drawer, policy=judge)
    assert mine.diffusion is drawer
    assert mine.policy.function is judge
    with pytest.raises(SettingsError, match="steps and guidance"):
        context(diffusion=drawer, steps=4)


def fakes(folder, **changes):
    return fake_context(folder, BestOfN(n=1), {}, **changes)


async def test_a_store_takes_the_images_of_one_thread(tmp_path):
    graph, one = build_graph(InMemorySaver()), fakes(tmp_path / "one")
    first = await graph.ainvoke({"prompt": PROMPT}, {"configurable": {"thread_id": "1"}}, context=one)
    kept = (tmp_path / "one" / first["images"]["00-00"].path).read_bytes()
    for config in ({"configurable": {"thread_id": "2"}}, {}):
        with pytest.raises(SettingsError, match="a Store of its own"):
            await build_graph(InMemorySaver() if config else None).ainvoke(
                {"prompt": "a dog", "seed": 5}, config, context=one
            )
    assert (tmp_path / "one" / first["images"]["00-00"].path).read_bytes() == kept
    done = await arun(PROMPT, out=tmp_path / "run", policy=BestOfN(n=1), **roles({}))
    with pytest.raises(SettingsError, match="a Store of its own"):
        await graph.ainvoke({"prompt": PROMPT}, {"configurable": {"thread_id": "3"}}, context=fakes(done.folder))


async def test_a_thread_takes_one_run(tmp_path):
    graph, thread = build_graph(InMemorySaver()), {"configurable": {"thread_id": "1"}}
    await graph.ainvoke({"prompt": PROMPT}, thread, context=fakes(tmp_path))
    with pytest.raises(SettingsError, match="'1' has a run already"):
        await graph.ainvoke({"prompt": "a dog"}, thread, context=fakes(tmp_path))


async def test_a_graph_of_other_context_invokes_it_in_a_node(tmp_path):
    class Theirs(TypedDict):
        user: str

    async def node(state, runtime):
        return await build_graph().ainvoke({"prompt": state["prompt"]}, context=fakes(tmp_path))

    def parent(step):
        builder = StateGraph(RunState, input_schema=RunInput, context_schema=Theirs)
        builder.add_node("draw", step)
        return builder.add_edge(START, "draw").compile()

    with pytest.raises(SettingsError, match=r"its context is dict.*invoke it so in a node"):
        await parent(build_graph()).ainvoke({"prompt": PROMPT}, context={"user": "me"})
    assert (await parent(node).ainvoke({"prompt": PROMPT}, context={"user": "me"}))["best"] == "00-00"
