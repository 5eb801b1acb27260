"""Validation of a sampler's arguments, and their conversion to arrays of one shape and type.

All functions raise InputError for a value that is not allowed.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentloop.bundles.manifest import STEPS, Level, Manifest
from latentloop.draws.draw_settings import DrawSettings
from latentloop.draws.settings import SETTINGS, DrawSetting
from latentloop.errors import InputError, plural, short_repr
from latentloop.io.arguments import is_integer
from latentloop.sampling.host_arrays import as_array, to_python

Setting = float | ArrayLike | Mapping[str, float | ArrayLike] | None


def check_count(name: str, n: object, maximum: int = 2**31 - 1) -> int:
    """Returns a positive integer, such as a number of samples; ``name`` is the argument's name."""
    if not is_integer(n) or n < 1:
        raise InputError(f"{name} is {short_repr(n)}, expected a positive integer")
    if n > maximum:
        raise InputError(f"{name} is {short_repr(int(n))}, expected at most {maximum}")
    return int(n)


def check_seeds(seeds: ArrayLike | None, n: int) -> NDArray[np.uint64]:
    """Returns seeds, uint64 [n]: those given, or n consecutive ones from an integer on, or random ones for None."""
    if seeds is None:
        return np.frombuffer(secrets.token_bytes(8 * n), np.uint64).copy()
    values = to_python("seeds", seeds, "an integer or one per sample")
    if isinstance(values, int) and not isinstance(values, bool):
        for seed in (values, min(values + n - 1, 2**64)):
            _check_seed(seed)
        return np.arange(n, dtype=np.uint64) + np.uint64(values)
    if not isinstance(values, list):
        raise InputError(f"seeds is {short_repr(seeds)}, expected an integer or one per sample")
    if len(values) != n:
        raise InputError(f"{len(values)} {plural(len(values), 'seed')} for {n} {plural(n, 'sample')}")
    for seed in values:
        _check_seed(seed)
    return np.array(values, np.uint64)


def _check_seed(seed: object) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**64:
        raise InputError(f"seeds holds {short_repr(seed)}, expected integers from 0 to 2**64 - 1")


def check_labels(labels: ArrayLike | None, n: int, manifest: Manifest) -> NDArray[np.int64] | None:
    """Returns class indices, int64 [n], from indices or names; None for a bundle without classes.

    Without labels, sample number i of a class-conditional bundle has class i modulo the number of classes.
    """
    names = manifest.classes
    if not names:
        if labels is not None:
            raise InputError("labels were given, but the bundle has no classes")
        return None
    if labels is None:
        return np.arange(n) % len(names)
    values = to_python("labels", labels, "a class or one per sample")
    if isinstance(values, int | str):
        return np.full(n, _label(values, names), np.int64)
    if not isinstance(values, list):
        raise InputError(f"labels is {short_repr(labels)}, expected a class or one per sample")
    if len(values) != n:
        raise InputError(f"{len(values)} {plural(len(values), 'label')} for {n} {plural(n, 'sample')}")
    return np.array([_label(value, names) for value in values], np.int64)


def _label(value: object, names: tuple[str, ...]) -> int:
    if isinstance(value, str) and value in names:
        return names.index(value)
    if isinstance(value, str) and value.isdecimal() and len(value) < 20:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return value
    shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
    raise InputError(
        f"label {short_repr(value)} is not one of the {len(names)} classes: {shown}, or 0 to {len(names) - 1}"
    )


def _check_level_names(name: str, by_level: Mapping[str, object], levels: Sequence[Level]) -> None:
    """Raises InputError for a key that is not a level's name."""
    names = [level.name for level in levels]
    for key in by_level:
        if key not in names:
            raise InputError(f"{name}: there is no level {short_repr(key)}, the bundle has: {', '.join(names)}")


def check_settings(settings: Mapping[str, Setting], n: int, levels: Sequence[Level]) -> dict[str, DrawSettings]:
    """Returns the settings by level. A value is a number, one per sample [n], or a mapping from level names to either;
    None, or a missing level, is the default.
    """
    for name, value in settings.items():
        if name not in SETTINGS:
            raise InputError(f"there is no setting {short_repr(name)}, expected one of {', '.join(SETTINGS)}")
        if isinstance(value, Mapping):
            _check_level_names(name, value, levels)

    def values(name: str, level: str) -> NDArray[np.float64]:
        value: Any = settings.get(name)
        return _check_setting(SETTINGS[name], level, value.get(level) if isinstance(value, Mapping) else value, n)

    return {level.name: DrawSettings({name: values(name, level.name) for name in SETTINGS}) for level in levels}


def _check_setting(setting: DrawSetting, level: str, value: Any, n: int) -> NDArray[np.float64]:
    """Returns the values [n] of one setting for one level."""
    where = f"{setting.name} for {level}"
    array = as_array(where, setting.default if value is None else value)
    if array.dtype.kind not in "iuf":
        raise InputError(f"{where} is {short_repr(value)}, expected a number or {n} numbers")
    if array.shape not in ((), (n,)):
        raise InputError(f"{where} has shape {array.shape}, expected a number or {n} numbers")
    with np.errstate(over="ignore"):  # a longdouble may become infinity
        array = array.astype(np.float64)  # before the comparison: float16 cannot represent the bounds
    above = array >= setting.low if setting.allows_low else array > setting.low
    if not (above & (array <= setting.high)).all():
        raise InputError(f"{where} is {short_repr(value)}, expected {setting.expected}")
    if setting.is_integer and (array != np.floor(array)).any():
        raise InputError(f"{where} is {array[array != np.floor(array)].flat[0]}, expected an integer")
    return np.broadcast_to(array, (n,))


