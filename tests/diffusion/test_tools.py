"""The tools an agent binds."""

import json
from base64 import b64decode
from io import BytesIO
from pathlib import Path

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.utils.function_calling import convert_to_openai_tool
from PIL import Image

from detailscribe.state import ImageRecord
from detailscribe.tools.diffusion import diffusion_tools


@pytest.fixture
def tools(model, store):
    return {tool.name: tool for tool in diffusion_tools(model, store)}


def call(name: str, **args: object) -> dict[str, object]:
    return {"type": "tool_call", "id": "1", "name": name, "args": args}


def is_png(path: str) -> bool:
    return Path(path).read_bytes().startswith(b"\x89PNG")


async def test_an_agent_draws_and_corrects(tools):
    first = json.loads(await tools["generate_image"].ainvoke({"prompt": "a cat", "seed": 3}))
    assert is_png(first["path"])
    for operator in ("inject", "resume"):
        args = {"image": first["image"], "prompt": "a red cat", "operator": operator, "start_step": 2}
        second = json.loads(await tools["redenoise_image"].ainvoke(args))
        assert (second["parent"], second["start_step"]) == (first["image"], 2)
        assert (second["seed"] == 3) == (operator == "resume")
        assert is_png(second["path"])


async def test_the_record_is_the_artifact(tools, store):
    message = await tools["generate_image"].ainvoke(call("generate_image", prompt="a cat"))
    assert isinstance(message, ToolMessage)
    assert isinstance(message.artifact, ImageRecord)
    assert sorted(message.artifact.trajectory) == [1, 2, 4]


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        ({"image": "nothing", "prompt": "a cat"}, "there is no image 'nothing'"),
        ({"image": "../../escape", "prompt": "a cat"}, "there is no image"),
        ({"prompt": "a cat", "operator": "resume", "start_step": 3}, "step 3 of image"),
        ({"prompt": "a cat", "start_step": 9}, "steps go from 0 to 6"),
    ],
)
async def test_the_agent_is_told_what_to_mend(tools, args, answer):
    first = json.loads(await tools["generate_image"].ainvoke({"prompt": "a cat"}))
    message = await tools["redenoise_image"].ainvoke(call("redenoise_image", **({"image": first["image"]} | args)))
    assert message.status == "error"
    assert answer in message.content


def test_every_argument_is_described(tools):
    for tool in tools.values():
        described = convert_to_openai_tool(tool)["function"]
        assert described["description"]
        assert all(field.get("description") for field in described["parameters"]["properties"].values())


def test_who_cannot_await_calls_them_and_models_that_see_are_shown_the_image(model, store):
    generate, redenoise = diffusion_tools(model, store, show=True)
    message = generate.invoke(call("generate_image", prompt="a cat"))
    text, image = message.content
    assert is_png(json.loads(text["text"])["path"])
    assert image["mime_type"] == "image/jpeg"
    with Image.open(BytesIO(b64decode(image["base64"]))) as picture:
        assert picture.size == (message.artifact.width, message.artifact.height)
    assert redenoise.invoke(call("redenoise_image", image="nothing", prompt="a cat")).status == "error"
