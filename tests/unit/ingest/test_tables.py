"""CSV and JSONL: columns, odd bytes, broken lines, where images are looked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from al_service.ingest.rows import InvalidSourceError, Limits, RejectedRow, SourceRow
from al_service.ingest.sources import open_source
from al_service.ingest.tables import Table


def test_all_columns(write, png, opened, taken):
    table = (
        'file_name,id,label,split,"weird, name",empty\nimg/1.png,a-1,cat,train,"x ""y""\nz",\n./img/2.png,,dog,VAL,v,\n'
    )
    root = write({"t.csv": table, "img/1.png": png(1), "img/2.png": png(2), "img/unlisted.png": png(3)})
    source = opened(root / "t.csv")
    assert (source.kind, source.classes) == ("table", ("cat", "dog"))
    assert taken(source) == [("a-1", "cat", "train"), ("img/2.png", "dog", "test")]
    rows = list(source)
    assert [row.read() for row in rows] == [png(1), png(2)]
    assert [row.metadata for row in rows] == [{"weird, name": 'x "y"\nz'}, {"weird, name": "v", "split": "VAL"}]


@pytest.mark.parametrize(
    "data",
    [
        "\ufeffimage,label\n1.png,été\n".encode(),
        "image,label\r\n1.png,été\r\n".encode("utf-16"),
        "Image;Label\n1.png;été\n".encode(),
        "IMAGE\tLABEL\n1.png\tété\n".encode(),
        b'"image","label"\n"1.png","\xc3\xa9t\xc3\xa9"',
        "\n".join(["path,class,x", "1.png,été,", "", " , "]).encode(),
    ],
)
def test_as_spreadsheets_write_them(data, write, png, opened, taken):
    root = write({"t.csv": data, "1.png": png(1)})
    assert taken(opened(root / "t.csv")) == [("1.png", "été", None)]


def test_jsonl_with_broken_lines(write, png, opened, taken, refused):
    lines = [
        {"image": "1.png", "label": 3, "score": 0.5, "tags": ["a"], "none": None},
        '{"image": "2.png"',
        "[1, 2]",
        "",
        {"label": "cat"},
        {"image": "1.png", "label": {"x": 1}},
        {"image": "3.png", "label": None, "id": 17, "more": True},
        "[" * 100_000,
        {"image": "\ud800.png"},
    ]
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    root = write({"t.jsonl": text, "1.png": png(1), "3.png": png(3)})
    source = opened(root / "t.jsonl")
    assert taken(source) == [("1.png", "3", None), ("17", None, None)]
    assert [row.metadata for row in source if isinstance(row, SourceRow)] == [
        {"score": "0.5", "tags": '["a"]'},
        {"more": "true"},
    ]
    reasons = refused(source)
    assert set(reasons) >= {f"t.jsonl line {number}" for number in (2, 3, 5, 6, 8)}
    assert len(reasons) == 6
    assert "not readable as JSON" in reasons["t.jsonl line 2"]
    assert "expected an object" in reasons["t.jsonl line 3"]
    assert "the column image is empty" in reasons["t.jsonl line 5"]
    assert "'label' holds a dict" in reasons["t.jsonl line 6"]


def test_rows_that_cannot_be_located(write, png, opened, taken, refused, tmp_path):
    (tmp_path / "outside.png").write_bytes(png(9))
    table = [
        "image,label,split",
        "1.png,cat,",
        "missing.png,cat,",
        "../outside.png,cat,",
        f"{tmp_path}/outside.png,cat,",
        f"file://{tmp_path}/outside.png,cat,",
        "/etc/no/such/file.png,cat,",
        "ftp://x/y.png,cat,",
        "data:image/png;base64,cat",
        "folder,cat,",
        ",cat,",
        "2.png,cat,tset",
        "1.png,dog,",
        "1.png,a,b,c",
        "big.png,cat,",
    ]
    root = write(
        {"t.csv": "\n".join(table), "1.png": png(1), "2.png": png(2), "big.png": bytes(2000), "folder/x.png": png(3)}
    )
    limits = Limits(file_max_bytes=1000)
    source = opened(root / "t.csv", limits=limits)
    assert taken(source) == [("1.png", "cat", None)]
    assert source.count == 14
    reasons = refused(source)
    assert reasons["missing.png"] == "t.csv line 3: there is no file missing.png"
    for outside in ("../outside.png", f"{tmp_path}/outside.png", "/etc/no/such/file.png"):
        assert "outside the folder" in reasons[outside]
    assert "addresses of the kind ftp:" in reasons["ftp://x/y.png"]
    assert "expected a file" in reasons["folder"]
    assert "'tset' is unknown" in reasons["2.png"]
    assert "came before" in reasons["1.png"]
    assert "4 cells under 3 column names" in reasons["t.csv line 14"]
    assert "2,000 bytes" in reasons["big.png"]
    allowed = opened(root / "t.csv", limits=Limits(file_max_bytes=1000, allow_absolute_paths=True))
    assert {row[0] for row in taken(allowed)} == {"1.png", "../outside.png", f"{tmp_path}/outside.png"}


def test_absolute_paths_into_the_tables_own_folder(write, png, opened, taken):
    root = write({"1.png": png(1), "a b.png": png(2), "c\\d.png": png(3), "e/f.png": png(4)})
    root = write(
        {"t.csv": f"image\n{root}/1.png\nfile://{root}/a%20b.png\ne\\f.png\nfoo:bar.png\n", "foo:bar.png": png(5)}
    )
    assert [row[0] for row in taken(opened(root / "t.csv"))] == ["1.png", "a b.png", "e/f.png", "foo:bar.png"]


def test_file_names_that_are_not_utf_8(write, png, opened, taken):
    root = write({"t.csv": b"image,note\ncaf\xe9.png,\xe9\n", "caf\udce9.png": png(1)})
    (row,) = opened(root / "t.csv")
    assert (row.read(), row.metadata) == (png(1), {"note": "\\udce9"})


@pytest.mark.parametrize("labels", ["auto", "column", "none"])
def test_where_labels_come_from(labels, write, png, opened, taken):
    root = write({"t.csv": "image,label\ncat/1.png,dog\n", "cat/1.png": png(1)})
    source = opened(root / "t.csv", labels=labels)
    label = None if labels == "none" else "dog"
    assert taken(source) == [("cat/1.png", label, None)]
    assert source.classes == ((label,) if label else ())


@pytest.mark.parametrize(
    ("name", "text", "labels", "message"),
    [
        (
            "t.csv",
            "picture,label\n1.png,cat\n",
            "auto",
            r"no image column: found picture, label; expected one of image",
        ),
        ("t.csv", "", "auto", "no image column: found nothing"),
        ("t.jsonl", '{"x": 1}\n', "auto", "no image column: found x"),
        ("t.jsonl", "broken\n", "auto", "no image column: found nothing"),
        ("t.csv", "image\n", "auto", "holds no images"),
        ("t.csv", "image\n1.png\n", "column", "expects a column label, class or class_name; t.csv has none"),
        ("t.csv", "image\n1.png\n", "folder", "is a table: choose"),
        ("t.csv", 'image,"' + "x" * 200_000, "auto", "no readable header"),
    ],
)
def test_wrong_as_a_whole(name, text, labels, message, write, png, scratch):
    root = write({name: text, "1.png": png(1)})
    with pytest.raises(InvalidSourceError, match=message):
        open_source(str(root / name), labels=labels, scratch=scratch)


def test_limits_of_tables(write, png, opened, taken, refused, scratch):
    root = write(
        {"t.csv": "image\n" + "\n".join(f"{at}.png" for at in range(5)), **{f"{at}.png": png(at) for at in range(5)}}
    )
    source = opened(root / "t.csv", limits=Limits(rows_max=3))
    assert [row[0] for row in taken(source)] == ["0.png", "1.png", "2.png"]
    assert list(refused(source)) == ["t.csv line 5"]
    with pytest.raises(InvalidSourceError, match="more than 10 bytes"):
        open_source(str(root / "t.csv"), scratch=scratch, limits=Limits(table_max_bytes=10))


def test_an_unclosed_quote_costs_its_own_lines_only(write, png, opened, taken, refused):
    text = 'image,note\n1.png,fine\n2.png,"never closed ' + "x" * 200_000 + "\n3.png,lost\n"
    root = write({"t.csv": text, "1.png": png(1), "2.png": png(2), "3.png": png(3)})
    source = opened(root / "t.csv")
    assert taken(source)[0] == ("1.png", None, None)
    assert any("not readable as CSV" in reason for reason in refused(source).values())


class TestTablesBesideImages:
    def test_the_rest_of_the_images_follows_without_labels(self, write, png, opened, taken):
        root = write(
            {"labels.csv": "image,label,id\nb.png,cat,n1\n", "a.png": png(1), "b.png": png(2), "c/d.png": png(3)}
        )
        assert taken(opened(root)) == [("n1", "cat", None), ("a.png", None, None), ("c/d.png", None, None)]

    def test_hugging_face_metadata_in_split_folders(self, write, png, opened, taken):
        root = write(
            {
                "train/metadata.csv": "file_name,text\n1.png,hello\n",
                "train/1.png": png(1),
                "validation/metadata.jsonl": '{"file_name": "1.png", "text": "bye"}\n',
                "validation/1.png": png(2),
            }
        )
        source = opened(root)
        assert taken(source) == [("train/1.png", None, "train"), ("validation/1.png", None, "test")]
        assert [row.metadata for row in source] == [{"text": "hello"}, {"text": "bye", "split": "validation"}]

    def test_metadata_without_labels_leaves_them_to_the_folders(self, write, png, opened, taken):
        files = {"metadata.csv": "file_name,text\ncat/1.png,hello\n", "cat/1.png": png(1), "dog/2.png": png(2)}
        assert taken(opened(write(files))) == [("cat/1.png", "cat", None), ("dog/2.png", "dog", None)]

    def test_told_folder_does_not_look_at_tables(self, write, png, opened, taken):
        files = {"labels.csv": "image,label\ncat/1.png,x\n", "cat/1.png": png(1), "dog/2.png": png(2)}
        root = write(files)
        assert taken(opened(root, labels="folder")) == [("cat/1.png", "cat", None), ("dog/2.png", "dog", None)]
        assert taken(opened(root)) == [("cat/1.png", "x", None), ("dog/2.png", None, None)]

    def test_one_table_per_split_by_its_name(self, write, png, opened, taken):
        files = {"train.csv": "image,label\n1.png,a\n", "test.csv": "image\n2.png\n", "1.png": png(1), "2.png": png(2)}
        assert taken(opened(write(files))) == [("2.png", None, "test"), ("1.png", "a", "train")]

    def test_tables_about_something_else_do_not_matter(self, write, png, opened, taken, scratch):
        root = write({"stats.csv": "epoch,loss\n1,2\n", "cat/1.png": png(1), "dog/2.png": png(2)})
        assert [row[1] for row in taken(opened(root))] == ["cat", "dog"]
        with pytest.raises(InvalidSourceError, match=r"stats.csv has no image column"):
            open_source(str(root), labels="column", scratch=scratch)

    def test_told_column_without_any_table(self, write, png, scratch):
        with pytest.raises(InvalidSourceError, match="table at the top, and there is none"):
            open_source(str(write({"1.png": png(1)})), labels="column", scratch=scratch)

    def test_only_a_table_without_image_column(self, write, scratch):
        with pytest.raises(InvalidSourceError, match="no image column"):
            open_source(str(write({"t.csv": "a,b\n1,2\n"})), scratch=scratch)


_cells = st.text(st.characters(codec="utf-8"), max_size=8)


@given(st.binary(max_size=300), st.sampled_from(["t.csv", "t.jsonl", "t.tsv"]))
def test_any_bytes_are_a_table_or_refused(data, name):
    try:
        table = Table(b"image,label\n" * (name == "t.csv") + data, name)
    except InvalidSourceError:
        return
    for record in table.records():
        assert record.line > 0


@given(st.lists(st.fixed_dictionaries({"image": st.text(min_size=1), "label": _cells, "x": _cells}), max_size=5))
def test_what_json_lines_say_comes_back(lines):
    text = "\n".join(json.dumps(line) for line in [{"image": "first"}, *lines])
    records = list(Table(text.encode(), "t.jsonl").records())[1:]
    assert len(records) == len(lines)
    for record, line in zip(records, lines, strict=True):
        if line["image"].strip():
            assert record.image == line["image"].strip()
            assert record.metadata.get("x", "") == line["x"].replace("\0", "")


def test_a_line_nested_too_deep_is_one_bad_line(tmp_path):
    deep = "[" * 5000 + "]" * 5000
    (tmp_path / "t.jsonl").write_text(f'{{"image": "a.png", "m": {deep}}}\n{{"image": "b.png"}}\n')
    with open_source(str(tmp_path / "t.jsonl"), scratch=tmp_path) as source:
        reasons = [row.reason for row in source if isinstance(row, RejectedRow)]
    assert "not readable as JSON" in reasons[0]


@pytest.mark.parametrize("location", ["file://[", "file:///tmp/%FF"])
def test_an_odd_address_is_refused_in_words(tmp_path, location):
    with pytest.raises(InvalidSourceError):
        open_source(location, scratch=tmp_path)
