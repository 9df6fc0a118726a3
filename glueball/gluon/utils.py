"""Helpers of training scripts: splitting a batch over contexts, clipping gradients, and fetching files.

The one idea of `download`: a file gets its name only when it is complete and its checksum is right, so what exists is
good. The helpers that blocks use to print themselves are in block.py.
"""

from __future__ import annotations

import hashlib
import math
import os
import shutil
import tempfile
import urllib.request
import warnings
import weakref
from collections.abc import Sequence
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np

from .. import ndarray as nd
from ..base import config
from ..base.errors import ArgumentError, FileFormatError, MXNetError, ShapeError, explain

__all__ = [
    "DownloadError",
    "HookHandle",
    "check_sha1",
    "clip_global_norm",
    "download",
    "replace_file",
    "shape_is_known",
    "split_and_load",
    "split_data",
]


class DownloadError(MXNetError, OSError):
    """A file could not be fetched."""


# ------------------------------------------------------------------------------------------------------------ the batch
def split_data(data: nd.NDArray, num_slice: int, batch_axis: int = 0, even_split: bool = True) -> list[nd.NDArray]:
    """Split an array into `num_slice` parts along the batch axis.

    Parameters
    ----------
    data : NDArray
        Shape (..., batch, ...).
    num_slice : int
        How many parts.
    batch_axis : int
        Where the batch axis is.
    even_split : bool
        Refuse sizes that do not divide; otherwise the first parts are larger by one.

    Raises
    ------
    ShapeError
        The batch cannot be split evenly.

    Examples
    --------
    >>> [part.shape for part in split_data(nd.zeros((5, 2)), 2, even_split=False)]
    [(3, 2), (2, 2)]
    """
    if num_slice < 1:
        raise ArgumentError(explain("split_data", "num_slice is at least 1.", received=num_slice))
    if not -data.ndim <= batch_axis < data.ndim:
        raise ShapeError(
            explain(
                "split_data", "The batch axis is out of range.", received=f"axis {batch_axis} of shape {data.shape}"
            )
        )
    size = data.shape[batch_axis]
    part, larger = divmod(size, num_slice)
    if even_split and larger:
        raise ShapeError(
            explain(
                "split_data",
                f"The batch cannot be split evenly into {num_slice} parts.",
                expected=f"a size along axis {batch_axis} that {num_slice} divides",
                received=f"shape {data.shape}",
                fix=f"Use a batch size that is a multiple of {num_slice}, or even_split=False.",
            )
        )
    if num_slice == 1:
        return [data]
    bounds = np.cumsum([0] + [part + 1] * larger + [part] * (num_slice - larger)).tolist()
    return [nd.slice_axis(data, axis=batch_axis, begin=begin, end=end) for begin, end in pairwise(bounds)]


def split_and_load(
    data: Any, ctx_list: Sequence[Any], batch_axis: int = 0, even_split: bool = True
) -> list[nd.NDArray]:
    """Split an array over contexts and copy each part to its own.

    Anything that is not an NDArray becomes one of float32 first.

    >>> from glueball import cpu
    >>> [part.context for part in split_and_load([[1.0], [2.0]], [cpu(0), cpu(1)])]
    [cpu(0), cpu(1)]
    """
    if not isinstance(ctx_list, (list, tuple)):
        ctx_list = [ctx_list]
    if not ctx_list:
        raise ArgumentError(explain("split_and_load", "There is no context to load to.", received="an empty ctx_list"))
    if not isinstance(data, nd.NDArray):
        data = nd.array(data, ctx=ctx_list[0])
    parts = split_data(data, len(ctx_list), batch_axis, even_split)
    return [part.as_in_context(ctx) for part, ctx in zip(parts, ctx_list)]


