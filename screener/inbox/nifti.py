"""Read NIfTI volumes: a file is a series, each axial slice of its canonical orientation a frame."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from screener.domain.slice import Reason, Refused
from screener.inbox import sniff
from screener.inbox.dicom import square_shape
from screener.inbox.limits import Limits, RefusedError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from screener.inbox.picture import FileBytes

INSTALL = "python -m pip install 'screener[nifti]'"
_HEADER = {1: 348, 2: 540}
"""Bytes of the header, by version of the format."""
_MAX_SLICES = 2000
_LEAST_WIDTH, _MOST_WIDTH, _LEAST_HEIGHT = 80.0, 400.0, 20.0
"""mm: from side to side and front to back, and from top to bottom, of what may hold a head."""
_THICK = 2.0
"""How many times the second largest side of a voxel the largest must be to name the plane of the acquisition."""
_STEEP = 0.8
_UNITS = {1: 1000.0, 3: 0.001}
"""mm a unit of length, by its code: metres, micrometres; everything else counts as mm."""
_SEQUENCES = {
    **dict.fromkeys(("t1", "t1w", "t1n"), "T1"),
    **dict.fromkeys(("t1ce", "t1c", "t1gd", "t1post"), "T1ce"),
    **dict.fromkeys(("t2", "t2w"), "T2"),
    **dict.fromkeys(("flair", "t2f"), "FLAIR"),
    **dict.fromkeys(("bold", "dwi", "asl", "m0scan", "cbv", "sbref", "epi", "t2star", "t2starw", "pd", "pdw"), "other"),
    **dict.fromkeys(
        ("pdt2", "angio", "swi", "magnitude", "magnitude1", "magnitude2", "inplanet1", "inplanet2"), "other"
    ),
}
_MAPS = frozenset(
    {
        "seg",
        "dseg",
        "probseg",
        "mask",
        "label",
        "labels",
        "roi",
        "phase",
        "phasediff",
        "fieldmap",
        "t1map",
        "t2map",
        "adc",
        "fa",
    }
)
_WORDS = re.compile(r"[_.]")
_lock = threading.Lock()
_held: list[tuple[bytes, NDArray[Any]]] = []
"""The volume that was decoded last: its slices are asked for one by one."""


class NiftiHeader(msgspec.Struct, frozen=True):
    """What the header of a volume says, once its axes run to the right, the front and the top.

    Attributes
    ----------
    columns, rows, slices : int
        From side to side, front to back, bottom to top.
    spacing : tuple of three floats
        mm between columns, rows, slices.
    first : float
        Position of the lowest slice along the axis of the slices, mm.
    plane : {"axial", "sagittal", "coronal", "oblique"}
        In which the volume was acquired; axial where voxels have nearly equal sides.
    """

    columns: int
    rows: int
    slices: int
    spacing: tuple[float, float, float]
    first: float
    plane: str

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a slice once pixels are square."""
        return square_shape(self.rows, self.columns, (self.spacing[1], self.spacing[0]))


def sequence_of_name(path: str) -> str | None:
    """Tell the sequence from the last word of a file's name, as BIDS and the BraTS collections write it.

    Parameters
    ----------
    path : str

    Returns
    -------
    {"T1", "T1ce", "T2", "FLAIR", "other"} or None
        None where the name says nothing.
    """
    words = _name_words(path)
    found = _SEQUENCES.get(words[-1].rpartition("-")[2])
    contrast = any(word.startswith("ce-") for word in words)
    return "T1ce" if found == "T1" and contrast else found


def expand_nifti(fetched: FileBytes, limits: Limits) -> list[FileBytes | Refused]:
    """Return one item a slice, from bottom to top; a refusal stands for the whole file.

    Parameters
    ----------
    fetched : FileBytes
    limits : Limits
    """
    identity = replace(fetched.identity, sequence=sequence_of_name(fetched.identity.path))
    if _name_words(identity.path)[-1] in _MAPS:
        return [Refused(identity, Reason.DERIVED_MAP, "by its name a segmentation or a computed map")]
    try:
        found = read_nifti_header(fetched.data, limits)
    except RefusedError as error:
        return [Refused(identity, error.reason, error.detail)]
    return [
        replace(
            fetched,
            identity=replace(
                identity, frame=number + 1, position=found.first + number * found.spacing[2], plane=found.plane
            ),
        )
        for number in range(found.slices)
    ]


