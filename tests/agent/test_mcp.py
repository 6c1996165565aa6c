"""``detailscribe mcp``, asked by the protocol's own client: in memory, over stdio, and over HTTP."""

import asyncio
import base64
import json
import logging
import os
import re
import shutil
import socket
import sys
import threading
import time
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import httpx
import pytest
import uvicorn
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import McpError
from mcp.shared.memory import create_connected_server_and_client_session as connected
from mcp.types import CancelledNotification, CancelledNotificationParams, ClientNotification
from PIL import Image
from typer.testing import CliRunner

from detailscribe.agent import arun, read_run
from detailscribe.agent.cli import app
from detailscribe.agent.mcp import Server
from detailscribe.tools.diffusion import EndpointDiffusion
from detailscribe.tools.diffusion.job import read_record
from detailscribe.tools.errors import SettingsError
from detailscribe.tools.language.settings import ChatSettings

from ..diffusion.test_endpoint import endpoint as endpoint
from ..diffusion.test_endpoint import painted, sending
from .fakes import PROMPT, FakeDiffusion, roles

WAIT = timedelta(seconds=60)
RED = "Is the umbrella red?"


def first_is_not_red(image):
    return "red" if image.parent is None else ""


def made(folder, *, total=None, budget=None, script=first_is_not_red, **changes):
    given = {"run": {"policy": "multi_round", "budget": budget or {"images": 2}}}
    return Server(folder, given, total, **roles(script, **changes))


def facts(answer):
    assert not answer.isError, answer.content[0].text
    return json.loads(answer.content[0].text)


def words(answer):
    assert answer.isError
    [text] = answer.content
    assert "\n" not in text.text
    assert "Traceback" not in text.text
    return text.text


async def test_a_client_draws_checks_refines_and_reads_what_happened(tmp_path):
    told, server = [], made(tmp_path / "runs")

    async def heard(progress, total, message):
        told.append((progress, message))

    async with connected(server, WAIT) as client:
        tools = (await client.list_tools()).tools
        assert [tool.name for tool in tools] == ["draw_and_check", "critique_image", "refine_image", "show_run"]
        drawn = await client.call_tool("draw_and_check", {"prompt": PROMPT, "seed": 3}, progress_callback=heard)
        [_, picture] = drawn.content
        assert (picture.type, picture.mimeType) == ("image", "image/jpeg")
        assert Image.open(BytesIO(base64.b64decode(picture.data))).size == (8, 8)
        found = facts(drawn)
        assert (found["image"], found["images"], found["stop"]) == ("01-00", 2, "all_pass")
        assert found["checks"][RED] == "pass"
        assert [number for number, _ in told] == list(range(1, len(told) + 1))
        assert {"denoising 01-00, step 28 of 28", "round 1  looking at the images"} <= {text for _, text in told}

        shown = await client.call_tool("show_run", {"run": found["run"], "image": "00-00"})
        assert (facts(shown)["best"], shown.content[1].type) == ("01-00", "image")
        assert facts(await client.call_tool("show_run"))["run"] == read_run(tmp_path / "runs" / found["run"]).run
        first = facts(shown)["images"][0]["path"]

        looked = facts(await client.call_tool("critique_image", {"path": first}))
        assert (looked["checks"][RED], looked["correction"]) == ("fail", "a corrected prompt")
        told.clear()
        refined = facts(await client.call_tool("refine_image", {"path": first}, progress_callback=heard))
        assert (refined["fixed"], refined["broken"], refined["drawn_from"]) == ([RED], [], "a corrected prompt")
        assert Path(refined["path"]).parent == Path(first).parent
        assert read_record(Path(refined["path"])).seed != read_record(Path(first)).seed
        assert [text for _, text in told] == ["looking at the image", "refining", "looking at the new image"]
        again = {"path": refined["path"], "correction": "a blue one", "start_step": 99, "seed": 5}
        assert facts(await client.call_tool("refine_image", again))["drawn_from"] == "a blue one"
    assert server.roles["decomposer"].asked == [PROMPT] * 4
    assert list(read_run(tmp_path / "runs" / found["run"]).images) == ["00-00", "01-00"]


async def test_what_a_server_drew_is_edited_there(tmp_path, endpoint):
    server = {"model": "edit-1", "base_url": f"{endpoint.url}/v1", "api_key": "k", "transport_retries": 0}
    draws = EndpointDiffusion(ChatSettings(**server))
    endpoint.answer = sending(painted(8, 8))
    async with connected(made(tmp_path / "runs", diffusion=draws, budget={"images": 1}), WAIT) as client:
        drawn = facts(await client.call_tool("draw_and_check", {"prompt": PROMPT}))
        refined = facts(await client.call_tool("refine_image", {"path": drawn["path"], "start_step": 4}))
    assert refined["fixed"] == [RED]
    assert "Change this picture" in endpoint.asked[-1]["prompt"]
    assert RED in endpoint.asked[-1]["prompt"].partition("To keep")[0]