def clip_global_norm(arrays: Sequence[nd.NDArray], max_norm: float, check_isfinite: bool = True) -> Any:
    """Scale arrays in place so that the 2-norm of all of them together is at most `max_norm`; return the norm they had.

    The factor is min(1, max_norm / (norm + 1e-8)).

    Parameters
    ----------
    arrays : list of NDArray
        Usually the gradients; they may live on several contexts.
    max_norm : float
        The largest norm allowed.
    check_isfinite : bool
        Warn when the norm is NaN or infinite and return a float. Without it an array of shape (1,) is returned and
        nothing waits for the device.

    Examples
    --------
    >>> gradients = [nd.array([3.0]), nd.array([4.0])]
    >>> clip_global_norm(gradients, 1.0)
    5.0
    >>> gradients[0].asnumpy().round(3)
    array([0.6], dtype=float32)
    """
    if len(arrays) == 0:
        raise ArgumentError(explain("clip_global_norm", "There are no arrays to clip."))
    home = arrays[0].context
    squares = [nd.sum(nd.square(array.astype("float32"))).as_in_context(home) for array in arrays]
    norm = nd.sqrt(nd.add_n(*squares)) if len(squares) > 1 else nd.sqrt(squares[0])
    total = float(norm.asscalar()) if check_isfinite else None
    if total is not None and not math.isfinite(total):
        warnings.warn(
            "clip_global_norm: the norm is not finite (nan or inf); the clipped arrays are undefined.",
            UserWarning,
            stacklevel=2,
        )
    scale = nd.clip(max_norm / (norm + 1e-8), a_min=0.0, a_max=1.0)
    for array in arrays:
        array[:] = nd.broadcast_mul(
            array, scale.as_in_context(array.context).astype(array.dtype).reshape((1,) * max(array.ndim, 1))
        )
    return norm if total is None else total


def shape_is_known(shape: Sequence[int] | None) -> bool:
    """Return whether every size of a shape is known (0 and negative sizes are unknown, and so is None).

    >>> shape_is_known((2, 3)), shape_is_known((2, 0)), shape_is_known(None)
    (True, False, False)
    """
    return shape is not None and all(size > 0 for size in shape)


class HookHandle:
    """What registering a hook returns; `detach()` (or leaving a `with` block) removes the hook."""

    def __init__(self) -> None:
        self._hooks: weakref.ref[dict[int, Any]] | None = None
        self._id: int | None = None

    def attach(self, hooks_dict: dict[int, Any], hook: Any) -> None:
        """Put `hook` into an (ordered, weakly referable) dictionary of hooks."""
        if self._hooks is not None:
            raise ArgumentError(
                explain("HookHandle", "The handle already holds a hook.", fix="Use one handle for each hook.")
            )
        self._id = id(hook)
        hooks_dict[self._id] = hook
        self._hooks = weakref.ref(hooks_dict)

    def detach(self) -> None:
        """Remove the hook; a second call does nothing."""
        hooks = self._hooks() if self._hooks is not None else None
        if hooks is not None and self._id in hooks:
            del hooks[self._id]

    def __enter__(self) -> HookHandle:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.detach()


