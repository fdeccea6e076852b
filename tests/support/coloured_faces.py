"""Stands for face_models in a function: a face is a patch of one strong colour, which says whose it is.

It finds small patches only where it is asked to, as the real one does, and dies of white ones.
"""

import os
from collections.abc import Sequence

STEP = 2
"""Pixels from one that is looked at to the next."""
LARGE, SMALL = 40, 8
"""Pixels that a patch has at least, of those that are looked at."""


def find(width: int, height: int, pixels: bytes, small: bool) -> list[tuple[int, int, int, int, Sequence[float]]]:
    """The faces in a picture, in the order of their colours."""
    patches: dict[tuple[bool, ...], list[tuple[int, int]]] = {}
    for y in range(0, height, STEP):
        for x in range(0, width, STEP):
            colour = pixels[3 * (y * width + x) : 3 * (y * width + x) + 3]
            if max(colour) > 190:
                patches.setdefault(tuple(part > 110 for part in colour), []).append((x, y))
    found: list[tuple[int, int, int, int, Sequence[float]]] = []
    for strong, places in sorted(patches.items()):
        if len(places) < (SMALL if small else LARGE):
            continue
        if all(strong):
            os._exit(3)
        across, down = zip(*places, strict=True)
        found.append((min(across), min(down), max(across), max(down), [float(part) for part in strong]))
    return found
