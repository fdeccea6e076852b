"""face_models finds faces by dlib, whose networks stay loaded: pixels go in, boxes and descriptors come out.

It runs in the function, beside face_finder. Descriptors have 128 numbers; dlib's author gives 0.6 as the distance below
which two are of the same person.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import dlib
import numpy

_PACKAGE = importlib.util.find_spec("face_recognition_models")
if _PACKAGE is None or not _PACKAGE.submodule_search_locations:
    raise ImportError("there is no package face_recognition_models in the function")
_MODELS = Path(_PACKAGE.submodule_search_locations[0], "models")  # importing it would want setuptools

_detector = dlib.get_frontal_face_detector()
_landmarks = dlib.shape_predictor(str(_MODELS / "shape_predictor_5_face_landmarks.dat"))
_encoder = dlib.face_recognition_model_v1(str(_MODELS / "dlib_face_recognition_resnet_model_v1.dat"))


def find(width: int, height: int, pixels: bytes, small: bool) -> list[tuple[int, int, int, int, Sequence[float]]]:
    """The faces in a picture: left, top, right, bottom and descriptor of each.

    :param pixels: RGB, row by row.
    :param small: whether to look for faces of 40 pixels, too, not only of 80: that takes four times as long.
    """
    image = numpy.frombuffer(pixels, dtype=numpy.uint8).reshape(height, width, 3)
    found: list[tuple[int, int, int, int, Sequence[float]]] = []
    for box in _detector(image, 1 if small else 0):
        descriptor = _encoder.compute_face_descriptor(image, _landmarks(image, box))
        found.append((box.left(), box.top(), box.right(), box.bottom(), list(descriptor)))
    return found
