"""A context from one line, for a graph that others invoke."""

import json
from pathlib import Path
from typing import Annotated

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.errors import InvalidUpdateError
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send
from PIL import Image
from typing_extensions import TypedDict

from detailscribe.agent import Context, arun, build_graph, context, langchain_tools, serializer
from detailscribe.agent.policies import BestOfN, MultiRound, SeedSearch, stop
from detailscribe.state import Budget, ConceptGraph, Ruling, RunInput, RunState
from detailscribe.tools.errors import DetailScribeError, SettingsError

from .fakes import FakeDiffusion, critique, roles
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


async def test_threads_fans_and_loops_on_one_store_each_keep_their_pictures(tmp_path):
    """The fakes paint every seed in a colour of its own, and name every first image 00-00."""
    ours, written = fakes(tmp_path), dict[Path, int]()

    async def draw(prompt, seed, graph, config=None):
        state = await graph.ainvoke({"prompt": prompt, "seed": seed}, config, context=ours)
        [image] = state["images"].values()
        written[ours.store.path(image.path)] = seed

    class Fan(TypedDict):
        visits: int

    async def fan(_):
        return [Send("one", seed) for seed in (1, 2, 3)]

    async def one(seed):
        await draw("a cat", seed, build_graph())

    async def again(state):
        await draw("a cat", 10 + state["visits"], build_graph())
        return {"visits": state["visits"] + 1}

    builder = StateGraph(Fan).add_node("one", one).add_node("again", again)
    builder.add_conditional_edges(START, fan, ["one"]).add_edge("one", "again")
    builder.add_conditional_edges("again", lambda state: END if state["visits"] == 2 else "again", ["again", END])
    await builder.compile().ainvoke({"visits": 0})
    graph = build_graph(InMemorySaver(serde=serializer()))
    for thread, seed in (("1", 20), ("2", 21), ("1", 22)):
        await draw("a cat", seed, graph, {"configurable": {"thread_id": thread}})
    assert sorted(written.values()) == [1, 2, 3, 10, 11, 20, 21, 22]
    for path, seed in written.items():
        with Image.open(path) as picture:
            assert picture.getpixel((0, 0))[0] == seed


async def test_a_graph_that_is_given_the_folder_of_a_run_leaves_its_pictures_alone(tmp_path):
    done = await arun(PROMPT, out=tmp_path / "run", policy=BestOfN(n=1), **roles({}))
    kept = done.best.path.read_bytes()
    await build_graph().ainvoke({"prompt": "a dog", "seed": 5}, context=fakes(done.folder))
    assert done.best.path.read_bytes() == kept


async def test_a_second_prompt_starts_a_new_run_of_its_thread_and_the_first_stays_in_the_history(tmp_path):
    graph, thread = build_graph(InMemorySaver(serde=serializer())), {"configurable": {"thread_id": "1"}}
    first = await graph.ainvoke({"prompt": PROMPT, "seed": 1}, thread, context=context(out=tmp_path / "a", **ONE))
    updates = graph.astream({"prompt": "a dog", "seed": 2}, thread, context=fakes(tmp_path / "b"), stream_mode="values")
    states = [state async for state in updates]
    assert states[1]["best"] == states[1]["stop"] == ""
    assert states[1]["images"] == {}
    assert (states[-1]["best"], states[-1]["concepts"].prompt, states[-1]["seed"]) == ("00-00", "a dog", 2)
    assert [image.seed for image in states[-1]["images"].values()] == [2]
    finished = [past.values async for past in graph.aget_state_history(thread) if not past.next]
    assert [state["prompt"] for state in finished] == ["a dog", PROMPT]
    assert finished[-1]["images"] == first["images"]


@pytest.mark.parametrize("plain", [False, True], ids=["objects", "as a server's client sends it"])
@pytest.mark.parametrize("node", ["generate", "critique", None])
async def test_a_critique_and_a_ruling_can_be_edited_at_any_checkpoint_and_the_run_goes_on(tmp_path, plain, node):
    graph, thread = build_graph(InMemorySaver(serde=serializer())), {"configurable": {"thread_id": "1"}}
    ours = fake_context(tmp_path, MultiRound(), {"00-00": "red", "01-00": "red"}, budget=Budget(rounds=1))
    ended = await graph.ainvoke({"prompt": PROMPT}, thread, context=ours)
    pictures = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    [judged] = [past async for past in graph.aget_state_history(thread) if past.next == ("refine",)]

    async def gone_on(key, id, record):
        update = {key: {id: record.model_dump(mode="json") if plain else record}}
        edited = await graph.aupdate_state(judged.config, update, as_node=node)
        return await graph.ainvoke(None, edited, context=ours)

    found = judged.values["critiques"]["00-00"]
    other = await gone_on("critiques", "00-00", found.model_copy(update={"refined_prompt": "a tabby"}))
    assert (ended["images"]["01-00"].prompt, other["images"]["01-00"].prompt) == ("a corrected prompt", "a tabby")
    happy = await gone_on("critiques", "00-00", critique("00-00"))
    assert (list(happy["images"]), happy["stop"]) == (["00-00"], "all_pass")
    enough = stop(ended["images"]["00-00"], "person", "I like it")
    ruled = await gone_on("rulings", "0", Ruling(round=0, decisions=(enough,)))
    assert (list(ruled["images"]), ruled["stop"]) == (["00-00"], "person")
    assert pictures.items() <= {path: path.read_bytes() for path in tmp_path.rglob("*.png")}.items()


