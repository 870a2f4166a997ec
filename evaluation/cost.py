"""What a model costs whoever uses it: bytes of its parameters, and milliseconds for a token.

The latency is that of one text alone, greedily gone on with for 32 tokens after as many, on this machine and beside whatever
runs there: the median of 21 tries after 3 that do not count, with its 95% interval by order statistics (the 6th to the 16th).
"""

from __future__ import annotations

import platform
import time
from typing import Any

from torch import nn

from curate.errors import CurateError
from curate.evaluation.models.tokens import TokenModel

__all__ = ["cost"]

TRIES, FIRST, LOW, HIGH, TOKENS = 21, 3, 5, 15, 32


def cost(model: TokenModel) -> dict[str, Any]:
    """`size` (bytes) and `latency` (milliseconds a token), each `value`, `low` and `high`; `parameters`, and where it was.

    Raises:
        CurateError: The model leaves no room to generate.
    """
    modules = [one for one in vars(model).values() if isinstance(one, nn.Module)]
    parameters = {id(one): one for module in modules for one in module.parameters()}.values()
    size = sum(one.numel() * one.element_size() for one in parameters)
    most = min(TOKENS, model.length // 2)
    if most < 1:
        raise CurateError(
            f"{model.name} reads {model.length} tokens at once, which leaves no room to generate", "--cost"
        )
    prompt, found = "the " * (model.length - most if model.length < 2 * TOKENS else TOKENS), list[float]()
    for _ in range(FIRST + TRIES):
        started = time.perf_counter()
        (said,) = model.complete([prompt], most=most)
        found.append((time.perf_counter() - started) * 1000 / max(said.tokens, 1))
    ranked = sorted(found[FIRST:])
    return {
        "size": {"value": size, "low": size, "high": size},
        "parameters": sum(one.numel() for one in parameters),
        "latency": {"value": ranked[TRIES // 2], "low": ranked[LOW], "high": ranked[HIGH], "n": TRIES},
        "tokens": most, "machine": platform.processor() or platform.machine(), "device": str(model.device),
    }  # fmt: skip