def check_filters(settings: DrawSettings, level: Level) -> None:
    """Raises InputError for a filter in use that the level's prior, exported by an earlier release, does not have."""
    for name in settings.filters_in_use(level.codebook_size):
        if not has_filter(level, name):
            raise InputError(
                f"{name} for {level.name}: the bundle has no such filter, because an earlier release exported it: "
                f"export it again, or leave {name} out"
            )


def has_filter(level: Level, name: str) -> bool:
    """Returns whether the level's prior has the filter: whether every step with filters reads its state buffer."""
    graphs = {} if level.prior is None else level.prior.graphs
    steps = [graph for role, graph in graphs.items() if role.startswith(STEPS[True])]
    return bool(steps) and all(name in [binding.memory for binding in graph.inputs] for graph in steps)


def check_codes(
    codes: Mapping[str, ArrayLike],
    levels: Sequence[Level],
    *,
    partial: bool,
    undrawn: bool | None = None,
    n: int | None = None,
) -> dict[str, NDArray[np.int64]]:
    """Returns codes by level, int64 [N, H, W]. ``partial`` allows missing levels, and ``undrawn``, by default if they
    are allowed, -1 for a code that is not drawn.
    """
    if not isinstance(codes, Mapping):
        raise InputError(f"codes are {type(codes).__name__}, expected a mapping from level names to arrays")
    _check_level_names("codes", codes, levels)
    checked: dict[str, NDArray[np.int64]] = {}
    for level in levels:
        name = level.name
        if name not in codes:
            if partial:
                continue
            raise InputError(f"codes of the level {name!r} are missing")
        array = as_array(f"codes of {name}", codes[name])
        if array.dtype.kind not in "iu":
            raise InputError(f"codes of {name} have dtype {array.dtype}, expected integers")
        expected = f"[{'N' if n is None else n}, {level.height}, {level.width}]"
        if array.ndim != 3 or array.shape[1:] != (level.height, level.width) or (n is not None and len(array) != n):
            raise InputError(f"codes of {name} have shape {list(array.shape)}, expected {expected}")
        low, different = -1 if (partial if undrawn is None else undrawn) else 0, distinct(array)
        if different.size and (different.min() < low or different.max() >= level.codebook_size):
            expected = f"{low} to {level.codebook_size - 1}"
            raise InputError(f"codes of {name} range from {different.min()} to {different.max()}, expected {expected}")
        if n is None:
            n = len(array)
        converted = different.astype(np.int64)
        checked[name] = converted if len(different) == len(array) else np.broadcast_to(converted, array.shape)
    return checked


def check_codes_to_decode(codes: Mapping[str, ArrayLike], manifest: Manifest) -> dict[str, NDArray[np.int64]]:
    """Returns codes of all levels, int64 [N, H, W], -1 for one that is not drawn."""
    checked = check_codes(codes, manifest.levels, partial=False, undrawn=True)
    for name, values in checked.items():
        if manifest.undrawn_codeword is None and values.size and distinct(values).min() < 0:
            raise InputError(
                f"codes of {name} hold -1, which is not drawn: the bundle has no codeword for it, because an earlier "
                "release exported it: export it again, or decode when all codes are drawn"
            )
    return checked


def distinct(codes: NDArray[Any]) -> NDArray[Any]:
    """Returns the first of the codes [N, h, w] alone, [1, h, w], if all N are the same memory, otherwise all."""
    return codes[:1] if codes.strides[0] == 0 else codes


def check_given(given: Mapping[str, ArrayLike] | None, n: int, levels: Sequence[Level]) -> dict[str, NDArray[np.int64]]:
    """Returns codes to keep by level, [n, H, W], -1 for a code to draw; all -1 for a missing level.

    The kept codes must come first in raster order, because a prior draws each code from the ones before it.
    """
    checked = check_codes({} if given is None else given, levels, partial=True, n=n)
    check_order(checked)
    for level in levels:
        checked.setdefault(level.name, np.broadcast_to(np.int64(-1), (n, level.height, level.width)))
    return checked


def check_order(given: Mapping[str, NDArray[np.int64]]) -> None:
    """Raises InputError unless the codes to keep [N, H, W] of each level come first in raster order."""
    for name, codes in given.items():
        different = distinct(codes)
        kept = different.reshape(len(different), math.prod(codes.shape[1:])) >= 0
        if (kept[:, 1:] > kept[:, :-1]).any():
            sample = int(np.argmax((kept[:, 1:] > kept[:, :-1]).any(1)))
            raise InputError(f"given codes of {name}, sample {sample}: a kept code follows a -1 in raster order")


def check_prior(level: Level) -> None:
    """Raises InputError if the level has no prior."""
    if level.prior is None:
        raise InputError(
            f"the bundle has no prior for the level {level.name!r}, which draws its codes and knows their likelihood: "
            "export the bundle with one"
        )


def check_images(images: ArrayLike, manifest: Manifest) -> NDArray[np.uint8]:
    """Returns images of the bundle's size as an array, uint8 [N, H, W, C]."""
    array = as_array("images", images)
    if array.dtype != np.uint8:
        raise InputError(f"images have dtype {array.dtype}, expected uint8")
    if array.ndim != 4 or array.shape[1:] != manifest.image:
        height, width, channels = manifest.image
        raise InputError(f"images have shape {list(array.shape)}, expected [N, {height}, {width}, {channels}]")
    return array
