"""A corpus: written whole or not at all, read with suspicion, and the one that ships is sound."""

from __future__ import annotations

import ast
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

import tapml_fuzz
from tapml_fuzz.cli.main import main
from tapml_fuzz.core.errors import BadCorpus
from tapml_fuzz.core.operator import Operator, Product, Slot
from tapml_fuzz.core.profile import profile_of
from tapml_fuzz.operators.invoke import call, to_torch
from tapml_fuzz.storage import corpus as corpus_files
from tapml_fuzz.storage.corpus import Corpus, ModelRecord, default_corpus_path, write
from tapml_fuzz.storage.seeds import Provenance, Seed, Sentence

A = Product(("a",))
TANH = Operator("aten.tanh.default", (Slot(0),), {}, ((A,),), ("float32",))
NEG = Operator("aten.neg.default", (Slot(0),), {}, ((A,),), ("float32",))


def seed_of(operator: Operator, values: list[float], model: str = "tiny", weights: str = "00") -> Seed:
    provenance = Provenance(model, weights, (Sentence(1, "Hi."),), "n", "m", "cpu", "float32", ((9,),), {"torch": "2"})
    x = np.array(values, np.float32)
    return Seed(operator, {"a": len(values)}, (x,), (np.tanh(x),), provenance)


def write_tiny(path: Path, *seeds: Seed, model: str = "tiny", weights: str = "00") -> Corpus:
    found = {seed.operator.key: seed.operator for seed in seeds}
    groups = [(op, [s for s in seeds if s.operator.key == key]) for key, op in found.items()]
    return write(
        path,
        ModelRecord(model, weights, "cpu", "float32", 1, {"torch": "2"}),
        [(op, (profile_of([s.tensors[0] for s in own]),), own) for op, own in groups],
    )


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    write_tiny(tmp_path / "corpus", seed_of(TANH, [1, 2]), seed_of(TANH, [3]), seed_of(NEG, [4, 5, 6]))
    return tmp_path / "corpus"


def test_what_is_written_is_read(tiny: Path) -> None:
    corpus = Corpus.open(tiny)
    assert [entry.operator for entry in corpus.entries] == [NEG, TANH]
    assert [seed.tensors[0].tolist() for seed in corpus.seeds(TANH.key)] == [[1, 2], [3]]
    assert corpus.seeds(corpus.entries[1]) is corpus.seeds(TANH.key)
    assert corpus.entries[1].profiles[0].high == 3
    assert corpus.entries[1].seed_ids == tuple(seed.id for seed in corpus.seeds(TANH.key))
    assert corpus.verify() == []
    assert corpus.stats().seeds == 3


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["tanh"], ["tanh"]),
        (["aten.n*"], ["neg"]),
        ([TANH.key], ["tanh"]),
        (["*"], ["neg", "tanh"]),
        (["tan", "TANH"], []),
        ([], []),
    ],
)
def test_match(tiny: Path, globs: list[str], names: list[str]) -> None:
    assert [entry.operator.short_name for entry in Corpus.open(tiny).match(globs)] == names


def test_carving_again_replaces_the_model_and_keeps_others(tiny: Path) -> None:
    write_tiny(tiny, seed_of(TANH, [7], "other", "01"), model="other", weights="01")
    write_tiny(tiny, seed_of(TANH, [8, 9]))
    corpus = Corpus.open(tiny)
    assert [entry.operator for entry in corpus.entries] == [TANH]
    assert [seed.tensors[0].tolist() for seed in corpus.seeds(TANH.key)] == [[7], [8, 9]]
    assert {model.name for model in corpus.manifest.models} == {"tiny", "other"}
    assert corpus.verify() == []
    assert not (tiny / "seeds" / NEG.key).exists()


def test_another_model_of_the_same_name_is_kept_beside(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tiny, seed_of(TANH, [7], weights="01"), weights="01")
    corpus = Corpus.open(tiny)
    assert [entry.operator for entry in corpus.entries] == [NEG, TANH]
    assert [seed.tensors[0].tolist() for seed in corpus.seeds(TANH.key)] == [[1, 2], [3], [7]]
    assert corpus.verify() == []
    assert corpus.stats().models == ("tiny (00)", "tiny (01)")
    for command, expected in {"stats": ["tiny (00), tiny (01)"], "show tanh": ["tiny (00), m", "tiny (01), m"]}.items():
        with pytest.raises(SystemExit) as stop:
            main(["corpus", *command.split(), "--corpus", str(tiny)])
        assert stop.value.code == 0
        out = capsys.readouterr().out
        assert all(text in out for text in expected)


