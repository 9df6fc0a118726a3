"""Where trained parameters of the zoo's networks are looked for on this machine.

The one idea: nothing is downloaded. The public files of Gluon 1.x carry eight digits of their SHA-1 in the name
(`resnet18_v1-a0666292.params`), so a file that claims to be one of them is verified; `resnet18_v1.params` without
digits, or with other ones, is your own and taken as it is. Not here: what a `.params` file holds (ndarray/serialize.py)
and how it gets into a network (Block.load_parameters).
"""

from __future__ import annotations

import glob
import hashlib
import os

from ...base import config
from ...base.errors import ArgumentError, FileFormatError, explain
from ...base.registry import closest

__all__ = ["get_model_file", "purge"]

# First eight digits of the SHA-1 of the public parameter files of Gluon 1.x.
SHORT_HASHES = {
    "alexnet": "44335d1f",
    "densenet121": "f27dbf2d",
    "densenet161": "b6c8a957",
    "densenet169": "2603f878",
    "densenet201": "1cdbc116",
    "inceptionv3": "ed47ec45",
    "mobilenet0.25": "9f83e440",
    "mobilenet0.5": "8e9d539c",
    "mobilenet0.75": "529b2c7f",
    "mobilenet1.0": "6b8c5106",
    "mobilenetv2_0.25": "ae8f9392",
    "mobilenetv2_0.5": "aabd26cd",
    "mobilenetv2_0.75": "e2be7b72",
    "mobilenetv2_1.0": "36da4ff1",
    "resnet101_v1": "d988c13d",
    "resnet101_v2": "18e93e4f",
    "resnet152_v1": "671c637a",
    "resnet152_v2": "f2695542",
    "resnet18_v1": "a0666292",
    "resnet18_v2": "a81db45f",
    "resnet34_v1": "48216ba9",
    "resnet34_v2": "9d6b80bb",
    "resnet50_v1": "0aee57f9",
    "resnet50_v2": "ecdde353",
    "squeezenet1.0": "264ba497",
    "squeezenet1.1": "33ba0f93",
    "vgg11": "dd221b16",
    "vgg11_bn": "ee79a809",
    "vgg13": "6bc5de58",
    "vgg13_bn": "7d97a06c",
    "vgg16": "e660d456",
    "vgg16_bn": "7f01cf05",
    "vgg19": "ad2f660d",
    "vgg19_bn": "f360b758",
}


def short_hash(name: str) -> str:
    """Return the eight digits that the public file of a network carries in its name.

    >>> short_hash('resnet18_v1')
    'a0666292'
    """
    if name not in SHORT_HASHES:
        raise ArgumentError(
            explain(
                "model_store",
                "There are no trained parameters of this name.",
                received=repr(name),
                fix=closest(str(name), list(SHORT_HASHES)),
            )
        )
    return SHORT_HASHES[name]


def default_roots() -> tuple[str, ...]:
    """Return the directories that are searched without a `root`: Glueball's own, then the one that Gluon 1.x used."""
    return config.home("models"), os.path.join(os.path.expanduser("~"), ".mxnet", "models")


def _verified(path: str, digits: str) -> str:
    digest = hashlib.sha1()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    if not digest.hexdigest().startswith(digits):
        raise FileFormatError(
            explain(
                path,
                "The file is not what its name says, or it is damaged.",
                expected=f"a SHA-1 that starts with {digits}",
                received=digest.hexdigest(),
                fix="copy it again, or rename it if the parameters are your own",
            )
        )
    return path


def get_model_file(name: str, root: str | None = None) -> str:
    """Return the path of a network's trained parameters.

    Parameters
    ----------
    name : str
        A name that `vision.get_model` knows.
    root : str, optional
        Directory to search; by default `$GLUEBALL_HOME/models` (`~/.glueball/models`), then `~/.mxnet/models`.

    In each directory the public file `<name>-<8 digits>.params` goes first and is verified, then `<name>.params`, then
    `<name>-<any 8 digits>.params`, `.safetensors` likewise.

    Raises
    ------
    ArgumentError
        No network has this name.
    FileNotFoundError
        No directory has such a file; the message says where to put one.
    FileFormatError
        The public file is damaged.
    """
    digits = short_hash(name)
    roots = default_roots() if root is None else (os.path.expanduser(root),)
    for directory in roots:
        stem = os.path.join(glob.escape(directory), glob.escape(name))
        public = os.path.join(directory, f"{name}-{digits}.params")
        if os.path.exists(public):
            return _verified(public, digits)
        found = [
            path
            for ending in (".params", ".safetensors")
            for path in (*glob.glob(stem + ending), *sorted(glob.glob(stem + "-" + "[0-9a-f]" * 8 + ending)))
        ]
        if found:
            return found[0]
    raise FileNotFoundError(
        explain(
            f"pretrained {name}",
            "No trained parameters were found on this machine, and the public files of Gluon 1.x are no longer served.",
            expected=f"{name}-{digits}.params or {name}.params in one of: {', '.join(roots)}",
            fix=f"copy a file there, or give its directory: get_model({name!r}, pretrained=True, root='directory')",
        )
    )


def purge(root: str | None = None) -> None:
    """Delete the `.params` files of a model directory.

    Parameters
    ----------
    root : str, optional
        Directory; by default `$GLUEBALL_HOME/models`.
    """
    directory = default_roots()[0] if root is None else os.path.expanduser(root)
    for path in glob.glob(os.path.join(glob.escape(directory), "*.params")):
        os.remove(path)
