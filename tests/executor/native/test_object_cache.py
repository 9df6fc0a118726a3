"""Object code on disk: cold equals warm, damaged files are made again, processes do not disturb each other."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from glueball.base import config
from glueball.executor.native import available, compile, input, why_not
from glueball.executor.native import expression as e
from glueball.executor.native.compile import Compiler
from glueball.executor.native.object_cache import ObjectCache
from glueball.executor.native.segment import Segment

from .calling import run

compiled = pytest.mark.skipif(not available(), reason=why_not() or "")
x, y = input(0), input(1)
SHIFTED = e.exp(x - e.peak(x))
SOFTMAX = Segment((0,), frozenset(), (SHIFTED / e.total(SHIFTED),))
DATA = torch.randn(7, 33, generator=torch.Generator().manual_seed(0))


def result(compiler: Compiler, segment: Segment = SOFTMAX) -> torch.Tensor:
    """Return what a segment computes of DATA."""
    out = torch.empty_like(DATA)
    run(compiler, segment, [DATA] * len(segment.inputs), [out], (7, 33))
    return out


def cached(folder: Path, **options: str) -> tuple[Compiler, ObjectCache]:
    """Return a compiler that keeps its code in a folder."""
    cache = ObjectCache(str(folder))
    return Compiler(**options, cache=cache), cache  # type: ignore[arg-type]


@compiled
def test_cold_and_warm_are_the_same(tmp_path: Path) -> None:
    """The second compiler reads what the first one wrote: equal bytes, equal bits of results."""
    folder = tmp_path / "deep" / "cache"
    compiler, cache = cached(folder)
    cold = result(compiler)
    assert (cache.hits, cache.misses) == (0, 1)
    (file,) = folder.iterdir()
    before = file.read_bytes()
    compiler, cache = cached(folder)
    assert torch.equal(result(compiler), cold)
    assert (cache.hits, cache.misses) == (1, 0)
    assert file.read_bytes() == before and torch.equal(cold, result(Compiler()))


@compiled
def test_what_code_depends_on_is_in_its_name(tmp_path: Path) -> None:
    """Another expression, type, or processor is another file; the same text from other inputs is the same function."""
    compiler, cache = cached(tmp_path)
    first = compiler.kernel(Segment((0,), frozenset(), (e.tanh(x),)), torch.float32)
    same = compiler.kernel(Segment((1,), frozenset(), (e.tanh(y),)), torch.float32)
    assert first is not same and first.address == same.address
    compiler.kernel(Segment((0,), frozenset(), (e.tanh(x) + 1.0,)), torch.float32)
    compiler.kernel(Segment((0,), frozenset(), (e.tanh(x),)), torch.float64)
    compiler.kernel(Segment((0,), frozenset(), (e.tanh(x),), formats=("bfloat16", "float32")), torch.float32)
    assert cache.misses == len(list(tmp_path.iterdir())) == 4
    cpu = compile.compiler()._made_for[2]
    other, _ = cached(tmp_path, cpu=cpu, features="")
    other.kernel(Segment((0,), frozenset(), (e.tanh(x),)), torch.float32)
    assert len(list(tmp_path.iterdir())) == 5


@compiled
@pytest.mark.parametrize("damage", ["empty", "cut", "changed", "other"])
def test_damaged_files_are_made_again(damage: str, tmp_path: Path) -> None:
    """A file that is not what was written is not run, and is replaced by a good one."""
    cold = result(cached(tmp_path)[0])
    (file,) = tmp_path.iterdir()
    good = file.read_bytes()
    middle = len(good) // 2
    file.write_bytes({"empty": b"", "cut": good[:-7], "other": b"text of another program\n" * 100,
                      "changed": good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]}[damage])  # fmt: skip
    compiler, cache = cached(tmp_path)
    assert torch.equal(result(compiler), cold) and cache.misses == 1
    assert file.read_bytes() == good


@compiled
def test_processes_share_a_folder(tmp_path: Path) -> None:
    """Several processes that begin at once leave one whole file per function, and all compute the same."""
    program = (
        "import sys, torch\n"
        "from tests.executor.native.test_object_cache import cached, result, Segment, e, x\n"
        "from pathlib import Path\n"
        "compiler, cache = cached(Path(sys.argv[1]))\n"
        "print(result(compiler).double().sum().item(),\n"
        "      [result(compiler, Segment((0,), frozenset(), (e.tanh(x * k),))).sum().item() for k in (2.0, 3.0)])\n"
    )
    root = Path(__file__).resolve().parents[3]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    several = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)], cwd=root, env=environment,
                                stdout=subprocess.PIPE, text=True) for _ in range(2)]  # fmt: skip
    said = [process.communicate()[0] for process in several]
    assert [process.returncode for process in several] == [0, 0]
    assert len(set(said)) == 1 and said[0].strip()
    assert len(list(tmp_path.iterdir())) == 3
    compiler, cache = cached(tmp_path)
    assert f"{result(compiler).double().sum().item()} " in said[0] and cache.hits == 1


def test_the_folder_is_bounded(tmp_path: Path) -> None:
    """Beyond the limit, files that were not used for longest go, until half of it is left; other files stay."""
    (tmp_path / "notes.txt").write_text("mine")
    writer = ObjectCache(str(tmp_path))
    for k in range(10):
        writer.write(f"key{k}", bytes(1000))
        os.utime(tmp_path / f"key{k}.object", (k, k))
    assert ObjectCache(str(tmp_path)).read("key0") == bytes(1000)  # used now
    small = ObjectCache(str(tmp_path), limit=8000)
    small.write("last", bytes(1000))
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"notes.txt", "key0.object", "last.object", "key9.object"}
    small.write("more", bytes(1000))
    assert len(list(tmp_path.iterdir())) == 5


def test_folders_that_cannot_be_used(tmp_path: Path) -> None:
    """A folder that is a file, and one that others can write to, are as if empty; nothing fails."""
    file = tmp_path / "file"
    file.write_text("")
    cache = ObjectCache(str(file))
    cache.write("key", b"code")
    assert cache.read("key") is None
    if os.name == "posix":
        opened = tmp_path / "open"
        opened.mkdir()
        cache = ObjectCache(str(opened))
        cache.write("key", b"code")
        assert cache.read("key") == b"code"
        opened.chmod(0o777)
        assert cache.read("key") is None
        cache.write("other", b"code")
        assert len(list(opened.iterdir())) == 1


def test_where_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """GLUEBALL_CACHE names it, '' switches it off, else it is in the user's cache folder."""
    monkeypatch.setenv("GLUEBALL_CACHE", str(tmp_path))
    assert config.cache("native") == str(tmp_path / "native")
    monkeypatch.setenv("GLUEBALL_CACHE", "")
    assert config.cache("native") is None
    monkeypatch.delenv("GLUEBALL_CACHE")
    monkeypatch.setenv("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME", str(tmp_path / "own"))
    assert config.cache() == str(tmp_path / "own" / "glueball")