WRONG = (
    ("draw_and_check", {"prompt": "a xylophone"}, "it does not know these words: xylophone"),
    ("draw_and_check", {"prompt": "   "}, "the prompt is empty"),
    ("draw_and_check", {}, "prompt: Field required"),
    ("draw_and_check", {"prompt": PROMPT, "seed": -1}, "seed: Input should be"),
    ("draw_and_check", {"prompt": PROMPT, "budget": {"images": 0}}, "budget.images: Input should be"),
    ("draw_and_check", {"prompt": PROMPT, "budget": {"pictures": 1}}, "budget.pictures: Extra inputs"),
    ("critique_image", {"path": "/etc/passwd"}, "there is no image '/etc/passwd'"),
    ("critique_image", {"path": "../others/run/images/01-00.png"}, "there is no image '../others"),
    ("critique_image", {"path": "link/images/01-00.png"}, "there is no image 'link"),
    ("refine_image", {"path": "copy.png"}, "there is no image 'copy.png'"),
    ("refine_image", {"path": "a\0b"}, "there is no image"),
    ("refine_image", {"path": "."}, "there is no image '.'"),
    ("show_run", {}, "there is no run yet"),
    ("show_run", {"run": "../others/run"}, "leads outside the folder"),
    ("show_run", {"run": "link"}, "leads outside the folder"),
    ("show_run", {"run": "nothing"}, "there is no run 'nothing'"),
    ("rm", {}, "Unknown tool: rm"),
)


async def test_whatever_is_wrong_is_one_line_and_nothing_outside_is_read(tmp_path):
    folder, other = tmp_path / "runs", tmp_path / "others" / "run"
    path = (await arun(PROMPT, policy="multi_round", out=other, **roles(first_is_not_red))).best.path
    folder.mkdir()
    (folder / "link").symlink_to(other)
    shutil.copyfile(path, folder / "copy.png")
    async with connected(made(folder), WAIT) as client:
        for tool, arguments, says in WRONG:
            assert says in words(await client.call_tool(tool, arguments))
    assert sorted(path.name for path in folder.iterdir()) == ["copy.png", "link"]
    async with connected(made(path.parent), WAIT) as client:  # whose latents lie outside
        assert "there is no image" in words(await client.call_tool("refine_image", {"path": path.name}))


async def test_a_fault_of_ours_is_one_line_for_the_client_and_a_traceback_in_the_log(tmp_path, caplog):
    class Broken(FakeDiffusion):
        async def draw(self, *_, **__):
            raise RuntimeError("the model broke\n at https://me:secret@host/x?key=secret \x1b[2J")

    async with connected(made(tmp_path, diffusion=Broken()), WAIT) as client:
        answer = words(await client.call_tool("draw_and_check", {"prompt": PROMPT}))
    assert answer.startswith("this is a fault of detailscribe: RuntimeError: the model broke at https://host/x")
    assert not {"secret", "\x1b"} & set(re.findall(r"secret|\x1b", answer))
    assert [record.exc_info[0] for record in caplog.records if record.levelno == logging.ERROR] == [RuntimeError]


async def test_a_client_can_ask_for_less_than_the_owner_allows_and_not_for_more(tmp_path):
    never = made(tmp_path, budget={"images": 2}, total={"images": 5}, script=lambda image: "red")
    async with connected(never, WAIT) as client:

        async def images(**budget):
            asked = await client.call_tool("draw_and_check", {"prompt": PROMPT, "budget": budget or None})
            return facts(asked)["images"]

        assert await asyncio.gather(images(images=1), images(images=99, rounds=99)) == [1, 2]
        path = facts(await client.call_tool("show_run"))["images"][0]["path"]
        facts(await client.call_tool("refine_image", {"path": path}))
        assert await images() == 1  # what is left of five
        for tool, arguments in (("draw_and_check", {"prompt": PROMPT}), ("refine_image", {"path": path})):
            assert words(await client.call_tool(tool, arguments)).startswith("the images that this server may spend")
        facts(await client.call_tool("show_run"))


