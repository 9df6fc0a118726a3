"""Kill processes while they save: afterwards the old file is there, or the new one, and never anything else.

    python tools/kill_saves.py [--kills 200] [--only params,record]

The one idea: a child saves two contents in turn, for ever, and is killed with SIGKILL at a random moment; whatever lies
under the name must then be one of the two contents, byte for byte. After all kills one more save must leave no
temporary file behind. Each way of saving is a function in `WAYS` that takes a folder and a number (0 or 1). Children
are forks, so the package is imported once.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def _arrays(which: int) -> dict[str, Any]:
    from glueball import nd

    return {"a": nd.ones((300, 100 + which)), "b": nd.zeros((which + 1,))}


def _network(which: int) -> Any:
    from glueball import gluon, nd

    net = gluon.nn.Dense(40 + which, in_units=300, prefix="dense_")
    net.initialize(["zeros", "ones"][which])
    net.hybridize()
    net(nd.ones((1, 300)))
    return net


def params(folder: str, which: int) -> None:
    """nd.save"""
    from glueball import nd

    nd.save(f"{folder}/a.params", _arrays(which))


def safetensors(folder: str, which: int) -> None:
    """nd.save, safetensors"""
    from glueball import nd

    nd.save(f"{folder}/a.safetensors", _arrays(which))


def parameters(folder: str, which: int) -> None:
    """net.save_parameters"""
    _network(which).save_parameters(f"{folder}/net.params")


def states(folder: str, which: int) -> None:
    """trainer.save_states"""
    from glueball import autograd, gluon, nd

    weight = gluon.Parameter("w", shape=(200, 30 + which))
    weight.initialize("zeros")
    trainer = gluon.Trainer([weight], "adam")
    with autograd.record():
        loss = (weight.data() * nd.ones((200, 30 + which))).sum()
    loss.backward()
    trainer.step(1)
    trainer.save_states(f"{folder}/trainer.states")


def export(folder: str, which: int) -> None:
    """net.export: two files, each whole"""
    _network(which).export(f"{folder}/net")


def onnx(folder: str, which: int) -> None:
    """net.export, ONNX"""
    _network(which).export(f"{folder}/net", format="onnx", check=False)


def onnx_large(folder: str, which: int) -> None:
    """net.export, ONNX with weights beside it"""
    import glueball.onnx.export as exporting

    exporting._LARGEST = 1000
    _network(which).export(f"{folder}/net", format="onnx", check=False)


def record(folder: str, which: int) -> None:
    """MXIndexedRecordIO: two files, each whole"""
    from glueball import recordio

    with recordio.MXIndexedRecordIO(f"{folder}/a.idx", f"{folder}/a.rec", "w") as out:
        for key in range(50 + which):
            out.write_idx(key, bytes([which]) * 300)


def profile(folder: str, which: int) -> None:
    """profiler.dump"""
    from glueball import profiler

    if not getattr(profile, "recorded", False):
        profiler.set_config(filename=f"{folder}/profile.json", profile_all=True)
        profiler.set_state("run")
        _network(0)
        profiler.set_state("stop")
        profile.recorded = True  # type: ignore[attr-defined]
    profiler.dump()


def objects(folder: str, which: int) -> None:
    """the compiler's cache of object code"""
    from glueball.executor.native.object_cache import ObjectCache

    ObjectCache(f"{folder}/cache").write("key", bytes([which]) * 20000)


WAYS: dict[str, Callable[[str, int], None]] = {way.__name__: way for way in (
    params, safetensors, parameters, states, export, onnx, onnx_large, record, profile, objects)}




def files(folder: str, temporary: bool = False) -> list[Path]:
    """Return the files below a folder: those with names of their own, or the temporary ones."""
    return sorted(path for path in Path(folder).rglob("*") if path.is_file()
                  and any(part.startswith(".") for part in path.relative_to(folder).parts) == temporary)


