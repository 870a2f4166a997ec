"""From tasks and token shards to batches: which source an objective reads, in which order."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import numpy as np
import torch

from curate.errors import CurateError
from curate.tokenize.pack import Pack
from curate.train.config import TrainConfig
from curate.train.datasets import Task
from curate.train.data.curriculum import CurriculumOrder
from curate.train.data.examples import Labelled, Pairs, Preferences, Prompts, Tagged
from curate.train.data.loader import Loader
from curate.train.data.mixture import Mixture, Schedule
from curate.train.data.order import Order
from curate.train.data.packed import Packed
from curate.train.data.windows import Windows
from curate.train.methods import ClassificationSettings, Seq2SeqSettings
from curate.train.objectives.contract import Batch
from curate.train.objectives.multi_task import TASK
from curate.train.world import World

__all__ = ["Feed", "Source", "open_feed", "validation_sources"]
