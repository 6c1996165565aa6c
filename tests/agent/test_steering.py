"""A person at the wheel of a run that goes on in another thread: it does what they ask after a step, and says so."""

import asyncio
import json
import threading
import time

import pytest
from typer.testing import CliRunner

from detailscribe.agent import Adaptive, read_run, resume, run
from detailscribe.agent.cli import app
from detailscribe.agent.records.events import Decided, Steered
from detailscribe.agent.runs.steering import Instruction, instruct, live_status
from detailscribe.state import Budget
from detailscribe.tools.errors import Interrupted, SettingsError

from .fakes import PROMPT, FakeDiffusion, roles

CHOSEN = {"policy": Adaptive(images=2), "budget": Budget(rounds=3)}
SCRIPT = {"00-00": "red holding", "00-01": "red", "01-00": "red", "01-01": "cat", "02-00": "red", "03-00": "red"}
PAINTER = FakeDiffusion(writes_latents=True)
WAIT = 20


class Held(FakeDiffusion):
    """Waits before it draws the image named, until it may."""

    def __init__(self, image):
        super().__init__(writes_latents=True)
        self.image, self.reached, self.may = image, threading.Event(), threading.Event()

    async def draw(self, attempt, *args, **kwargs):
        if attempt.id == self.image:
            self.reached.set()
            await asyncio.wait_for(asyncio.to_thread(self.may.wait), WAIT)
        return await super().draw(attempt, *args, **kwargs)


class Going:
    """A run in a thread, held before it draws an image."""

    def __init__(self, folder, held="01-00", **changes):
        self.folder, self.model, self.done, self.error = folder, Held(held), None, None
        given = roles(SCRIPT, diffusion=self.model) | CHOSEN | changes

        def work():
            try:
                self.done = run(PROMPT, out=folder, **given)
            except (Interrupted, SettingsError) as error:
                self.error = error

        self.thread = threading.Thread(target=work)
        self.thread.start()
        assert self.model.reached.wait(WAIT)

    def ask(self, action, **more):
        instruct(read_run(self.folder), Instruction(action=action, **more))

    def until(self, status):
        end = time.monotonic() + WAIT
        while live_status(read_run(self.folder)) != status:
            assert time.monotonic() < end
            time.sleep(0.02)

    def end(self):
        self.model.may.set()
        self.thread.join(WAIT)
        assert not self.thread.is_alive()
        return self.done

    def steered(self):
        return [event for event in read_run(self.folder).events if isinstance(event, Steered)]


def ctl(*arguments):
    done = CliRunner().invoke(app, ["ctl", *map(str, arguments), "--json"])
    return json.loads(done.stdout) if done.exit_code == 0 else done.output


def test_an_image_is_accepted_in_the_middle_of_a_run_and_the_trace_says_who_did_it(tmp_path):
    going = Going(tmp_path / "run")
    going.ask("accept", image="00-00", by="Ann")
    done = going.end()
    assert (done.best.record.id, done.stop) == ("00-00", "person")
    [event] = going.steered()
    assert (event.action, event.image, event.by, event.refused) == ("accept", "00-00", "Ann", None)
    assert {d.rule for d in done.decisions if d.action == "stop"} == {"person"}
    assert "Ann accepted 00-00" in CliRunner().invoke(app, ["show", str(going.folder)]).output


def test_a_run_pauses_after_its_step_and_goes_on_as_if_it_had_not(tmp_path):
    alone = run(PROMPT, out=tmp_path / "alone", **CHOSEN, **roles(SCRIPT, diffusion=PAINTER))
    going = Going(tmp_path / "run")
    assert ctl(going.folder)["state"] == "running"
    assert ctl(going.folder, "pause")["asked"] == "pause"
    going.model.may.set()
    going.until("paused")
    assert ctl(going.folder)["images"][:2] == ["00-00", "00-01"]
    assert ctl(going.folder, "go")["state"] == "paused"
    assert going.end().decisions == alone.decisions
    assert [event.action for event in going.steered()] == ["pause", "go"]


def test_a_person_decides_in_place_of_the_policy_even_before_the_critic_has_looked(tmp_path):
    going = Going(tmp_path / "run", held="00-01")
    while not read_run(going.folder).images:
        time.sleep(0.01)
    going.ask("decide", decisions={"00-00": "reseed"}, words={"00-00": "a tabby"})
    done = going.end()
    [image] = [i.record for i in done.images if i.record.parent == "00-00"]
    assert (image.origin, image.prompt) == ("reseed", "a tabby")
    decided = {e.decision.image: e.decision.rule for e in read_run(going.folder).events if isinstance(e, Decided)}
    assert decided["00-00"] == "person"


def test_a_raised_budget_holds_from_now_on_and_after_a_kill(tmp_path):
    going = Going(tmp_path / "run", budget=Budget(rounds=1))
    assert ctl(going.folder, "budget", "rounds=2")["asked"] == "budget"
    done = going.end()
    assert max(i.record.round for i in done.images) == 2
    assert read_run(going.folder).budget.rounds == 2
    assert read_run(going.folder).manifest.settings.run.budget.rounds == 2


def test_a_cancelled_run_says_so_and_can_be_resumed(tmp_path):
    going = Going(tmp_path / "run")
    assert ctl(going.folder, "cancel")["asked"] == "cancel"
    assert going.end() is None
    assert "cancelled by a person" in str(going.error)
    assert live_status(read_run(going.folder)) == "interrupted"
    again = resume(going.folder, **roles(SCRIPT, diffusion=PAINTER))
    assert again.stop


def test_what_cannot_be_done_is_refused_before_or_in_the_trace(tmp_path):
    going = Going(tmp_path / "run")
    for arguments, words in (
        (("accept", "09-09"), "no image '09-09'"),
        (("accept",), "name the image"),
        (("budget", "elephants=2"), "elephants"),
        (("decide", "00-00=paint"), "decisions"),
    ):
        assert words in ctl(going.folder, *arguments)
    going.ask("pause")
    going.model.may.set()
    going.until("paused")
    going.ask("decide", decisions={"00-00": "refine", "00-01": "refine"})
    going.ask("go")
    going.end()
    refused = [event.refused for event in going.steered()]
    assert (refused[0], refused[-1]) == (None, None)
    assert "waits for no decision" in refused[1]
    assert "no process works on the run" in ctl(going.folder, "pause")


def test_a_run_without_checkpoints_cannot_be_steered(tmp_path):
    going = Going(tmp_path / "run", settings={"run": {"checkpoints": "off"}})
    with pytest.raises(SettingsError, match="keeps no checkpoints"):
        going.ask("pause")
    going.end()