async def test_calls_that_come_together_spend_no_more_than_the_owner_allows(tmp_path):
    class Counted(FakeDiffusion):
        async def draw(self, attempt, store, **more):
            drawn.append(attempt.id)
            await asyncio.sleep(0.01)
            return await super().draw(attempt, store, **more)

    drawn, diffusion = [], Counted()
    server = made(tmp_path, total={"images": 3}, script=lambda image: "red", diffusion=diffusion)
    async with connected(server, WAIT) as client:
        calls = [client.call_tool("draw_and_check", {"prompt": PROMPT, "seed": seed}) for seed in range(3)]
        first, second, third = await asyncio.gather(*calls)
    assert (facts(first)["images"], facts(second)["images"]) == (2, 1)
    assert words(third).startswith("the images that this server may spend")
    assert (len(drawn), server.spent.images) == (3, 3)


async def test_what_a_client_cancels_ends_counts_and_does_not_hold_up_the_next_call(tmp_path):
    class Slow(FakeDiffusion):
        async def draw(self, attempt, store, **more):
            if attempt.id == "01-00":
                started.set()
                await asyncio.sleep(600)
            return await super().draw(attempt, store, **more)

    started, server = asyncio.Event(), made(tmp_path, diffusion=Slow())
    async with connected(server, WAIT) as client:
        asked = asyncio.create_task(client.call_tool("draw_and_check", {"prompt": PROMPT}))
        await started.wait()
        cancelled = CancelledNotification(params=CancelledNotificationParams(requestId=client._request_id - 1))
        await client.send_notification(ClientNotification(cancelled))
        with pytest.raises(McpError, match="cancelled"):
            await asked
        stopped = facts(await client.call_tool("show_run"))
        facts(await client.call_tool("draw_and_check", {"prompt": PROMPT, "budget": {"images": 1}}))
    assert (read_run(stopped["folder"]).interrupted, server.spent.images) == (True, 2)


def test_a_wrong_bound_is_refused_at_the_start(tmp_path):
    with pytest.raises(SettingsError, match=r"--total images: Input should be"):
        made(tmp_path, total={"images": "many"})


@pytest.mark.parametrize(
    ("command", "package", "module"), [("mcp", "mcp.server.fastmcp", "mcp"), ("view", "uvicorn", "viewing")]
)
def test_the_commands_say_what_to_install(tmp_path, monkeypatch, command, package, module):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"detailscribe.agent.{module}", raising=False)
    said = CliRunner().invoke(app, [command, str(tmp_path)])
    assert (said.exit_code, f'pip install "detailscribe[{command}]"' in said.stderr) == (2, True)


async def test_over_stdio_whatever_else_is_printed_goes_to_stderr(tmp_path):
    program = [str(Path(__file__).with_name("mcp_noisy.py")), "mcp", "runs", "-b", "images=1"]
    server = StdioServerParameters(command=sys.executable, args=program, env=dict(os.environ), cwd=tmp_path)
    strange = []

    async def noticed(message):
        if isinstance(message, Exception):
            strange.append(message)

    with (tmp_path / "stderr").open("w") as errors:
        async with (
            stdio_client(server, errors) as (read, write),
            ClientSession(read, write, WAIT, message_handler=noticed) as client,
        ):
            await client.initialize()
            drawn = await client.call_tool("draw_and_check", {"prompt": PROMPT})
            assert (facts(drawn)["images"], drawn.content[1].type, strange) == (1, "image", [])
            assert "no run 'x'" in words(await client.call_tool("show_run", {"run": "x"}))
    printed = (tmp_path / "stderr").read_text()
    assert "Loading pipeline components" in printed
    assert "a library in C" in printed
    assert "Traceback" not in printed


async def test_over_http_to_programs_of_this_machine_alone(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = made(tmp_path)
    assert own.settings.host == "127.0.0.1"
    server = uvicorn.Server(uvicorn.Config(own.streamable_http_app(), port=port, log_level="error", ws="none"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.02)  # noqa: ASYNC251
        url, told = f"http://127.0.0.1:{port}/mcp", []

        async def heard(progress, total, message):
            told.append(message)

        async with (
            streamable_http_client(url) as (read, write, _),
            ClientSession(read, write, WAIT) as client,
        ):
            await client.initialize()
            drawn = await client.call_tool("draw_and_check", {"prompt": PROMPT}, progress_callback=heard)
            assert (facts(drawn)["image"], drawn.content[1].type, bool(told)) == ("01-00", "image", True)
        asked = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        json_alone = {"Accept": "application/json, text/event-stream"}
        async with httpx.AsyncClient() as stranger:
            for header, status in (({"Host": "evil.example"}, 421), ({"Origin": "http://evil.example"}, 403)):
                assert (await stranger.post(url, json=asked, headers=json_alone | header)).status_code == status
    finally:
        server.should_exit = True
        thread.join(20)