EDITS = [
    {},
    {"prompt": "a dog"},
    {"seed": "x"},
    {"round": "x"},
    {"concepts": "x"},
    {"critiques": "x"},
    {"critiques": {"99-99": critique("99-99")}},
    {"critiques": {"00-00": critique("00-01")}},
    {"critiques": {"00-00": {"image": "00-00", "verdicts": []}}},
    {"decisions": {"00-00": 3}},
    {"images": {}},
    {"rulings": {"0": {"round": 0, "decisions": []}}},
    {"rulings": {"0": {"round": 0, "decisions": [{"image": "00-00", "rule": "x", "reason": "y"}], "chosen": "zz"}}},
    {"best": "nope"},
]


@pytest.mark.parametrize("interactive", [False, True])
async def test_an_edit_at_any_checkpoint_goes_on_or_is_refused_in_words_of_ours(tmp_path, interactive):
    graph = build_graph(InMemorySaver(serde=serializer()), interactive=interactive)
    thread = {"configurable": {"thread_id": "1"}}
    ours = fake_context(tmp_path, SeedSearch(n=2), lambda image: "red", budget=Budget(rounds=1, images=4))
    state = await graph.ainvoke({"prompt": PROMPT}, thread, context=ours)
    while "__interrupt__" in state:
        state = await graph.ainvoke(Command(resume=True), thread, context=ours)
    went_on = 0
    for past in [past async for past in graph.aget_state_history(thread)]:
        for edit in EDITS:
            for node in (None, "decompose", "generate", "critique", *(["person"] if interactive else []), "finish"):
                try:
                    edited = await graph.aupdate_state(past.config, edit, as_node=node)
                    state = await graph.ainvoke(None, edited, context=ours)
                    went_on += 1
                    assert state.get("best", "") in {"", *state.get("images", {})} or node == "finish" or "best" in edit
                except (DetailScribeError, InvalidUpdateError):
                    pass
                except RuntimeError as error:
                    assert str(error).startswith("the state takes no such update"), (past.next, edit, node)  # noqa: PT017
    assert went_on > 100


async def test_edited_concepts_are_drawn_from_and_an_edited_ruling_is_not_asked_for_again(tmp_path):
    graph = build_graph(InMemorySaver(serde=serializer()), interactive=True)
    thread = {"configurable": {"thread_id": "1"}}
    ours = fake_context(tmp_path, MultiRound(), {"00-00": "red"})
    asked = await graph.ainvoke({"prompt": PROMPT}, thread, context=ours)
    enough = stop(asked["images"]["00-00"], "person", "I like it")
    ruled = await graph.aupdate_state(thread, {"rulings": {"0": Ruling(round=0, decisions=(enough,))}}, "person")
    assert (await graph.ainvoke(None, ruled, context=ours))["stop"] == "person"
    [read] = [past async for past in graph.aget_state_history(thread) if past.next == ("generate",)][:1]
    concepts = asked["concepts"].model_copy(update={"drawn_from": "a tabby"})
    edited = await graph.aupdate_state(read.config, {"concepts": concepts.model_dump(mode="json")}, "decompose")
    again = await graph.ainvoke(None, edited, context=ours)
    assert again["images"]["00-00"].prompt == "a tabby"


class Album(TypedDict, total=False):
    prompt: str
    prompts: list[str]
    images: str
    drawn: Annotated[list, lambda kept, more: [*kept, *([more] if isinstance(more, dict) else more)]]


@pytest.mark.parametrize("saver", [None, InMemorySaver(serde=serializer())], ids=["no saver", "a saver"])
async def test_as_a_node_it_puts_its_state_under_one_name_and_leaves_the_parents_images_alone(tmp_path, saver):
    builder = StateGraph(Album, context_schema=Context)
    builder.add_node("draw", build_graph(output="drawn"))
    builder.add_conditional_edges(START, lambda album: [Send("draw", {"prompt": one}) for one in album["prompts"]])
    ours = fake_context(tmp_path, MultiRound(), {"00-00": "red"})
    thread = {"configurable": {"thread_id": "1"}} if saver else None
    given = {"prompts": ["a cat", "a dog"], "images": "mine"}
    album = await builder.compile(checkpointer=saver).ainvoke(given, thread, context=ours)
    assert album["images"] == "mine"
    assert [(one["prompt"], one["best"]) for one in album["drawn"]] == [("a cat", "01-00"), ("a dog", "01-00")]
    assert len({image.path for one in album["drawn"] for image in one["images"].values()}) == 4
    with pytest.raises(SettingsError, match="'images' is a key of the graph's own state"):
        build_graph(output="images")


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


def called(tool, **arguments):
    return tool.invoke({"type": "tool_call", "id": "1", "name": tool.name, "args": arguments})


def test_the_loop_and_the_critic_are_tools(tmp_path):
    ours = fake_context(tmp_path, MultiRound(), {"00-00": "red"}, budget=Budget(rounds=1))
    draw_and_check, critique_image = langchain_tools(ours, show=True)
    message = called(draw_and_check, prompt=PROMPT, seed=3)
    facts = json.loads(message.content[0]["text"])
    assert (facts["image"], facts["stop"], facts["images"]) == ("01-00", "all_pass", 2)
    assert set(facts["checks"].values()) == {"pass"}
    assert (message.content[1]["type"], message.artifact["best"]) == ("image", "01-00")
    first = str(ours.store.path(message.artifact["images"]["00-00"].path))
    seen = called(critique_image, path=first)
    assert json.loads(seen.content[0]["text"])["checks"]["Is the umbrella red?"] == "fail"
    assert seen.artifact.refined_prompt == "a corrected prompt"
    for path in ("nothing.png", "/etc/passwd", "../escape.png", str(tmp_path)):
        assert (called(critique_image, path=path).status, "no image" in called(critique_image, path=path).content) == (
            "error",
            True,
        )
    refused = called(draw_and_check, prompt="a xylophone")
    assert (refused.status, refused.content) == ("error", "it does not know these words: xylophone")
