"""Writing: the old file or the whole new one, whatever happens; leftovers of killed processes go, those of living
ones stay; links, permissions and devices are as open() leaves them.
"""

from __future__ import annotations

import errno
import gzip
import os
import resource
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from glueball import nd, recordio
from glueball.base import files
from glueball.base.errors import ArgumentError, FileFormatError, MXNetError
from glueball.base.files import AtomicFile, draft_folder, text_lines, unpack_gzip, write_atomically

from ..ordinary_user import ordinary_user

ROOT = Path(__file__).resolve().parents[2]


def names(folder):
    return sorted(os.listdir(folder))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    def parts():
        yield b"new"
        raise KeyboardInterrupt

    path = tmp_path / "a"
    path.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, parts())
    assert path.read_bytes() == b"old" and names(tmp_path) == ["a"]


def test_leftovers_of_the_dead_are_deleted_and_drafts_of_the_living_stay(tmp_path):
    path = tmp_path / "a"
    living = AtomicFile(path)
    living.file.write(b"living")
    dead = [tmp_path / ".a.01234567.partial", tmp_path / ".a.89abcdef.partial"]
    dead[0].write_bytes(b"half")
    dead[1].mkdir()
    (dead[1] / "part").write_bytes(b"half")
    others = [".a.b.01234567.partial", ".a.partial", ".a.0123456g.partial", "a.01234567.partial", ".b.01234567.partial"]
    for name in others:
        (tmp_path / name).write_bytes(b"another's")
    write_atomically(path, b"new")
    assert names(tmp_path) == sorted(["a", *others, os.path.basename(living._temporary)])
    living.commit()
    assert path.read_bytes() == b"living" and names(tmp_path) == sorted(["a", *others])


def test_a_name_of_any_length(tmp_path):
    for name in ("x" * 255, "é" * 127, "a b.[1]*.params"):
        path = tmp_path / name
        (tmp_path / f"{files._prefix(str(path))}01234567.partial").write_bytes(b"dead")
        write_atomically(path, b"x")
        assert path.read_bytes() == b"x"
    assert len(names(tmp_path)) == 3


def test_a_link_stays_and_permissions_stay(tmp_path):
    target, link = tmp_path / "real" / "a", tmp_path / "link"
    target.parent.mkdir()
    target.write_bytes(b"old")
    target.chmod(0o640)
    link.symlink_to("real/a")
    write_atomically(link, b"new")
    assert link.is_symlink() and target.read_bytes() == b"new" and names(target.parent) == ["a"]
    assert stat.S_IMODE(target.stat().st_mode) == 0o640
    old = os.umask(0o027)
    try:
        write_atomically(tmp_path / "fresh", b"x")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640
    link.unlink()
    link.symlink_to("nowhere")
    write_atomically(link, b"made")
    assert (tmp_path / "nowhere").read_bytes() == b"made"


def test_what_is_no_file(tmp_path):
    before = os.stat(os.devnull).st_mode
    nd.save(os.devnull, [nd.ones((2,))])
    assert os.stat(os.devnull).st_mode == before and stat.S_ISCHR(before)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    found = []
    reader = threading.Thread(target=lambda: found.append(pipe.read_bytes()))
    reader.start()
    write_atomically(pipe, [b"through ", b"it"])
    reader.join()
    assert found == [b"through it"] and stat.S_ISFIFO(pipe.stat().st_mode)
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, b"")
    with pytest.raises(FileNotFoundError, match="missing/a'"):
        write_atomically(tmp_path / "missing" / "a", b"")


def test_protected_places():
    with ordinary_user() as folder:
        path = folder / "a"
        path.write_bytes(b"old")
        path.chmod(0o444)
        with pytest.raises(PermissionError, match="write-protected"):
            write_atomically(path, b"new")
        path.chmod(0o644)
        folder.chmod(0o555)
        with pytest.raises(PermissionError):
            write_atomically(path, b"new")
        assert path.read_bytes() == b"old"


FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from glueball import nd, recordio
big = nd.ones((100000,))
resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000))
for name in ("a.params", "a.safetensors"):
    try:
        nd.save(sys.argv[1] + "/" + name, {"x": big})
    except OSError as error:
        print(error.errno)
out = recordio.MXIndexedRecordIO(sys.argv[1] + "/a.idx", sys.argv[1] + "/a.rec", "w")
try:
    for i in range(100):
        out.write_idx(i, bytes(5000))
except OSError as error:
    print(error.errno)
