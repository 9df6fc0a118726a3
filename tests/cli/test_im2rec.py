"""`glueball im2rec`: lists, records that the datasets read, broken images, several threads, nothing half-written."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from glueball import image, nd, recordio
from glueball.cli.console import progress
from glueball.gluon.data.vision import ImageRecordDataset

pytest.importorskip("PIL")


def listed(path: Path) -> list[list[str]]:
    """Return the lines of a list."""
    return [line.split("\t") for line in path.read_text().splitlines()]


def test_list_and_pack(photos: Path, tmp_path: Path, call: Any) -> None:
    """Classes by directory; what is read back is the image and its label; broken ones are named and left out."""
    seen = call("im2rec", "--list", "--recursive", tmp_path / "set", photos)
    assert seen.out.splitlines()[:2] == ["cats 0", "dogs 1"] and "10 images" in seen.out
    rows = listed(tmp_path / "set.lst")
    assert sorted(int(row[0]) for row in rows) == list(range(10)) and [int(row[0]) for row in rows] != list(range(10))
    assert {(float(row[1]), row[2].split("/")[0]) for row in rows} == {(0.0, "cats"), (1.0, "dogs")}
    seen = call("im2rec", tmp_path / "set", photos, "--num-thread", "3", "--quality", "100")
    assert seen.status == 0 and "8 images" in seen.out and "2 images" in seen.err
    assert "skipped dogs/cut.jpg: " in seen.err and "skipped dogs/empty.jpg: " in seen.err and "_io." not in seen.err
    data = ImageRecordDataset(str(tmp_path / "set.rec"))
    whole = [row for row in rows if row[2] not in ("dogs/cut.jpg", "dogs/empty.jpg")]
    assert len(data) == len(whole) == 8
    for (pixels, label), row in zip([data[i] for i in range(8)], whole):
        assert label == float(row[1])
        before = image.imread(str(photos / row[2])).asnumpy().astype(float)
        assert np.abs(before - pixels.asnumpy()).mean() < 3
    assert sorted(os.listdir(tmp_path)) == ["photos", "set.idx", "set.lst", "set.rec"]


def test_threads_change_nothing(photos: Path, tmp_path: Path, call: Any) -> None:
    """The bytes are the same with one thread and with four."""
    call("im2rec", "--list", "--recursive", tmp_path / "set", photos)
    written = []
    for threads in (1, 4):
        call("im2rec", tmp_path / "set", photos, "--num-thread", threads, "--resize", "8", "--center-crop", "--force")
        written.append((tmp_path / "set.rec").read_bytes())
    assert written[0] == written[1]
    pixels, _ = ImageRecordDataset(str(tmp_path / "set.rec"))[0]
    assert pixels.shape == (8, 8, 3)


def test_ratios_and_chunks(photos: Path, tmp_path: Path, call: Any) -> None:
    """Every image is in one list; what is left is for validation; --no-shuffle keeps the order."""
    ratios = ["--train-ratio", "0.5", "--test-ratio", "0.2"]
    facts = call("im2rec", "--list", "--recursive", *ratios, tmp_path / "a", photos, "--json").facts
    assert {Path(one["file"]).name: one["images"] for one in facts["written"]} == {
        "a_test.lst": 2, "a_train.lst": 5, "a_val.lst": 3
    }
    assert facts["classes"] == {"cats": 0, "dogs": 1}
    numbers = [row[0] for name in ("test", "train", "val") for row in listed(tmp_path / f"a_{name}.lst")]
    assert sorted(map(int, numbers)) == list(range(10))
    call("im2rec", "--list", "--recursive", "--chunks", "3", "--no-shuffle", tmp_path / "b", photos)
    numbers = [int(row[0]) for chunk in range(3) for row in listed(tmp_path / f"b_{chunk}.lst")]
    assert numbers == list(range(10))
    facts = call("im2rec", tmp_path / "b", photos, "--json", "--pass-through").facts
    assert [one["images"] for one in facts["written"]] == [4, 4, 1]
    assert facts["skipped"] == [{"path": "dogs/empty.jpg", "reason": "the file is empty"}]


def test_pass_through_colour_and_labels(photos: Path, tmp_path: Path, call: Any) -> None:
    """Files as they are; grey images; all labels of a line."""
    (tmp_path / "set.lst").write_text("7\t1.5\t2.5\tcats/0.jpg\n9\t3\t4\tcats/1.jpg\n")
    call("im2rec", tmp_path / "set", photos, "--pass-through", "--pack-label")
    records = recordio.MXIndexedRecordIO(str(tmp_path / "set.idx"), str(tmp_path / "set.rec"), "r")
    header, content = recordio.unpack(records.read_idx(7))
    assert header.label.tolist() == [1.5, 2.5] and header.id == 7
    assert content == (photos / "cats" / "0.jpg").read_bytes()
    records.close()
    call("im2rec", tmp_path / "set", photos, "--color", "0", "--encoding", ".png", "--quality", "3", "--force")
    records = recordio.MXIndexedRecordIO(str(tmp_path / "set.idx"), str(tmp_path / "set.rec"), "r")
    header, content = recordio.unpack(records.read_idx(9))
    assert header.label == 3.0 and content[:4] == b"\x89PNG"
    np.testing.assert_array_equal(
        recordio.unpack_img(records.read_idx(9))[1], image.imread(str(photos / "cats/1.jpg"), 0).asnumpy()[:, :, 0]
    )
    assert isinstance(image.imdecode(content), nd.NDArray)


@pytest.mark.parametrize("here", [True, False], ids=["with tqdm", "without"])
def test_progress(here: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar on a terminal, lines without tqdm, and in a pipe only what there is to say."""
    if here:
        pytest.importorskip("tqdm")
    else:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    for terminal in (True, False):
        monkeypatch.setattr(sys.stderr, "isatty", lambda terminal=terminal: terminal, raising=False)
        with progress(2000, "set.rec") as done:
            for i in range(2000):
                done("skipped a.jpg: empty" if i == 7 else "")
        printed = capsys.readouterr().err
        assert "skipped a.jpg: empty\n" in printed
        assert ("set.rec: 1,000 of 2,000 images" in printed) == (terminal and not here)
        assert ("2000/2000" in printed) <= here and (printed.count("\r") > 0) == (terminal and here)


