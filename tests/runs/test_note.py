import json
import tempfile
from pathlib import Path

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

import charrnn
from charrnn.errors import RunError
from charrnn.runs import Note, is_run

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(st.data())
@hypothesis.settings(max_examples=300)
def test_every_field_of_a_note_is_checked(run_folder, data):
    """One field put in or replaced by anything: a note that holds together, or a RunError."""
    note = json.loads((run_folder / "config.json").read_text())
    part = data.draw(st.sampled_from([note, note["settings"], note["corpus"], note["versions"]]))
    key = data.draw(st.sampled_from(sorted(part)) | st.text(max_size=9) | st.just("self"))
    part[key] = data.draw(JSON)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.json"
        path.write_text(json.dumps(note))
        try:
            checked = Note.read(path.parent)
        except RunError:
            return
        checked.write(path.parent)
        assert Note.read(path.parent) == checked
    corpus = checked.corpus
    assert isinstance(checked.settings, charrnn.TrainConfig)
    assert all(isinstance(name, str) for name in [*corpus.sources, corpus.name, corpus.cache_dir])
    assert all(0 <= number < 2**63 for number in (corpus.size, corpus.characters, corpus.vocabulary_size))


@given(st.binary())
def test_any_bytes_for_a_note_are_refused(blob):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_bytes(blob)
        with pytest.raises(RunError, match=r"config\.json"):
            Note.read(Path(folder))


@pytest.mark.parametrize("content", [b"", b"[1]", b"\xff", b"{", b"[" * 100_000])
def test_json_that_is_none_is_refused(tmp_path, content):
    path = tmp_path / "config.json"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"damaged: not (JSON|a JSON object)"):
        Note.read(tmp_path)
    assert not is_run(tmp_path)