try:
    out.close()
except Exception as error:
    print(type(error).__name__)
"""


def test_a_full_disk_leaves_the_old_files(tmp_path):
    content = {"x": nd.zeros((3,))}
    nd.save(str(tmp_path / "a.params"), content)
    nd.save(str(tmp_path / "a.safetensors"), content)
    before = {name: (tmp_path / name).read_bytes() for name in names(tmp_path)}
    done = subprocess.run([sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.stdout.split() == [str(errno.EFBIG)] * 3 + ["MXNetError"]
    assert {name: (tmp_path / name).read_bytes() for name in names(tmp_path)} == before


def test_savers_of_one_file_at_a_time(tmp_path):
    path = tmp_path / "a"
    contents = [bytes([i]) * 50_000 for i in range(8)]

    def save(content):
        for _ in range(10):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    threads = [threading.Thread(target=save, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents and names(tmp_path) == ["a"]


def test_two_writers_of_one_record_file(tmp_path):
    paths = (tmp_path / "a.idx", tmp_path / "a.rec")
    one, two = (recordio.MXIndexedRecordIO(*paths, "w") for _ in range(2))
    one.write_idx(1, b"one")
    two.write_idx(2, b"two")
    one.close()
    assert recordio.MXIndexedRecordIO(*paths, "r").read_idx(1) == b"one"
    two.close()
    assert recordio.MXIndexedRecordIO(*paths, "r").read_idx(2) == b"two"
    assert names(tmp_path) == ["a.idx", "a.rec"]


def test_an_index_that_cannot_be_written_keeps_the_old_records(tmp_path):
    (tmp_path / "a.idx").mkdir()
    out = recordio.MXIndexedRecordIO(tmp_path / "a.idx", tmp_path / "a.rec", "w")
    out.write_idx(1, b"one")
    with pytest.raises(IsADirectoryError):
        out.close()
    assert names(tmp_path) == ["a.idx"]
    with recordio.MXIndexedRecordIO(tmp_path / "b.idx", tmp_path / "b.rec", "w", str) as out:
        with pytest.raises(ArgumentError, match="before a tab"):
            out.write_idx("a\tb", b"")
        out.write_idx("a b", b"x")
    assert recordio.MXIndexedRecordIO(tmp_path / "b.idx", tmp_path / "b.rec", "r", str).read_idx("a b") == b"x"


def test_a_writer_whose_write_failed_publishes_nothing(tmp_path):
    path = tmp_path / "a.rec"
    out = recordio.MXRecordIO(path, "w")

    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "full")

        def close(self):
            pass

    real, out._draft.file = out._draft.file, Full()
    with pytest.raises(OSError, match="full"):
        out.write(b"x")
    real.close()
    with pytest.raises(MXNetError, match="not given its name"):
        out.close()
    assert names(tmp_path) == []


def test_a_draft_folder_goes_in_the_end(tmp_path):
    with pytest.raises(ValueError), draft_folder(tmp_path / "a") as place:
        Path(place, "x").write_bytes(b"x")
        write_atomically(tmp_path / "a", b"beside it")  # does not take the folder for a leftover
        assert Path(place, "x").exists()
        raise ValueError
    assert names(tmp_path) == ["a"]


def test_lines_and_gzip(tmp_path):
    path = tmp_path / "a"
    path.write_bytes("é\r\n\nb\xff".encode("latin-1"))
    with pytest.raises(FileFormatError, match=r"Line 1 is not UTF-8 text.\n.*at byte 0"):
        list(text_lines(path, "a"))
    path.write_bytes("é\r\n\nb".encode())
    assert list(text_lines(path, "a")) == [(1, 0, "é"), (2, 4, ""), (3, 5, "b")]
    assert unpack_gzip(gzip.compress(b"a" * 1000) + gzip.compress(b"b"), "a") == b"a" * 1000 + b"b"
    bomb = gzip.compress(bytes(80 << 20))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for content, message in ((bomb, "more than is believed"), (bomb[:1000], "cannot be unpacked"),
                             (b"\x1f\x8bxx", "cannot be unpacked")):
        with pytest.raises(FileFormatError, match=message):
            unpack_gzip(content, "a")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 200 << 10


@pytest.mark.slow
def test_killed_while_saving():
    command = [sys.executable, str(ROOT / "tools" / "kill_saves.py"), "--kills", "10"]
    done = subprocess.run([*command, "--only", "params,record,onnx_large"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("10 kills   0 wrong") == 3
