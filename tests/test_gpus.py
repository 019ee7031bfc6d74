"""The samples of the GPUs: one that fails is no end to them."""

import threading

import pytest

from runner.job import gpus
from runner.model.status import GpuSample
from tests.conftest import wait_until

SAMPLE = GpuSample(90.0, 1 << 30, 2 << 30, 300.0, 60.0)


def test_a_driver_that_does_not_answer_for_once_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    answers, told = iter([SAMPLE, None, SAMPLE, *[None] * 10_000]), list[GpuSample]()
    monkeypatch.setattr(gpus, "EVERY_S", 0.001)
    monkeypatch.setattr(gpus, "query", lambda: next(answers))
    sampler = gpus.Sampler(told.append)
    wait_until(lambda: len(told) == 2)
    sampler.close()


def test_where_there_is_no_gpu_nobody_goes_on_asking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "query", lambda: None)
    sampler = gpus.Sampler(lambda sample: None)
    wait_until(lambda: not [t for t in threading.enumerate() if t.name == "gpus"])
    sampler.close()