def test_a_model_whose_folder_was_renamed_is_still_the_same(tiny: Path) -> None:
    write_tiny(tiny, seed_of(TANH, [7], "renamed"), model="renamed")
    corpus = Corpus.open(tiny)
    assert [seed.tensors[0].tolist() for seed in corpus.seeds(TANH.key)] == [[7]]
    assert [model.name for model in corpus.manifest.models] == ["renamed"]
    assert corpus.verify() == []


def test_a_kill_while_writing_leaves_a_corpus_that_opens(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, entry: corpus_files.Entry) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(corpus_files, "_write_entry", killed)
    with pytest.raises(KeyboardInterrupt):
        write_tiny(tiny, seed_of(TANH, [8, 9]))
    corpus = Corpus.open(tiny)
    assert [seed.tensors[0].tolist() for seed in corpus.seeds(TANH.key)] == [[1, 2], [3]]
    assert [p.rsplit(": ", 1)[-1] for p in corpus.verify()] == ["no operator lists it"]


def a_seed(corpus: Path) -> Path:
    return sorted((corpus / "seeds" / TANH.key).iterdir())[0]


def an_entry(corpus: Path) -> Path:
    return corpus / "operators" / f"{TANH.key}.json"


def edit(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    data = json.loads(path.read_bytes())
    change(data)
    path.write_text(json.dumps(data))


def rename_operator(data: dict[str, object], name: str) -> None:
    data["operator"] = {**data["operator"], "name": name}  # type: ignore[dict-item]


def rename_first_seed(data: dict[str, object], name: str) -> None:
    data["seeds"][0]["id"] = name  # type: ignore[index]


DAMAGE: dict[str, Callable[[Path], object]] = {
    "seed cut short": lambda c: a_seed(c).write_bytes(a_seed(c).read_bytes()[:-1]),
    "seed emptied": lambda c: a_seed(c).write_bytes(b""),
    "last value changed": lambda c: a_seed(c).write_bytes(a_seed(c).read_bytes()[:-1] + b"\x7f"),
    "seed missing": lambda c: a_seed(c).unlink(),
    "seed of another operator": lambda c: shutil.copy(next((c / "seeds" / NEG.key).iterdir()), a_seed(c)),
    "manifest missing": lambda c: (c / "manifest.json").unlink(),
    "manifest cut short": lambda c: (c / "manifest.json").write_bytes(b'{"format": 1, "mod'),
    "manifest in another encoding": lambda c: (c / "manifest.json").write_bytes(b'{"form\xdft": 1}'),
    "manifest of the future": lambda c: (c / "manifest.json").write_bytes(b'{"format": 2, "models": []}'),
    "operator cut short": lambda c: an_entry(c).write_bytes(an_entry(c).read_bytes()[:200]),
    "operator nested deeply": lambda c: an_entry(c).write_bytes(b'{"operator":' + b"[" * 100_000),
    "python operator": lambda c: edit(an_entry(c), lambda d: rename_operator(d, "python:os.system")),
    "operator swapped": lambda c: edit(an_entry(c), lambda d: rename_operator(d, "aten.sinh.default")),
    "id leads outside": lambda c: edit(an_entry(c), lambda d: rename_first_seed(d, "../../../../etc/passwd")),
    "profiles missing": lambda c: edit(an_entry(c), lambda d: d.update(profiles=[])),
    "file named otherwise": lambda c: an_entry(c).rename(c / "operators" / "x.json"),
    "unknown field": lambda c: edit(an_entry(c), lambda d: d.update(hook="import os")),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_line_and_exit_code_2(tiny: Path, damage: str, capfd: pytest.CaptureFixture[str]) -> None:
    DAMAGE[damage](tiny)
    with pytest.raises(SystemExit) as stop:
        main(["corpus", "verify", "--corpus", str(tiny)])
    assert stop.value.code == 2
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error E201: ")


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_never_loaded(tiny: Path, damage: str) -> None:
    DAMAGE[damage](tiny)
    with pytest.raises(BadCorpus):  # noqa: PT012 (either step may find it)
        corpus = Corpus.open(tiny)
        for entry in corpus.entries:
            corpus.seeds(entry)


@pytest.mark.parametrize("name", ["../../../../etc/passwd", "/etc/passwd", "..", "0" * 31, "G" * 32, ""])
def test_ids_that_could_lead_elsewhere_are_refused_before_any_file_is_opened(tiny: Path, name: str) -> None:
    edit(an_entry(tiny), lambda d: rename_first_seed(d, name))
    with pytest.raises(BadCorpus, match="is no seed id"):
        Corpus.open(tiny)


def test_strays_are_reported(tiny: Path) -> None:
    (tiny / "seeds" / TANH.key / "stray.safetensors").write_bytes(b"")
    assert len(Corpus.open(tiny).verify()) == 1


def test_an_operator_that_torch_lacks_is_reported(tmp_path: Path) -> None:
    unknown = msgspec.structs.replace(TANH, name="aten.tanhh.default")
    write_tiny(tmp_path, seed_of(unknown, [1]))
    assert any("aten.tanhh.default" in problem for problem in Corpus.open(tmp_path).verify())


def test_commands(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for command, expected in {
        "list": TANH.key,
        "show tanh": "sentence 1: Hi.",
        "stats": "tiny",
        "verify": "ok: 2 operators, 3 seeds",
    }.items():
        with pytest.raises(SystemExit) as stop:
            main(["corpus", *command.split(), "--corpus", str(tiny)])
        assert stop.value.code == 0
        assert expected in capsys.readouterr().out


def test_showing_what_is_not_there(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["corpus", "show", "softmax", "--corpus", str(tiny)])
    assert stop.value.code == 2
    assert "'softmax'" in capsys.readouterr().err


@pytest.fixture(scope="module")
def shipped() -> Corpus:
    return Corpus.open(default_corpus_path())


def test_the_shipped_corpus_is_sound(shipped: Corpus) -> None:
    assert shipped.verify() == []


def test_the_shipped_corpus_is_large_and_small_enough(shipped: Corpus) -> None:
    assert len(shipped.entries) >= 20
    assert all(len(entry.seed_ids) >= 3 for entry in shipped.entries)
    assert shipped.stats().size < 15e6
    assert all(file.stat().st_size < 256_000 for file in (shipped.path / "seeds").glob("*/*"))
    assert all(seed.case().elements <= 16384 for entry in shipped.entries for seed in shipped.seeds(entry))


def test_shipped_seeds_hold_what_torch_computes(shipped: Corpus) -> None:
    """Another version of torch may round differently, hence a tolerance; data must move exactly."""
    for entry in shipped.entries:
        for seed in shipped.seeds(entry):
            outputs = call(seed.operator, [to_torch(t.copy()) for t in seed.tensors], seed.sizes)
            assert len(outputs) == len(seed.outputs)
            for ours, recorded in zip(outputs, seed.outputs, strict=True):
                np.testing.assert_allclose(ours.numpy(), recorded, rtol=1e-4, atol=1e-4, err_msg=entry.key)


def test_shipped_provenance_is_complete_and_names_no_path(shipped: Corpus) -> None:
    texts = (shipped.path / "sentences" / "english_and_more.txt").read_text("utf-8").split("\n")
    texts = [text for text in texts if text.strip()]
    for entry in shipped.entries:
        for record in entry.records:
            origin = record.provenance
            assert origin.model
            assert origin.node
            assert origin.versions["torch"]
            assert "/" not in origin.model + origin.node + origin.module
            for sentence in origin.sentences:
                assert texts[sentence.number - 1].startswith(sentence.text.rstrip("…"))


def test_the_shipped_sentences_are_many_and_varied() -> None:
    from tapml_fuzz.carving import sentences

    texts = sentences.read(default_corpus_path() / "sentences" / "english_and_more.txt")
    assert len(texts) >= 45
    assert len(set(texts)) == len(texts)
    assert sum(len(text.split()) > 200 for text in texts) >= 2
    scripts = {sentences.script(text) for text in texts}
    assert scripts >= {"LATIN", "CJK", "ARABIC", "DEVANAGARI", "CYRILLIC", "GREEK", "HIRAGANA", "NONE"}


def test_storage_and_carving_cannot_execute_what_they_read() -> None:
    """No module of the two rooms imports an unpickler or calls eval, exec, compile or torch.load."""
    package = Path(tapml_fuzz.__file__).parent
    for path in [*(package / "storage").glob("*.py"), *(package / "carving").glob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", "") or ""}
                assert not names & {"pickle", "marshal", "shelve", "dill", "cloudpickle"}, path
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "compile", "__import__", "torch.load", "np.load"}, path
