"""Files of prompts: what is read of them, and how what cannot be read is told before anything is spent."""

import bz2
import gzip
import io
import json
import sys
import tempfile

import fsspec
import pytest

from detailscribe.agent import Single
from detailscribe.agent.batch.jobs import Spool, read_requests
from detailscribe.agent.settings.settings import Settings
from detailscribe.state import Budget
from detailscribe.tools.errors import SettingsError

SETTINGS = Settings(run={"seed": 7, "budget": {"images": 9}})


def jobs(requests):
    with tempfile.TemporaryFile() as file:
        spool = Spool(file, requests, Single(), SETTINGS)
        assert list(spool) == list(spool), "it can be gone through again"
        return list(spool)


def read(tmp_path, name, text):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return jobs(read_requests(path))


def test_lines_of_json_say_what_differs(tmp_path):
    lines = [
        {"prompt": "a cat", "id": "first", "seed": 3, "policy": "best_of_n", "policy_args": {"n": 2}},
        {"prompt": "a dog", "budget": {"images": 2}, "topic": "pets", "nested": {"a": [1, None]}},
        {"prompt": "a pig", "id": 12, "seed": None},
    ]
    first, second, third = read(tmp_path, "p.jsonl", "\n\n".join(json.dumps(line) for line in lines))
    assert (first.id, first.prompt, first.seed, repr(first.policy)) == ("first", "a cat", 3, "BestOfN(n=2, seeds=())")
    assert first.budget == Budget(images=9)
    assert (second.seed, second.policy, second.budget) == (7, Single(), Budget(images=2))
    assert second.tags == {"topic": "pets", "nested": {"a": [1, None]}}
    assert (third.id, third.seed) == ("12", 7)


def test_a_table_has_a_column_of_prompts(tmp_path):
    text = '\ufeffid,prompt,seed,topic\r\na,"a cat, said ""x""\r\nand more",3,pets\r\n,a dog,,\r\n'
    first, second = read(tmp_path, "p.csv", text)
    assert (first.id, first.prompt, first.seed, first.tags) == (
        "a",
        'a cat, said "x"\r\nand more',
        3,
        {"topic": "pets"},
    )
    assert (second.prompt, second.seed, second.tags) == ("a dog", 7, {})
    [tabbed] = read(tmp_path, "p.TSV", "topic\tprompt\npets\ta cat, a dog\n")
    assert (tabbed.prompt, tabbed.tags) == ("a cat, a dog", {"topic": "pets"})


@pytest.mark.parametrize("name", ["p.txt", "p", "p.list"])
def test_text_holds_a_prompt_a_line(tmp_path, name):
    found = read(tmp_path, name, "a cat\r\n\n  a dog, 'x' \u2028 y  \n\ta {pig}")
    assert [job.prompt for job in found] == ["a cat", "a dog, 'x' \u2028 y", "a {pig}"]


def test_a_file_of_unknown_suffix_is_known_by_its_first_line(tmp_path):
    assert [job.prompt for job in read(tmp_path, "prompts", '\n{"prompt": "a cat"}')] == ["a cat"]


@pytest.mark.parametrize(("suffix", "packed"), [(".gz", gzip.compress), (".bz2", bz2.compress)])
def test_a_packed_file_is_unpacked(tmp_path, suffix, packed):
    found = read(tmp_path, f"p.jsonl{suffix}", packed(b'{"prompt": "a cat"}\n'))
    assert [job.prompt for job in found] == ["a cat"]


def test_a_url_is_read_as_a_file_is():
    with fsspec.open("memory://bucket/p.csv", "wb") as file:
        file.write(b"prompt\na cat\n")
    assert [job.prompt for job in jobs(read_requests("memory://bucket/p.csv"))] == ["a cat"]


