"""A finished run, and no waiting for disks."""

import os

import pytest
from small import train

from charrnn.training import trainer


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A run left alone, which others are compared with."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "OFTEN", 0)
        return train(corpus, out)


@pytest.fixture(autouse=True)
def _saved_at_every_validation(monkeypatch):
    """However soon it comes; a test of saves that are held back sets this itself."""
    monkeypatch.setattr(trainer, "OFTEN", 0)


@pytest.fixture(autouse=True)
def _no_flushing(request, monkeypatch):
    """Flushing to disk takes most of the time of such small runs, and matters only when the power fails."""
    if "flushed" not in request.node.name:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
