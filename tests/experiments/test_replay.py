"""Recorded runs, judged again by another policy."""

import pytest

from detailscribe.agent import run
from detailscribe.agent.experiments.replay import ReplayScore, replay
from detailscribe.agent.policies import Adaptive, BestOfN, MultiRound, Single
from detailscribe.tools.errors import SettingsError

from ..agent.fakes import PROMPT, FakeDiffusion, roles


class Model(FakeDiffusion):
    evaluations_per_drawing = 56


def recorded(tmp_path, policy, script):
    run(PROMPT, seed=3, policy=policy, out=tmp_path / "runs" / "one", **roles(script, diffusion=Model()))
    return tmp_path / "runs"


LINE = {"00-00": "red holding", "01-00": "red", "02-00": "red holding"}


@pytest.mark.parametrize("policy", [Adaptive(), Single(operator="inject"), MultiRound(rounds=3), BestOfN(n=3)])
def test_the_same_policy_does_the_same(tmp_path, policy):
    [one] = replay(recorded(tmp_path, policy, LINE | {"00-01": "red cat", "03-00": "red"}), policy)
    assert one.differs is None
    assert one.score == one.recorded
    assert one.missing == ""


def test_a_replay_leaves_the_run_folder_as_it_is(tmp_path):
    def files():
        return {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    runs = recorded(tmp_path, Adaptive(), LINE)
    before = files()
    replay(runs, BestOfN(n=2))
    assert files() == before


def test_a_policy_that_stops_earlier_is_scored_from_the_record(tmp_path):
    [one] = replay(recorded(tmp_path, MultiRound(rounds=3, patience=None), LINE), MultiRound(rounds=1))
    assert (one.differs, one.best, one.score) == (1, "01-00", ReplayScore(0.8, None, 56 + 48, 2))
    assert "rounds_done" in one.reason
    assert one.recorded == ReplayScore(1.0, None, 56 + 3 * 48, 4)


def test_a_policy_that_asks_for_what_was_never_made_has_no_score(tmp_path):
    [one] = replay(recorded(tmp_path, MultiRound(rounds=1), LINE), MultiRound(rounds=3, start_step=9))
    assert (one.differs, one.best, one.score) == (0, None, None)
    assert "refine (next_round)" in one.reason
    assert one.missing == "a refinement of 00-00 by inject from step 9"


def test_other_first_drawings_are_told(tmp_path):
    runs = recorded(tmp_path, BestOfN(n=3), {"00-01": "red", "00-00": "red cat"})
    [fewer], [more] = replay(runs, BestOfN(n=2)), replay(runs, BestOfN(n=5))
    assert (fewer.differs, fewer.best, fewer.score) == (-1, "00-01", ReplayScore(0.8, None, 2 * 56, 2))
    assert (more.differs, more.score) == (-1, None)
    assert more.missing.startswith("a first drawing, seed ")
    assert more.missing.endswith(" and 1 more")


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="holds no run"):
        replay(tmp_path, Single())
