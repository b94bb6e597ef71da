"""A finished run, and no waiting for disks."""

import os

import pytest
from small import train


@pytest.fixture(scope="module")
def finished(corpus, tmp_path_factory):
    """A run left alone, which others are compared with."""
    out = tmp_path_factory.mktemp("finished") / "run"
    return train(corpus, out)


@pytest.fixture(autouse=True)
def _no_flushing(request, monkeypatch):
    """Flushing to disk takes most of the time of such small runs, and matters only when the power fails."""
    if "flushed" not in request.node.name:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)