def nifti_picture_header(data: bytes, limits: Limits) -> sniff.Header:
    """Return size and depth of one decoded slice."""
    height, width = read_nifti_header(data, limits).shape
    return sniff.Header(sniff.NIFTI, width, height, 1, 16, oddity="NIfTI")


def read_nifti_header(data: bytes, limits: Limits) -> NiftiHeader:
    """Read the header of a volume.

    Raises
    ------
    RefusedError
        It makes no sense, is no single volume of a head's size, or nibabel is not installed.
    """
    return _describe(_raw_header(data), limits)[0]


def decode_nifti(data: bytes, limits: Limits, frame: int | None = None) -> NDArray[np.float32]:
    """Decode one axial slice as a viewer shows it: front up, the patient's left on the right.

    Percentiles 0.5 and 99.5 of the slice become 0 and 1, as for DICOM without a window. Voxels that are no number count
    as the lowest.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : Limits
    frame : int, optional
        Number of the slice from the bottom, from 1; the middle one when not given.

    Returns
    -------
    ndarray of shape (H, W), float32, in [0, 1]

    Raises
    ------
    RefusedError
    """
    import numpy as np

    from screener.inbox.dicom_pixels import percentiles

    found, volume = _volume(data, limits)
    sniff.enforce(sniff.Header(sniff.NIFTI, found.shape[1], found.shape[0], 1, 16), limits)
    index = found.slices // 2 if frame is None else frame - 1
    if not 0 <= index < found.slices:
        raise RefusedError(Reason.CORRUPT, f"the volume has no slice {frame}")
    stored = volume[::-1, ::-1, index].T
    if stored.dtype.kind == "f":
        stored = stored.astype(np.float64)
        known = np.isfinite(stored)
        if not known.any():
            raise RefusedError(Reason.CORRUPT, "a slice without any number")
        stored = np.where(known, stored, stored[known].min())
    low, high = percentiles(stored)
    pixels = (stored.astype(np.float64) - low) / (high - low if high > low else 1.0)
    pixels = np.clip(pixels, 0.0, 1.0).astype(np.float32)
    if pixels.shape != found.shape:
        import cv2

        pixels = cv2.resize(pixels, found.shape[::-1], interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return np.ascontiguousarray(pixels)


def _name_words(path: str) -> list[str]:
    name = path.rpartition("/")[2].lower()
    return _WORDS.split(name.removesuffix(".gz").removesuffix(".nii"))


def _nibabel() -> Any:  # noqa: ANN401 - the module; it ships no complete types
    try:
        import nibabel as nib
    except ImportError:
        raise RefusedError(Reason.UNSUPPORTED_TYPE, f"NIfTI file; to read it, run: {INSTALL}") from None
    return nib


def _raw_header(data: bytes) -> Any:  # noqa: ANN401 - nibabel's header
    """Return nibabel's view of the header."""
    nib = _nibabel()
    head = sniff.inflated(data, _HEADER[2]) if data[:2] == sniff.GZIP else data[: _HEADER[2]]
    version = 2 if head[4:7] in {b"n+2", b"ni2"} else 1
    if head[4:7] == b"ni2" or head[344:348] == b"ni1\0":
        raise RefusedError(Reason.UNSUPPORTED_TYPE, "the header of a pair of files; save it as one .nii or .nii.gz")
    if len(head) < _HEADER[version]:
        raise RefusedError(Reason.CORRUPT, "the file ends within its header")
    kind = nib.Nifti2Header if version == 2 else nib.Nifti1Header  # noqa: PLR2004 - of the format
    try:
        return kind(head[: _HEADER[version]], check=False)
    except Exception as error:  # noqa: BLE001 - a parser meets hostile bytes
        raise RefusedError(Reason.CORRUPT, f"NIfTI that cannot be followed ({type(error).__name__})") from None


def _describe(raw: Any, limits: Limits) -> tuple[NiftiHeader, Any]:  # noqa: ANN401 - untyped
    """Return what a header says, and how its axes must be turned."""
    try:
        found, turned = _geometry(raw)
    except RefusedError:
        raise
    except Exception as error:  # noqa: BLE001 - values are interpreted when they are asked for
        raise RefusedError(Reason.CORRUPT, f"NIfTI of nonsensical values ({type(error).__name__})") from None
    width, depth, height = (
        count * step for count, step in zip((found.columns, found.rows, found.slices), found.spacing, strict=True)
    )
    fits = all(_LEAST_WIDTH <= side <= _MOST_WIDTH for side in (width, depth)) and height >= _LEAST_HEIGHT
    if not fits or height > _MOST_WIDTH:
        raise RefusedError(Reason.NOT_A_VOLUME, f"{width:.0f} x {depth:.0f} x {height:.0f} mm is no head's size")
    if found.slices > _MAX_SLICES or _bytes_of(raw) > limits.decoded_bytes:
        raise RefusedError(Reason.TOO_LARGE, f"would fill {_bytes_of(raw) >> 20} MiB")
    return found, turned


def _geometry(raw: Any) -> tuple[NiftiHeader, Any]:  # noqa: ANN401 - untyped
    import numpy as np

    nib = _nibabel()
    shape = tuple(int(side) for side in raw.get_data_shape())
    while len(shape) > 3 and shape[-1] == 1:  # noqa: PLR2004 - the three of space
        shape = shape[:-1]
    if len(shape) != 3:  # noqa: PLR2004
        raise RefusedError(Reason.NOT_A_VOLUME, f"an array of {len(shape)} dimensions, not one volume")
    if raw.get_data_dtype().kind not in "iuf":
        raise RefusedError(Reason.NOT_A_VOLUME, "voxels that are no single real numbers")
    affine = np.asarray(raw.get_best_affine(), dtype=np.float64) * _UNITS.get(int(raw["xyzt_units"]) & 7, 1.0)
    if not np.isfinite(affine).all() or min(shape) < 1:
        raise RefusedError(Reason.CORRUPT, "NIfTI of no sensible place in space")
    turned = nib.orientations.io_orientation(affine)
    if np.isnan(turned).any():
        raise RefusedError(Reason.CORRUPT, "NIfTI whose axes span no space")
    canonical = affine @ nib.orientations.inv_ornt_aff(turned, shape)
    sides = [shape[int(np.flatnonzero(turned[:, 0] == axis)[0])] for axis in range(3)]
    steps = np.linalg.norm(canonical[:3, :3], axis=0)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise RefusedError(Reason.CORRUPT, "NIfTI whose voxels have no size")
    upward = canonical[:3, 2] / steps[2]
    header = NiftiHeader(
        columns=sides[0],
        rows=sides[1],
        slices=sides[2],
        spacing=(float(steps[0]), float(steps[1]), float(steps[2])),
        first=float(canonical[:3, 3] @ upward),
        plane=_plane([float(step) for step in steps], float(upward[2])),
    )
    return header, turned


def _plane(steps: list[float], upright: float) -> str:
    """Name the plane of the acquisition: slices are thicker than pixels are wide."""
    _, middle, thickest = sorted(steps)
    if thickest >= _THICK * middle and steps.index(thickest) != 2:  # noqa: PLR2004 - the axis from bottom to top
        return ("sagittal", "coronal")[steps.index(thickest)]
    return "axial" if upright >= _STEEP else "oblique"


def _bytes_of(raw: Any) -> int:  # noqa: ANN401 - untyped
    size = int(raw.get_data_dtype().itemsize)
    for side in raw.get_data_shape():
        size *= int(side)
    return size


def _volume(data: bytes, limits: Limits) -> tuple[NiftiHeader, NDArray[Any]]:
    """Return the rescaled volume of shape (columns, rows, slices), its axes to the right, the front and the top."""
    raw = _raw_header(data)
    found, turned = _describe(raw, limits)
    with _lock:
        if not _held or _held[0][0] is not data:
            _held[:] = [(data, _voxels(data, raw, turned))]
        return found, _held[0][1]


def _voxels(data: bytes, raw: Any, turned: Any) -> NDArray[Any]:  # noqa: ANN401 - untyped
    import numpy as np

    kind, offset, size = raw.get_data_dtype(), float(raw["vox_offset"]), _bytes_of(raw)
    if not _HEADER[1] <= offset <= 1 << 20:
        raise RefusedError(Reason.CORRUPT, "NIfTI whose voxels begin at no sensible place")
    end = int(offset) + size
    stored = sniff.inflated(data, end) if data[:2] == sniff.GZIP else data[:end]
    if len(stored) < end:
        raise RefusedError(Reason.CORRUPT, "the file ends within its voxels")
    shape = [int(side) for side in raw.get_data_shape()][:3]
    array = np.frombuffer(stored, kind, size // kind.itemsize, int(offset)).reshape(shape, order="F")
    slope, intercept = raw.get_slope_inter()
    if slope not in {None, 1.0} or intercept not in {None, 0.0}:
        array = array * np.float32(slope or 1.0) + np.float32(intercept or 0.0)
    return np.asarray(_nibabel().orientations.apply_orientation(array, turned))