def contents(folder: str) -> dict[str, str]:
    """Return the names of files, each with a digest of what is in it."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files(folder)}


def forked(work: Callable[[], object]) -> int:
    """Run something in a forked child; return the child's number."""
    number = os.fork()
    if number:
        return number
    try:
        work()
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def saved(way: str, folder: str, which: int) -> dict[str, str]:
    """Save once in a child; return what lies there then."""
    if os.waitpid(forked(lambda: WAYS[way](folder, which)), 0)[1]:
        raise RuntimeError(f"{way} cannot be saved")
    return contents(folder)


def forever(way: str, folder: str, ready: int) -> None:
    """Save two contents in turn."""
    turn = 0
    while True:
        WAYS[way](folder, turn % 2)
        if not turn:
            os.write(ready, b"!")
        turn += 1


def problem(way: str, folder: str, allowed: dict[str, set[str]]) -> str | None:
    """Return what is wrong with the files in a folder, if anything."""
    if way == "profile":
        return None if "traceEvents" in json.loads(Path(folder, "profile.json").read_text()) else "not a trace"
    if way == "onnx_large":
        return _torn(folder)
    for name, digest in contents(folder).items():
        if digest not in allowed.get(name, set()):
            return f"{name} is neither the old nor the new file"
    return None


def _torn(folder: str) -> str | None:
    """Return whether the model in a folder has the weights of another."""
    import onnx as package

    model = package.load(f"{folder}/net.onnx")
    for tensor in model.graph.initializer:
        array = package.numpy_helper.to_array(tensor)
        if array.ndim == 2 and array.size != 40 * 300 and array.size != 41 * 300:
            return "the weights have another size"
        if array.ndim == 2 and (array != (array.size == 41 * 300)).any():
            return "the model has the weights of another"
    return None


def kill(way: str, kills: int, dice: random.Random) -> list[str]:
    """Kill children while they save; return what was wrong, at best nothing."""
    wrong: list[str] = []
    with tempfile.TemporaryDirectory() as place:
        folder, twin = os.path.join(place, "a"), os.path.join(place, "b")
        os.mkdir(folder)
        os.mkdir(twin)
        states = [saved(way, twin, which) for which in (0, 1)]
        allowed = {name: {state.get(name, "") for state in states} for name in states[0]}
        most = 0
        for number in range(kills):
            told, ready = os.pipe()
            child = forked(partial(forever, way, folder, ready))
            os.close(ready)
            started = os.read(told, 1)  # after the first save; nothing when the child ends before that
            os.close(told)
            time.sleep(dice.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            if not started:
                return [*wrong, f"kill {number}: the child does not save"]
            if (found := problem(way, folder, allowed)) is not None:
                wrong.append(f"kill {number}: {found}")
            most = max(most, len(files(folder, temporary=True)))
        saved(way, folder, 0)
        if left := files(folder, temporary=True):
            if way != "objects":  # those are deleted after ten minutes
                wrong.append(f"{len(left)} temporary files are left: {left[0].name}")
        if len(states[0]) != len(contents(folder)):
            wrong.append(f"there are other files: {sorted(contents(folder))}")
    print(f"{way:12} {(WAYS[way].__doc__ or ''):45} {kills:>5} kills {len(wrong):>3} wrong, "
          f"at most {most} temporary files at once", flush=True)
    return wrong


def main() -> int:
    """Kill; return 1 if anything was wrong."""
    parser = argparse.ArgumentParser(description="Kill processes while they save.")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", help="ways of saving, separated by commas")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    import onnx as package  # before the first fork: importing takes longer than everything else
    import safetensors.torch as tensors

    import glueball
    for module in (glueball.gluon, glueball.nd, glueball.sym, glueball.autograd, glueball.profiler, package, tensors):
        assert module
    dice = random.Random(options.seed)
    wrong = {way: kill(way, options.kills, dice) for way in (options.only.split(",") if options.only else WAYS)}
    for way, found in wrong.items():
        print(*(f"{way}: {text}" for text in found), sep="\n", end="\n" if found else "")
    return int(any(wrong.values()))


if __name__ == "__main__":
    sys.exit(main())
