"""The state buffers that a loop itself writes or reads, and the initial values that make an ordinary draw of them.

The exporter makes these buffers, and the reader of manifests checks them and adds the values to older manifests.
"""

from __future__ import annotations

from dataclasses import replace

from latentloop.bundles.manifest import BATCH, INDEX, Level, StateBuffer
from latentloop.draws.settings import SETTINGS

FILLS_SINCE = 5  # the first version of the manifest with the initial values of this module


def loop_buffers(
    height: int, width: int, codebook_size: int, *, upper: tuple[int, int] | None = None, labels: bool = False
) -> tuple[StateBuffer, ...]:
    """Returns the buffers for a grid of that size, except the ring of codes. ``upper`` is the grid of the condition.

    A loop that writes none of the settings draws every code, without filters, at temperature 1.
    """
    buffers = [
        StateBuffer("row", "int64", (height, 1), INDEX),
        StateBuffer("column", "int64", (width, 1), INDEX),
        StateBuffer("uniform", "float32", (width, BATCH)),
        StateBuffer("forced", "int64", (width, BATCH), -1),
        *(
            StateBuffer(setting.name, setting.dtype, (BATCH,), int(min(setting.default, codebook_size)))
            for setting in SETTINGS.values()
        ),
        StateBuffer("logits", "float32", (width, BATCH, codebook_size)),
    ]
    if upper is not None:
        buffers.append(StateBuffer("upper", "int64", (*upper, BATCH)))
    if labels:
        buffers.append(StateBuffer("labels", "int64", (BATCH,)))
    return tuple(buffers)


LOOP_NAMES = ("codes", *(buffer.name for buffer in loop_buffers(1, 1, 1, upper=(1, 1), labels=True)))


def with_fills(level: Level) -> Level:
    """Returns a level of a manifest that was written before ``FILLS_SINCE``, with the initial values of today."""
    if level.prior is None:
        return level
    fills = {buffer.name: buffer.fill for buffer in loop_buffers(level.height, level.width, level.codebook_size)}
    memories = tuple(replace(buffer, fill=fills.get(buffer.name, buffer.fill)) for buffer in level.prior.memories)
    return replace(level, prior=replace(level.prior, memories=memories))