def test_standard_input_is_read_and_left_open(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"a cat\na dog\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [job.prompt for job in jobs(read_requests("-"))] == ["a cat", "a dog"]
    assert not stdin.closed


def test_a_caller_gives_texts_and_tables():
    first, second = jobs(read_requests(["a cat", {"prompt": "a dog", "seed": 1}]))
    assert (first.prompt, first.seed, second.prompt, second.seed) == ("a cat", 7, "a dog", 1)


def test_an_id_is_made_of_the_prompt_and_does_not_depend_on_its_place():
    first, again = jobs(read_requests(["A cat, holding the umbrella!", "A cat, holding the umbrella!"]))
    assert first.id.startswith("cat-holding-umbrella-")
    assert again.id == f"{first.id}-2"
    _, moved = jobs(read_requests(["a dog", "A cat, holding the umbrella!"]))
    assert moved == first
    [other_seed] = jobs(read_requests([{"prompt": "A cat, holding the umbrella!", "seed": 8}]))
    assert other_seed.id != first.id
    [other_letters] = jobs(read_requests(["猫が傘を持つ"]))
    assert other_letters.id.startswith("prompt-")


def test_many_of_the_same_prompt_have_ids_of_their_own():
    found = jobs(read_requests(["a cat"] * 3000))
    assert len({job.id for job in found}) == len({job.folder for job in found}) == 3000


def test_prompts_that_no_run_could_read_wait_for_their_turn_to_fail(tmp_path):
    assert [job.prompt for job in read(tmp_path, "p.jsonl", '{"prompt": ""}\n{"prompt": "a\\u0000b"}')] == [
        "",
        "a\x00b",
    ]


def test_numbers_that_no_json_has_are_tags_of_nothing(tmp_path):
    [job] = read(tmp_path, "p.jsonl", '{"prompt": "a cat", "weight": NaN}')
    assert job.tags == {}


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("p.jsonl", '{"prompt": "a cat"}\n{"prompt": ', r"line 2 of .*p\.jsonl is no JSON"),
        ("p.jsonl", '["a cat"]', "line 1 of .* neither"),
        ("p.jsonl", "[" * 100_000, "line 1 of .* is no JSON"),
        ("p.jsonl", '{"prompt": 5}', "line 1 of .* no text in prompt"),
        ("p.jsonl", '{"prompt": "\\udc80"}', "line 1 of "),
        ("p.jsonl", '{"prompt": "a cat", "seed": -1}', "line 1 of .*: seed: Input should be greater"),
        ("p.jsonl", '{"prompt": "a cat", "seed": 1.5}', "line 1 of .*: seed"),
        (
            "p.jsonl",
            '{"prompt": "a cat", "policy": "sngle"}',
            "line 1 of .*: no policy 'sngle'.* known are adaptive",
        ),
        ("p.jsonl", '{"prompt": "a cat", "policy": "os:system"}', "line 1 of .*: no policy 'os:system'"),
        ("p.jsonl", '{"prompt": "a", "policy": "single", "policy_args": {"n": 1}}', "line 1 of .*: policy Single"),
        ("p.jsonl", '{"prompt": "a", "policy_args": {"n": 1}}', "line 1 of .*: policy_args belong to a policy"),
        ("p.jsonl", '{"prompt": "a", "budget": {"images": 0}}', r"line 1 of .*: budget\.images: Input should be"),
        ("p.jsonl", '{"prompt": "a", "budget": {"imges": 1}}', r"line 1 of .*: budget\.imges: Extra inputs"),
        ("p.jsonl", '{"prompt": "a", "budget": 3}', "line 1 of .*: budget: Input should be a valid dict"),
        (
            "p.jsonl",
            '{"prompt": "a", "id": "x"}\n{"prompt": "b", "id": "x"}',
            "line 2 of .* has the id 'x', which line 1",
        ),
        ("p.jsonl", "", "there is no prompt in"),
        ("p.txt", " \n\n", "there is no prompt in"),
        ("p.txt", b"a cat\n\xff\xfe", "line 2 of .* UTF-8"),
        ("p.csv", "topic,age\na cat,3\n", "topic"),
        ("p.csv", "prompt\na cat,a dog\n", r"row 1 of .* has more cells"),
        ("p.csv", 'prompt\n"a cat\n', "row 1 of .* unexpected end"),
        ("p.csv", "prompt,seed\na cat,soon\n", "row 1 of .*: seed: Input should be a valid integer"),
        ("p.csv", "prompt\n", "there is no prompt"),
        ("p.txt.gz", "a cat", r"cannot read .*p\.txt\.gz"),
    ],
)
def test_what_is_no_prompt_is_told_with_its_place(tmp_path, name, text, complaint):
    with pytest.raises(SettingsError, match=complaint):
        read(tmp_path, name, text)


@pytest.mark.parametrize(
    ("source", "complaint"),
    [
        ("absent.jsonl", r"cannot read absent\.jsonl: No such file"),
        (".", r"cannot read \.: Is a directory"),
        ("nope://x/p.txt", "cannot read nope://x/p.txt: Protocol not known"),
        ("s3://u:secret@bucket/p.txt?token=secret", "cannot read s3://bucket/p.txt: Install s3fs"),
        ("memory://nowhere/p.txt", "cannot read memory://nowhere/p.txt"),
        ("\x00", "cannot read"),
    ],
)
def test_a_source_that_cannot_be_read_is_named_without_its_secrets(source, complaint):
    with pytest.raises(SettingsError, match=complaint) as raised:
        jobs(read_requests(source))
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.json", '["a cat", "a dog"]'),
        ("p.json", '[{"prompt": "a cat"}, {"Prompt": "a dog"}]'),
        ("prompts", '{"caption": "a cat"}\n{"caption": "a dog"}'),
        ("p.csv", "Prompt\na cat\na dog\n"),
        ("p.csv", "Unnamed: 0,caption\n0,a cat\n1,a dog\n"),
    ],
)
def test_prompts_are_found_under_the_names_that_people_give_them(tmp_path, name, text):
    found = read(tmp_path, name, text)
    assert [(job.prompt, job.tags) for job in found] == [("a cat", {}), ("a dog", {})]
