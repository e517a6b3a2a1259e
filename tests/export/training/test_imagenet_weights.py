"""The checkpoint reader: strides honoured, nothing executed, and the classes come out right."""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest

from export.errors import DataError
from export.training.imagenet_weights import imagenet_file, read_checkpoint

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = 0x1950A86A20F9469CFC6C


class _Rebuild:
    """Pickles as a call of the global that PyTorch's tensors name."""

    def __init__(self, module: str, name: str, arguments: tuple[object, ...]) -> None:
        self.module, self.name, self.arguments = module, name, arguments


class _Writer(pickle._Pickler):  # type: ignore[name-defined]  # the pure-Python one can be taught globals by name
    def save(self, obj: object, save_persistent_id: bool = True) -> None:
        if isinstance(obj, _Rebuild):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.name}\n".encode())
            super().save(obj.arguments)
            self.write(pickle.REDUCE)
        else:
            super().save(obj, save_persistent_id)

    def persistent_id(self, obj: object) -> object:
        return obj[1:] if isinstance(obj, tuple) and obj[:1] == ("persistent",) else None


def checkpoint(path: Path, tensors: object, keys: list[str], storages: bytes) -> Path:
    with path.open("wb") as file:
        for part in (MAGIC, 1001, {}):
            pickle.dump(part, file, protocol=2)
        out = io.BytesIO()
        _Writer(out, protocol=2).dump(tensors)
        file.write(out.getvalue())
        pickle.dump(keys, file, protocol=2)
        file.write(storages)
    return path


def tensor(module: str = "torch._utils", name: str = "_rebuild_tensor_v2") -> dict[str, object]:
    pid = ("persistent", "storage", "FloatStorage", "7", "cpu", 6, None)
    return {"w": _Rebuild(module, name, (pid, 0, (2, 3), (1, 2), False, OrderedDict()))}


def storages() -> bytes:
    return (6).to_bytes(8, "little") + np.arange(6, dtype="<f4").tobytes()


def test_strides_are_honoured(tmp_path: Path) -> None:
    read = read_checkpoint(checkpoint(tmp_path / "a.pth", tensor(), ["7"], storages()))
    assert np.array_equal(read["w"], [[0, 2, 4], [1, 3, 5]])


@pytest.mark.parametrize(("module", "name"), [("os", "system"), ("builtins", "eval"), ("torch._utils", "other")])
def test_no_other_global_is_admitted(tmp_path: Path, module: str, name: str) -> None:
    with pytest.raises(DataError, match=f"{module}.{name}"):
        read_checkpoint(checkpoint(tmp_path / "evil.pth", tensor(module, name), ["7"], storages()))


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    whole = checkpoint(tmp_path / "a.pth", tensor(), ["7"], storages()).read_bytes()
    for end in (0, 3, 40, len(whole) - 1):
        (tmp_path / "cut.pth").write_bytes(whole[:end])
        with pytest.raises(DataError):
            read_checkpoint(tmp_path / "cut.pth")


@pytest.mark.long
def test_imagenet_recognises_real_photographs() -> None:
    import matplotlib.cbook
    from sklearn.datasets import load_sample_image

    from export.architectures.efficientnet_lite import classifier, load_imagenet

    model = classifier()
    load_imagenet(model, read_checkpoint(imagenet_file()))
    sample = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    hopper = cv2.cvtColor(cv2.imdecode(np.fromfile(str(sample), np.uint8), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    photographs = [hopper, load_sample_image("china.jpg"), load_sample_image("flower.jpg")]
    answers = model.predict(np.stack([_centre(image) for image in photographs]), verbose=0).argmax(axis=1)
    assert answers.tolist() == [652, 698, 985]  # military uniform, palace, daisy


def _centre(image: np.ndarray) -> np.ndarray:
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = np.ascontiguousarray(image[top : top + side, left : left + side])
    return (cv2.resize(square, (224, 224), interpolation=cv2.INTER_AREA).astype(np.float32) - 127) / 128
