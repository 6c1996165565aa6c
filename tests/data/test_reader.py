"""One reader for every format and place."""

import bz2
import gzip
import io
import json
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from detailscribe.tools.data import PromptRecord, distinct, read_prompts, read_rows, write_prompts
from detailscribe.tools.data.reader import shown, stem
from detailscribe.tools.errors import SettingsError


@pytest.fixture
def put(tmp_path):
    def write(name: str, data: str | bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return write


def prompts(source: str, **how: object) -> list[str]:
    return [record.prompt for record in read_prompts(source, **how)]


def lines(*values: object) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


OBJECT = {"topic": "cat-sail", "prompt": "A cat sails."}


@pytest.mark.parametrize("once_more", [0, 1, 2])
def test_lines_are_decoded_however_often_they_were_encoded(put, once_more):
    value: object = OBJECT
    for _ in range(once_more):
        value = json.dumps(value)
    [record] = read_prompts(put("a.jsonl", lines(value)))
    assert (record.prompt, record.extra) == ("A cat sails.", {"topic": "cat-sail"})


def test_a_line_may_be_a_text_that_is_the_prompt(put):
    assert prompts(put("a.jsonl", lines("A cat sails.", "42", '"A dog" barks.'))) == [
        "A cat sails.",
        "42",
        '"A dog" barks.',
    ]


def test_coco_captions_are_read_with_their_images(put):
    images = [{"id": 9, "file_name": "9.jpg"}]
    annotations = [{"image_id": 9, "id": n, "caption": f"A cat {n}.\n"} for n in (4, 5)]
    source = put("captions_val2017.json", json.dumps({"info": {}, "images": images, "annotations": annotations}))
    found = list(read_prompts(source))
    assert [(r.id, r.prompt, r.extra) for r in found] == [
        ("4", "A cat 4.", {"image_id": 9}),
        ("5", "A cat 5.", {"image_id": 9}),
    ]


def test_a_table_of_links_and_texts_is_read_by_its_text_column(put):
    source = put("laion.csv", 'URL,TEXT,similarity\nhttps://x/1.jpg,"A cat, sailing",0.31\nhttps://x/2.jpg,A dog,0.3\n')
    first, second = read_prompts(source)
    assert first.prompt == "A cat, sailing"
    assert first.extra == {"URL": "https://x/1.jpg", "similarity": "0.31"}
    assert second.id == "laion-00002"


def test_a_parquet_table_is_read_as_a_csv_is(put, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = pyarrow.table({"URL": ["u", "v"], "TEXT": ["A cat", "A dog"], "p": [0.5, float("nan")], "b": [b"xy", None]})
    parquet.write_table(table, tmp_path / "laion.parquet")
    first, second = read_prompts(str(tmp_path / "laion.parquet"))
    assert (first.prompt, first.extra) == ("A cat", {"URL": "u", "p": 0.5, "b": "<2 bytes>"})
    assert second.extra == {"URL": "v", "p": None, "b": None}


def test_geneval_prompts_keep_their_tag_as_scenario_and_what_they_include(put):
    row = {"tag": "two_object", "include": [{"class": "cat", "count": 1}], "prompt": "a photo of a cat and a dog"}
    [record] = read_prompts(put("evaluation_metadata.jsonl", lines(row)))
    assert record.scenario == "two_object"
    assert record.extra == {"include": [{"class": "cat", "count": 1}]}


def test_a_plain_list_is_a_prompt_a_line(put):
    assert prompts(put("list.txt", "﻿A cat\n\n# a remark\n  A dog  \n")) == ["A cat", "A dog"]


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("bz2", bz2.compress)])
def test_a_compressed_file_is_opened(put, suffix, pack):
    assert prompts(put(f"list.txt.{suffix}", pack(b"A cat\n"))) == ["A cat"]


def test_parti_prompts_tell_scenario_and_subclass(put):
    [record] = read_prompts(put("p.tsv", "Prompt\tCategory\tChallenge\nA cat\tAnimals\tBasic\n"))
    assert (record.scenario, record.subclass, record.extra) == ("Animals", "Basic", {})


