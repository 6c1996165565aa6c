"""Benchmarks' own files, made up here in the form in which each is published, become prompts with questions."""

import json

import pytest

from detailscribe.state import OwnQuestion
from detailscribe.tools.data import questions_in, read_benchmark, read_prompts, write_prompts
from detailscribe.tools.data.benchmarks import OwnChecklist
from detailscribe.tools.errors import PromptError, SettingsError

GENEVAL2 = {
    "prompt": "three red foxes in front of two cows",
    "atom_count": 6,
    "vqa_list": [
        ["How many foxes are in the image?", "three"],
        ["Are there any foxes in the image?", "Yes"],
        ["Are the foxes red?", "Yes"],
        ["Are the foxes in front of the cows?", "Yes"],
        ["Are there any cows in the image?", "Yes"],
    ],
    "skills": ["count", "object", "attribute", "position", "object"],
}
DIMENSIONS = {
    "Primary Categories": "Art",
    "Testpoints": ["Attribute - Quantity", "Style"],
    "Testpoint Description": ["three foxes", "ink painting"],
}
QUOTED = json.dumps(DIMENSIONS).replace('"', '""')
CSV = f'index,prompt_en,sub_dims_en\n7,"three foxes, in ink","{QUOTED}"\n'
COREBENCH = {
    "C-MR-001": {
        "Main Class": "Composition",
        "Sub Class": "Multi-Relation",
        "Prompt": "a fox on a cart",
        "Checklist": [{"question": "Is the fox on the cart?", "tags": ["relation"]}, {"question": "Is there a cart?"}],
    }
}
CONCEPTMIX = [
    {
        "index": 1,
        "sentence": "Two huge foxes stand by a cart.",
        "categories": ["object", "object", "number", "size"],
        "skills": ["fox", "cart", "2", "huge"],
        "question": ["Is there a fox?  ", "Is there a cart?", "Are there exactly 2 foxes?", "Are the foxes huge?"],
    }
]
TIFA = [
    {"id": "coco_1", "caption": "A fox pulls a cart.", "question": q, "choices": c, "answer": a, "element_type": t}
    | {"element": e}
    for q, c, a, t, e in [
        ("is this a fox?", ["yes", "no"], "yes", "animal/human", "fox"),
        ("what is the fox pulling?", ["cart", "sled"], "cart", "activity", "pulls"),
        ("how many foxes are there?", ["1", "2"], "1", "counting", "one"),
    ]
] + [
    {"id": "draw_2", "caption": "A cow.", "question": "is this a cow?", "choices": ["yes", "no"], "answer": "yes"}
    | {"element_type": "animal", "element": "cow"}
]

CASES = {
    "geneval2": ("g.jsonl", json.dumps(GENEVAL2), 1, "6 atoms", ["count", "presence", "attribute", "relation"], (1, 4)),
    "unigenbench": ("u.csv", CSV, 1, "Art", ["count", "scene"], ()),
    "corebench": ("C-MR.json", json.dumps(COREBENCH), 1, "Multi-Relation", ["relation", "scene"], ()),
    "conceptmix": ("k=3.json", json.dumps(CONCEPTMIX), 1, "k=3", ["presence", "presence", "count", "attribute"], (0,)),
    "tifa": ("t.json", json.dumps(TIFA), 2, "coco", ["presence", "relation", "count"], (0,)),
}


@pytest.mark.parametrize("name", CASES)
def test_each_file_as_published_becomes_prompts_with_questions(tmp_path, name):
    file, text, count, scenario, aspects, parents = CASES[name]
    (tmp_path / file).write_text(text)
    records = list(read_benchmark(name, str(tmp_path / file)))
    assert (len(records), records[0].scenario, records[0].extra["benchmark"]) == (count, scenario, name)
    questions = questions_in(records[0].extra)
    assert [question.aspect for question in questions][: len(aspects)] == aspects
    relation = questions[min(3, len(questions) - 1)]
    assert relation.depends_on == parents
    write_prompts(records, tmp_path / "p.jsonl")
    [again, *_] = read_prompts(tmp_path / "p.jsonl")
    assert (again.prompt, questions_in(again.extra)) == (records[0].prompt, questions)


def test_questions_are_put_as_the_benchmark_puts_them(tmp_path):
    (tmp_path / "u.csv").write_text(CSV)
    [record] = read_benchmark("unigenbench", str(tmp_path / "u.csv"))
    assert (record.id, record.prompt) == ("7", "three foxes, in ink")
    assert questions_in(record.extra)[1].question == "Does the picture show this (Style): ink painting?"
    (tmp_path / "g.jsonl").write_text(json.dumps(GENEVAL2))
    [record] = read_benchmark("geneval2", str(tmp_path / "g.jsonl"))
    first = questions_in(record.extra)[0]
    assert (first.answer, first.as_check) == ("three", 'How many foxes are in the image? Is the answer "three"?')


@pytest.mark.parametrize(
    ("name", "line", "words"),
    [
        ("geneval2", {"prompt": "a fox"}, "line 1 of .* is no record of geneval2"),
        ("geneval2", GENEVAL2 | {"skills": []}, "is no record of geneval2"),
        ("unigenbench", {"prompt": "a fox", "sub_dims": "{"}, "is no record of unigenbench"),
        ("tifa", GENEVAL2, "line 1 of .* is no record of tifa"),
        ("geneval3", {"prompt": "a fox"}, "no benchmark 'geneval3': did you mean 'geneval2'"),
    ],
)
def test_another_file_is_refused_with_its_place(tmp_path, name, line, words):
    (tmp_path / "x.jsonl").write_text(json.dumps(line))
    with pytest.raises(SettingsError, match=words):
        list(read_benchmark(name, str(tmp_path / "x.jsonl")))


async def test_own_questions_stand_in_for_the_decomposers_checks(tmp_path):
    (tmp_path / "g.jsonl").write_text(json.dumps(GENEVAL2))
    write_prompts(read_benchmark("geneval2", str(tmp_path / "g.jsonl")), tmp_path / "p.jsonl")
    decomposer = OwnChecklist(str(tmp_path / "p.jsonl"))
    concepts = await decomposer.decompose(GENEVAL2["prompt"])
    assert [check.question for check in concepts.checks][1:] == [text for text, _ in GENEVAL2["vqa_list"]][1:]
    assert concepts.check("own:4").depends_on == ("own:2", "own:5")
    with pytest.raises(PromptError, match="no questions for 'a cow'"):
        await decomposer.decompose("a cow")
    (tmp_path / "bare.jsonl").write_text('{"prompt": "a cow"}')
    with pytest.raises(SettingsError, match=r"no prompt of .* has questions"):
        OwnChecklist(str(tmp_path / "bare.jsonl"))


def test_questions_of_another_shape_are_none_of_ours():
    assert questions_in({"questions": ["Is there a fox?"]}) == ()
    assert questions_in({"questions": [{"question": "Is there a fox?"}]}) == (OwnQuestion(question="Is there a fox?"),)