def test_mistakes(photos: Path, tmp_path: Path, call: Any) -> None:
    """Options out of range, no list, no images, lists that cannot be read, outputs that are there."""
    prefix = tmp_path / "set"
    (tmp_path / "bad_x.lst").write_text("0\ta.jpg\n")
    (tmp_path / "twice.lst").write_text("0\t1\ta.jpg\n0\t1\tb.jpg\n")
    (tmp_path / "gone.lst").write_text("0\t1\tno.jpg\n")
    (tmp_path / "empty.lst").touch()
    (tmp_path / "there.lst").touch()
    (tmp_path / "there.rec").write_bytes(b"old")
    for words, status, text in [
        ([prefix, photos], 1, "--list --recursive"),
        ([prefix, tmp_path / "no"], 1, "not a directory"),
        (["--list", prefix, photos], 1, "--recursive looks"),
        (["--list", prefix, photos, "--train-ratio", "1.5"], 2, "--train-ratio"),
        (["--list", prefix, photos, "--train-ratio", "0.8", "--test-ratio", "0.4"], 2, "more than 1"),
        ([prefix, photos, "--quality", "0"], 2, "--quality"),
        ([prefix, photos, "--num-thread", "0"], 2, "--num-thread"),
        ([prefix, photos, "--encoding", ".gif"], 2, ".gif"),
        ([tmp_path / "bad", photos], 1, "Line 1"),
        ([tmp_path / "twice", photos], 1, "same number"),
        ([tmp_path / "gone", photos], 1, "Not one image"),
        ([tmp_path / "empty", photos], 1, "empty"),
        ([tmp_path / "there", photos], 1, "--force"),
        (["--list", "--recursive", tmp_path / "twice", photos], 1, "--force"),
        (["--list", "--recursive", tmp_path / "no" / "set", photos], 1, "mkdir"),
    ]:
        seen = call("im2rec", *words)
        assert seen.status == status and text in seen.err, (words, seen)
    assert (tmp_path / "there.rec").read_bytes() == b"old"
    left = [name for name in os.listdir(tmp_path) if name.endswith((".partial", ".idx")) or name.startswith(".")]
    assert left == []