@compiled
def test_this_process_uses_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The compiler that everything shares keeps its code where the variable says."""
    monkeypatch.setattr(compile, "_compiler", None)
    monkeypatch.setenv("GLUEBALL_CACHE", str(tmp_path))
    result(compile.compiler())
    assert len(list((tmp_path / "native").iterdir())) == 1
    monkeypatch.setattr(compile, "_compiler", None)
    monkeypatch.setenv("GLUEBALL_CACHE", "")
    assert compile.compiler().cache is None


def several(compiler: Compiler) -> list[torch.Tensor]:
    """Return what functions that are compiled together compute of DATA."""
    segments = [Segment((0,), frozenset(), (expression,)) for expression in (e.tanh(x), e.exp(x) * 0.5, x + 3.0)]
    kernels = [compiler.later(segment, torch.float32) for segment in segments]
    compiler.begin()
    compiler.wait(kernels)
    assert all(kernel.address for kernel in kernels)
    return [result(compiler, segment) for segment in segments]


@compiled
def test_functions_that_are_compiled_together_are_found_one_by_one(tmp_path: Path) -> None:
    compiler, _ = cached(tmp_path)
    cold = several(compiler)
    files = sorted(tmp_path.iterdir(), key=lambda file: file.stat().st_size)
    assert len(files) == 4  # the code, and where each function is
    for damaged in (False, True):
        compiler, cache = cached(tmp_path)
        if damaged:
            files[-1].write_bytes(files[-1].read_bytes()[:-5])
        alone = result(compiler, Segment((0,), frozenset(), (e.exp(x) * 0.5,)))
        assert torch.equal(alone, cold[1])
        for left, right in zip(several(compiler), cold):
            assert torch.equal(left, right)
        assert damaged or cache.misses == 0


@compiled
def test_a_text_that_llvm_refuses_is_an_error_for_whoever_waits_for_it() -> None:
    class Wrong:
        cost = 1

        def module(self, name: str, kind: object, vector_bytes: int) -> str:
            return f"define void @{name}(ptr %args) {{\nentry:\n  ret nothing\n}}\n"

    compiler = Compiler()
    good = compiler.later(SOFTMAX, torch.float32)
    bad = compiler.later(Wrong(), torch.float32)
    compiler.begin()
    compiler.rest()
    with pytest.raises(RuntimeError, match="LLVM"):
        compiler.wait((bad,))
    compiler.wait((good,))
    assert torch.equal(result(compiler), result(Compiler()))


@compiled
def test_nothing_is_compiled_any_more_when_a_process_is_copied() -> None:
    compiler = Compiler()
    kernels = [compiler.later(Segment((0,), frozenset(), (e.tanh(x * k),)), torch.float32) for k in (2.0, 3.0, 4.0)]
    compiler.begin()
    compiler.rest()  # what a copy waits for
    assert all(kernel.address for kernel in kernels) and not compiler._lock.locked()
    compile.prepare()
    compile._rest()
    assert compile._preparing is None or not compile._preparing.is_alive()