def test_columns_can_be_named(put):
    source = put("a.csv", "prompt,words,kind\nno,A cat,x\n")
    [record] = read_prompts(source, column="words", scenario="kind")
    assert (record.prompt, record.scenario) == ("A cat", "x")


def test_only_as_much_is_read_as_is_asked_for(put):
    source = put("a.jsonl", lines({"prompt": "A cat"}, {"prompt": "A dog"}) + "no JSON\n")
    assert prompts(source, limit=2) == ["A cat", "A dog"]


TWO = ["A cat", "A dog"]
OBJECTS = [{"prompt": prompt} for prompt in TWO]
TABLE = "prompt,id\nA cat,1\nA dog,2\n"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("crlf.txt", "A cat\r\nA dog\r\n"),
        ("cr.txt", "A cat\rA dog"),
        ("list.json", json.dumps(OBJECTS)),
        ("pretty.json", json.dumps(OBJECTS, indent=2)),
        ("texts.json", json.dumps(TWO)),
        ("by_id.json", json.dumps({"a": "A cat", "b": "A dog"})),
        ("lines.json", lines(*OBJECTS)),
        ("index.csv", ",prompt\n0,A cat\n1,A dog\n"),
        ("semicolons.csv", TABLE.replace(",", ";")),
        ("tabs.csv", TABLE.replace(",", "\t")),
        ("spreadsheet.csv", f"sep=;\n{TABLE.replace(',', ';')}"),
        ("drawbench.csv", "Prompts,Category\nA cat,x\nA dog,y\n"),
        ("blanks.csv", " Prompt ,id\nA cat,1\n,\n\nA dog,2\n"),
        ("spare_commas.csv", "prompt,id\nA cat,1,,\nA dog,2,,\n"),
        ("captions.jsonl", lines({"file_name": "1.png", "caption": "A cat"}, {"Sentence": "A dog"})),
        ("no_suffix", "\nA cat\nA dog\n"),
        ("objects", f"\n{lines(*OBJECTS)}"),
        ("list", json.dumps(OBJECTS)),
        ("pretty.list", json.dumps(OBJECTS, indent=2)),
        ("table.data", TABLE),
        ("table.tab", TABLE.replace(",", "\t")),
        ("semicolons", TABLE.replace(",", ";")),
    ],
)
def test_files_are_read_as_people_and_programs_write_them(put, name, data):
    rows = list(read_rows(put(name, data)))
    assert [row.prompt for row in rows] == TWO
    assert not any(name in row.others for row in rows for name in ("", "prompt"))


@pytest.mark.parametrize("text", ["{a cat} in brackets", "[a cat] in brackets", "a cat, a prompt of few words"])
def test_brackets_and_commas_alone_make_no_other_format(put, text):
    assert prompts(put("notes", f"{text}\nA dog")) == [text, "A dog"]


