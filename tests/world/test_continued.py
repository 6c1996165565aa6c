"""Training on with the shipped models: painted pictures are those of the world, and so are the scenes of a layout."""

import itertools
import random

import numpy as np
import pytest
import torch

from detailscribe.tools.world.grammar import parse
from detailscribe.tools.world.language import short_caption
from detailscribe.tools.world.layout import members
from detailscribe.tools.world.relations import holds
from detailscribe.tools.world.scene import render
from detailscribe.tools.world.vocabulary import PLACES
from training.common import random_scene
from training.continued import Painter, _arranged, _fragments, _skins, _truths
from training.planted import Planted, truths


@pytest.fixture(scope="module")
def painter():
    return Painter("cpu")


@pytest.mark.parametrize("seed", range(6))
def test_a_scene_is_painted_as_it_is_rendered(painter, seed):
    scene = random_scene(random.Random(seed))
    slots, place = torch.from_numpy(_arranged(scene)[None]), torch.tensor([list(PLACES).index(scene.place)])
    painted = painter(slots, place)[0].add(1).mul(127.5).permute(1, 2, 0).numpy()
    assert np.abs(painted - np.asarray(render(scene), np.float32)).max() < 1.5


@pytest.mark.parametrize("seed", range(6))
def test_a_detector_is_told_what_is_true_of_a_painted_scene(seed):
    rng = random.Random(seed)
    scene = random_scene(rng)
    slots = _arranged(scene)
    strange = _fragments(scene, rng, slots[6:])
    found = _truths(torch.from_numpy(slots[None]), torch.tensor([list(PLACES).index(scene.place)]))
    true = truths([Planted(render(scene), scene, frozenset(strange))])
    assert torch.equal(found.nouns, true.nouns)
    assert torch.equal(found.strange, true.strange)
    if len({(t.x, t.y) for t in scene.things}) == len(scene.things):  # of two at one corner, either is right
        assert torch.equal(found.colours, true.colours)


def test_other_nouns_and_colours_fit_a_layout_as_well_and_none_is_held_out():
    for spec, scene in itertools.islice(_skins(random.Random(3), 0.0), 60):
        assert not spec.held_out
        assert parse(short_caption(spec)) == spec
        assert all(holds(link.relation, members(link, scene.things)) for link in spec.links)
        assert all(
            w.noun == t.noun and w.colour in (None, t.colour) for w, t in zip(spec.things, scene.things, strict=True)
        )