# ---------------------------------------------------------------------------------------------------------------- files
def _sha1(filename: str | os.PathLike[str]) -> str:
    digest = hashlib.sha1(usedforsecurity=False)
    with open(filename, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def check_sha1(filename: str | os.PathLike[str], sha1_hash: str) -> bool:
    """Return whether a file's SHA-1 begins with the given hexadecimal digits (model names carry the first eight)."""
    return _sha1(filename)[: len(sha1_hash)] == sha1_hash.lower()


def replace_file(src: str | os.PathLike[str], dst: str | os.PathLike[str]) -> None:
    """Give the file `src` the name `dst`, at once and also where `dst` exists."""
    os.replace(src, dst)


def download(
    url: str,
    path: str | os.PathLike[str] | None = None,
    overwrite: bool = False,
    sha1_hash: str | None = None,
    retries: int = 5,
    verify_ssl: bool = True,
) -> str:
    """Fetch a file, unless it is there already, and return its path.

    Parameters
    ----------
    url : str
        http, https, ftp or file address.
    path : str, optional
        Where to put it: a file, or a directory that gets the address's last part. Default: the working directory.
    overwrite : bool
        Fetch it even if it exists.
    sha1_hash : str, optional
        The SHA-1 the file must have. An existing file with another one is fetched again.
    retries : int
        How many more times to try after a failure.
    verify_ssl : bool
        Check the server's certificate; turning this off gives a warning.

    Raises
    ------
    DownloadError
        (an OSError) All tries failed. No partial file is left behind.
    FileFormatError
        What came has another checksum.

    Examples
    --------
    >>> folder = tempfile.mkdtemp()
    >>> os.path.basename(download("file://" + __file__, os.path.join(folder, "copy.py")))
    'copy.py'
    """
    target = _target_path(url, path)
    if retries < 0:
        raise ArgumentError(explain("download", "retries is not negative.", received=retries))
    if os.path.exists(target) and not overwrite and (sha1_hash is None or check_sha1(target, sha1_hash)):
        return target
    if not verify_ssl:
        warnings.warn(
            "download: the server's certificate is not checked (verify_ssl=False); only do this with addresses you "
            "trust.",
            UserWarning,
            stacklevel=2,
        )
    os.makedirs(os.path.dirname(os.path.abspath(target)), exist_ok=True)
    failure: Exception | None = None
    for _ in range(retries + 1):
        try:
            _fetch(url, target, sha1_hash, verify_ssl)
            return target
        except (OSError, FileFormatError, ValueError) as error:
            failure = error
            if isinstance(error, ValueError) and not isinstance(error, FileFormatError):
                break  # an address that cannot be understood does not improve by trying again
    if isinstance(failure, FileFormatError):
        raise failure
    raise DownloadError(
        explain(
            "download",
            f"The file could not be fetched: {failure}.",
            received=url,
            fix=f"Check the address and the network, or put the file at {target!r} by hand.",
        )
    ) from failure


def _target_path(url: str, path: str | os.PathLike[str] | None) -> str:
    name = url.split("?")[0].rstrip("/").rsplit("/", 1)[-1]
    if path is None:
        target = name
    else:
        target = os.path.expanduser(os.fspath(path))
        if os.path.isdir(target) or target.endswith(os.sep):
            target = os.path.join(target, name)
    if not name and os.path.basename(target) == "":
        raise ArgumentError(
            explain(
                "download",
                "The address does not end with a file name.",
                received=repr(url),
                fix="Give the file name with path=.",
            )
        )
    return target


def _fetch(url: str, target: str, sha1_hash: str | None, verify_ssl: bool) -> None:
    """Copy `url` to a temporary file beside `target`, check it, and give it its name."""
    context = None
    if not verify_ssl and url.startswith("https:"):
        import ssl

        context = ssl._create_unverified_context()  # asked for, and warned about
    handle, partial = tempfile.mkstemp(
        prefix=os.path.basename(target) + ".", suffix=".partial", dir=os.path.dirname(os.path.abspath(target))
    )
    try:
        with os.fdopen(handle, "wb") as out, urllib.request.urlopen(url, timeout=60, context=context) as source:
            shutil.copyfileobj(source, out, 1 << 20)
            announced = source.headers.get("Content-Length")
            if announced is not None and out.tell() != int(announced):
                raise OSError(f"the connection closed after {out.tell()} of {announced} bytes")
        if sha1_hash is not None and not check_sha1(partial, sha1_hash):
            raise FileFormatError(
                explain(
                    "download",
                    "The file has another checksum than expected.",
                    expected=sha1_hash,
                    received=f"{_sha1(partial)} from {url}",
                    fix="The file has changed or was damaged on the way; check the address.",
                )
            )
        os.chmod(partial, 0o644)
        os.replace(partial, target)
    finally:
        if os.path.exists(partial):
            os.remove(partial)


def _get_repo_url() -> str:
    """Return the address of the file repository, which scripts of the 1.x era ask for."""
    address = config.get("GLUEBALL_REPOSITORY")
    return address if address.endswith("/") else address + "/"


def _get_repo_file_url(namespace: str, filename: str) -> str:  # pyright: ignore[reportUnusedFunction]
    """Return the address of a file in the repository."""
    return f"{_get_repo_url()}{namespace}/{filename}"