def test_a_table_of_unknown_suffix_is_known_by_its_content(put, tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    table = pyarrow.table({"prompt": ["A cat"], "__index_level_0__": [7]})
    parquet.write_table(table, tmp_path / "table")
    [row] = read_rows(tmp_path / "table")
    assert (row.prompt, row.others) == ("A cat", {})


def test_a_row_keeps_what_its_source_says_and_its_place(put):
    source = put("a.jsonl", "\n" + lines({"Prompt": " A cat ", "Tag": "t", "seed": 3, "x": float("nan")}))
    [row] = read_rows(source)
    assert (row.prompt, row.others) == (" A cat ", {"Tag": "t", "seed": 3, "x": None})
    assert (row.where, row.number) == (f"line 2 of {source}", 1)


def test_an_empty_prompt_is_a_row_and_no_record(put):
    source = put("a.jsonl", lines({"prompt": ""}, {"prompt": None}))
    assert [row.prompt for row in read_rows(source)] == ["", ""]
    with pytest.raises(SettingsError, match=r"line 1 of .* has an empty prompt"):
        list(read_prompts(source))


def test_standard_input_is_read_and_stays_open(monkeypatch):
    stdin = io.TextIOWrapper(io.BytesIO(b"A cat\nA dog\n"))
    monkeypatch.setattr("sys.stdin", stdin)
    assert [(row.prompt, row.where) for row in read_rows("-")][1] == ("A dog", "line 2 of standard input")
    assert not stdin.closed


def test_a_long_file_is_not_held_in_memory(tmp_path):
    path = tmp_path / "long.jsonl"
    with path.open("w") as file:
        for number in range(4000):
            file.write(json.dumps({"prompt": f"A cat {number}", "note": "x" * 400}) + "\n")
    tracemalloc.start()
    count = sum(1 for _ in read_rows(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 4000
    assert peak < path.stat().st_size / 4


@pytest.mark.parametrize(
    ("source", "name", "known_by"),
    [
        ("https://me:secret@host/data/p.jsonl.gz?token=secret", "https://host/data/p.jsonl.gz", "p"),
        ("simplecache::https://me:secret@host/p.csv?s=secret", "simplecache::https://host/p.csv", "p"),
        ("zip://a.txt::https://host/x.zip?token=secret", "zip://a.txt::https://host/x.zip", "a"),
        ("folder/a#1.txt", "folder/a#1.txt", "a#1"),
        ("dataset:owner/name#test", "dataset:owner/name#test", "name"),
        ("-", "standard input", "prompt"),
    ],
)
def test_a_source_is_named_without_secrets(source, name, known_by):
    assert shown(source) == name
    assert stem(source) == known_by


@pytest.mark.parametrize("scheme", ["memory", "nope", "s3"])
def test_an_error_of_a_library_names_no_secret(scheme):
    with pytest.raises(SettingsError, match=rf"cannot read {scheme}://host/p\.jsonl: ") as error:
        list(read_rows(f"{scheme}://me:secret@host/p.jsonl?token=secret"))
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", lines(OBJECT) + "{oops\n", "line 2 of {} is no JSON"),
        ("a.jsonl", lines(OBJECT, [1]), "line 2 of {} is neither an object nor a text"),
        ("a.jsonl", "[" * 100_000, "line 1 of {} is no JSON"),
        ("a.jsonl", lines({"x": 1}), "line 1 of {} has no column prompt, "),
        ("a.jsonl", lines({"prompt": ["A cat"]}), "line 1 of {} holds no text in prompt"),
        ("a.jsonl", '{"prompt": "A \\ud83d"}', "line 1 of {} holds no text in prompt"),
        ("a.jsonl", lines({"prompt": "  "}), "line 1 of {} has an empty prompt"),
        ("a.jsonl", b"\xff\xfe\n", "line 1 of {} is no UTF-8"),
        ("a.json", '{"a": [], "b": []}', "the whole of {} is no list of prompts"),
        ("a.json", '{"prompt": "A cat",\n oops}', "line 2 of {} is no JSON"),
        ("a.json", "[" * 100_000, "{} is no JSON"),
        ("a.csv", 'prompt,id\nA cat,1\n"A dog,2\n', "row 2 of {} cannot be read"),
        ("a.csv", "prompt,id\nA cat, with a hat,1\n", "row 1 of {} has more cells"),
        ("a.csv", ",prompt\n0,A cat,with a hat\n", "row 1 of {} has more cells"),
        ("a.csv", "A cat\nA dog\n", "row 1 of {} has no column prompt, "),
        ("a.csv", "prompt\nA café\n".encode("latin-1"), "{} is no UTF-8"),
        ("a.parquet", "no parquet", "{}"),
        ("a.xlsx", b"PK\x03\x04", "{} is no text: name one of these formats: jsonl"),
        ("a.txt.gz", "no gzip", "cannot read {}"),
        ("a.txt", "", "there is no prompt in {}"),
        ("a.csv", "prompt,id\n", "there is no prompt in {}"),
        ("a", "\n \n", "there is no prompt in {}"),
    ],
)
def test_what_is_wrong_is_reported_with_its_place(put, name, data, words):
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    source = put(name, data)
    with pytest.raises(SettingsError) as error:
        list(read_prompts(source))
    assert words.replace("{}", source) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("source", ["/no/such/file.txt", "nowhere://x/file.txt", "https://127.0.0.1:9/a.txt"])
def test_a_place_that_cannot_be_read_is_told(source):
    with pytest.raises(SettingsError, match=r"cannot read .*\.txt"):
        list(read_prompts(source))


def test_the_same_id_is_given_once(put):
    rows = [{"id": id, "prompt": f"A cat {n}"} for n, id in enumerate(["a", "a", "a-2", "a"])]
    ids = [record.id for record in read_prompts(put("a.jsonl", lines(*rows)))]
    assert ids[:2] == ["a", "a-2"]
    assert len(set(ids)) == 4


def test_doubles_can_be_left_out():
    records = [PromptRecord(id=str(n), prompt=prompt) for n, prompt in enumerate(["A cat", "a  CAT", "A dog"])]
    assert [record.id for record in distinct(records)] == ["0", "2"]


def test_what_is_written_is_read_again(put, tmp_path):
    source = put("a.jsonl", lines(OBJECT | {"id": "é", "scenario": "s", "subclass": "t", "nested": {"a": [1, None]}}))
    records = list(read_prompts(source))
    assert write_prompts(records, tmp_path / "new" / "b.jsonl") == 1
    assert list(read_prompts(str(tmp_path / "new" / "b.jsonl"))) == records


def test_a_batch_reads_it_and_keeps_all_that_is_said_of_it(put, tmp_path):
    """A source's own ``seed`` or ``policy`` must not steer a run."""
    from detailscribe.agent.batch.jobs import read_requests

    row = {"id": "a", "prompt": "A cat", "tag": "two", "include": [1], "seed": 3, "policy": "none"}
    write_prompts(read_prompts(put("a.jsonl", lines(row))), tmp_path / "b.jsonl")
    [(request, _)] = read_requests(tmp_path / "b.jsonl")
    assert (request.id, request.prompt, request.seed, request.policy) == ("a", "A cat", None, None)
    assert request.model_extra == {"scenario": "two", "include": [1], "source_seed": 3, "source_policy": "none"}


def test_a_file_behind_a_url_is_read(tmp_path):
    pytest.importorskip("aiohttp", reason="fsspec reads http with aiohttp: pip install 'detailscribe[data]'")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"A cat\n")

        do_HEAD = do_GET

        def log_message(self, format: str, *args: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        assert prompts(f"http://127.0.0.1:{http.server_port}/list.txt?token=1") == ["A cat"]
        http.shutdown()


def test_a_hub_data_set_is_streamed(monkeypatch):
    """With a module of that name in place of the package."""
    import sys
    from types import ModuleType

    asked: list[object] = []
    module = ModuleType("datasets")
    module.load_dataset = lambda name, **how: asked.append((name, how)) or iter([{"Prompt": "A cat"}] * 3)
    monkeypatch.setitem(sys.modules, "datasets", module)
    assert prompts("dataset:nateraw/parti-prompts#validation", limit=2) == ["A cat", "A cat"]
    assert asked == [("nateraw/parti-prompts", {"split": "validation", "streaming": True})]
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(SettingsError, match="pip install datasets"):
        prompts("dataset:x/y")


def test_empty_captions_of_tables_from_the_web_are_left_out_where_that_is_asked_for(put):
    source = put("laion.csv", "URL,TEXT\na,A cat\nb,\nc,  \nd,A dog\ne,A fox\n")
    assert prompts(source, skip_empty=True, limit=2) == ["A cat", "A dog"]
    assert [record.id for record in read_prompts(source, skip_empty=True)] == [
        "laion-00001",
        "laion-00004",
        "laion-00005",
    ]
    nulls = put("laion.jsonl", lines({"TEXT": None}, {"TEXT": "A cat"}))
    assert prompts(nulls, skip_empty=True) == ["A cat"]
    with pytest.raises(SettingsError, match=r"row 2 of .* has an empty prompt"):
        prompts(source)
    with pytest.raises(SettingsError, match=r"row 1 of .* has no column title"):
        prompts(source, skip_empty=True, column="title")


@pytest.mark.parametrize("name", ["a.parquet", "a.csv", "a.txt", "a.JSON"])
def test_prompts_are_not_written_under_the_name_of_another_format(tmp_path, name):
    with pytest.raises(SettingsError, match=r"written as JSON lines: name .*a\.jsonl"):
        write_prompts([], tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_file_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot write"):
        write_prompts([], Path(tmp_path / "file" / "a.jsonl"))
