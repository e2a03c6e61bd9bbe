"""Files: exact, atomic, never unpickled, and clear about what is wrong with them."""

import ast
import dataclasses
import json
import pickle
import types
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import safetensors.torch
import torch

from networks import family
from networks.checkpoint import GENERATOR, CheckpointError, load, read_metadata, save, update_metadata
from networks.compression.choice.groups import find_groups
from networks.compression.compress import CompressionOptions, compress
from networks.core.sharing import unique_tensors
from networks.core.tensor_file import read_tensors, write_tensors
from networks.operator.network import OperatorGenerator
from networks.operator.spec import OperatorSpec
from networks.paper.generator import BoundaryGenerator, GeneratorSpec, build
from networks.paper.predict import predict

SPEC = GeneratorSpec.named("conv1.5d-boundary", num_levels=9, num_arc=8, coarse=(4, 4), widths=(4, 3), stem=4)
METADATA = {"fields": ["displacement", "velocity"], "history": [[1, 0.1, 2.0]], "case": {"name": "toy", "c": 1.0}}


@pytest.fixture
def generator() -> BoundaryGenerator:
    torch.manual_seed(3)
    model = build(SPEC)
    model.target_scaler.fit(torch.randn(5, 2, 9, 8))
    return model


@pytest.fixture
def path(tmp_path: Path, generator: BoundaryGenerator) -> Path:
    file = tmp_path / "deep" / "generator.safetensors"
    save(file, generator, metadata=METADATA)
    return file


@pytest.mark.parametrize("model", ["conv2d-boundary", "conv1.5d-boundary"])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_round_trip_to_the_bit(tmp_path: Path, model: str, batch_norm: bool) -> None:
    spec = GeneratorSpec.named(model, num_levels=9, num_arc=8, coarse=(4, 4), widths=(4, 3), batch_norm=batch_norm)
    generator = build(spec)
    generator(torch.rand(4, 3))  # statistics of the normalisation
    save(tmp_path / "a.safetensors", generator, metadata=METADATA)
    found, metadata = load(tmp_path / "a.safetensors")
    assert found.spec == spec and metadata == METADATA and not found.training
    before, after = generator.state_dict(), found.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    p = np.random.default_rng(0).random((3, 3))
    assert np.array_equal(predict(generator, p), predict(found, p))
    assert read_metadata(tmp_path / "a.safetensors") == (spec, METADATA)


def test_one_file_that_others_can_read(path: Path, generator: BoundaryGenerator) -> None:
    assert [f.name for f in path.parent.iterdir()] == ["generator.safetensors"]
    tensors = safetensors.torch.load_file(path)
    assert tensors.keys() == generator.state_dict().keys()
    head = path.read_bytes()
    header = json.loads(head[8 : 8 + int.from_bytes(head[:8], "little")])
    assert json.loads(header["__metadata__"]["document"])["metadata"] == METADATA


def test_loading_leaves_the_global_seed_alone(path: Path) -> None:
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    load(path)
    assert torch.equal(torch.rand(1), expected)


def test_an_interrupted_write_leaves_the_old_file(
    path: Path, generator: BoundaryGenerator, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = path.read_bytes()

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("networks.core.tensor_file.os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save(path, generator)
    assert path.read_bytes() == old and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("length", [0, 4, 100, -1])
def test_truncated(path: Path, length: int) -> None:
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match="is no readable safetensors file .* train again"):
        load(path)


def test_flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged: its numbers do not match their checksum"):
        load(path)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="does not exist; give the path of a file"):
        load(tmp_path / "nothing.safetensors")


def test_foreign(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    safetensors.torch.save_file({"w": torch.zeros(2)}, path)
    with pytest.raises(CheckpointError, match="is no submodel-generator but of another program; give another file"):
        load(path)


class Bomb:
    """Whoever unpickles this leaves a trace."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_is_refused_and_not_run(tmp_path: Path, writer: str) -> None:
    path, trace = tmp_path / "generator.safetensors", tmp_path / "trace"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(Bomb(trace)))
    else:
        torch.save({"w": Bomb(trace)}, path)
    for read in (load, read_metadata):
        with pytest.raises(CheckpointError, match="is no readable safetensors file"):
            read(path)
    assert not trace.exists()


def test_no_module_can_unpickle() -> None:
    """No import of pickle and its kin, no torch.load or torch.save, no numpy.load, in the whole wing."""
    for file in (Path(__file__).parents[1] / "networks").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "dill", "joblib", "shelve", "marshal", "cloudpickle"}, file
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                assert (node.value.id, node.attr) not in {(m, a) for m in ("torch", "np") for a in ("load", "save")}, (
                    file
                )


def test_other_version(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("networks.core.tensor_file.FORMAT_VERSION", 3)
    with pytest.raises(CheckpointError, match="has format version 2, not 3; train again"):
        load(path)


def test_a_generator_that_cannot_be_built(path: Path) -> None:
    tensors, document = read_tensors(path, GENERATOR)
    document["spec"]["split"] = "all"
    write_tensors(path, GENERATOR, tensors, document)
    with pytest.raises(CheckpointError, match="cannot build .*no model is built for.*; train it again"):
        load(path)
    document["spec"]["split"] = "none"  # the weights of a decomposed model in a dense one
    write_tensors(path, GENERATOR, tensors, document)
    with pytest.raises(CheckpointError, match="cannot build"):
        load(path)
    write_tensors(path, GENERATOR, tensors, {"family": "paper", "spec": {"num_arc": 8}})
    with pytest.raises(CheckpointError, match="cannot build .*missing entries"):
        read_metadata(path)
    write_tensors(path, GENERATOR, tensors, {"family": "future", "spec": {}, "metadata": {}})
    with pytest.raises(CheckpointError, match="cannot build .*unknown family 'future'"):
        load(path)
    write_tensors(path, GENERATOR, tensors, {"spec": {}})
    with pytest.raises(CheckpointError, match="cannot build .*family"):
        read_metadata(path)
    with pytest.raises(CheckpointError, match="cannot build .*metadata"):
        update_metadata(path, {"a": 1})


def test_updating_metadata_leaves_the_rest(path: Path, generator: BoundaryGenerator) -> None:
    update_metadata(path, {"trust": {"bound": 0.1}, "history": []})
    found, metadata = load(path)
    assert metadata == {**METADATA, "trust": {"bound": 0.1}, "history": []}
    before, after = generator.state_dict(), found.state_dict()
    assert found.spec == generator.spec and all(torch.equal(before[n], after[n]) for n in before)
    assert [f.name for f in path.parent.iterdir()] == [path.name]


@dataclasses.dataclass(frozen=True)
class TableSpec:
    """The specification of a generator whose case fills a table."""

    family: ClassVar[str] = "table"

    width: int
    rows: int

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "TableSpec":
        return cls(**values)


class Table(torch.nn.Module):
    """A generator with a table that its case fills."""

    def __init__(self, spec: TableSpec) -> None:
        super().__init__()
        self.spec = spec
        self.layer = torch.nn.Linear(2, spec.width)
        self.inner = torch.nn.Module()
        self.inner.register_buffer("table", torch.full((spec.rows, 5), torch.nan))


def test_generators_of_another_family_and_their_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = types.SimpleNamespace(name="table", Spec=TableSpec, build=Table)
    monkeypatch.setitem(family.FAMILIES, "table", own)  # type: ignore[arg-type]
    path = tmp_path / "table.safetensors"
    generator = Table(TableSpec(4, 3))
    generator.inner.get_buffer("table").copy_(torch.rand(3, 5))
    save(path, generator, metadata=METADATA)
    assert read_metadata(path) == (generator.spec, METADATA)
    found, metadata = load(path)
    before, after = generator.state_dict(), found.state_dict()
    assert isinstance(found, Table) and metadata == METADATA and not found.training
    assert before.keys() == after.keys() and all(torch.equal(before[n], after[n]) for n in before)
    tensors, document = read_tensors(path, GENERATOR)
    for name in ("layer.bias", "inner.table", "outer.table"):  # of another size, or unknown
        write_tensors(path, GENERATOR, {**tensors, name: torch.zeros(7)}, document)
        with pytest.raises(CheckpointError, match="cannot build"):
            load(path)


def test_a_header_without_a_document(path: Path, generator: BoundaryGenerator) -> None:
    _, document = read_tensors(path, GENERATOR)
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"]["document"] = "{"
    changed = json.dumps(header).encode()
    path.write_bytes(len(changed).to_bytes(8, "little") + changed + data[8 + length :])
    with pytest.raises(CheckpointError, match="its header holds no document"):
        load(path)
    assert document["metadata"] == METADATA


@pytest.mark.parametrize("name", ["paper", "operator"])
def test_a_compressed_generator_comes_back_with_what_its_layers_share(tmp_path: Path, name: str) -> None:
    torch.manual_seed(0)
    dense: Any
    if name == "paper":
        dense = build(GeneratorSpec.named("conv2d-boundary", num_levels=9, num_arc=8, coarse=(4, 4), widths=(6, 5)))
        inputs = torch.rand(4, 3)
    else:
        points = tuple((0.2 * x, 0.2 * y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1)))
        spec = OperatorSpec(16, 0.1, 8.0, (2.0, 3.0), points, points, (0.4,) * 4, 1.0, rank=3, width=12, depth=4)
        dense, inputs = OperatorGenerator(spec), torch.rand(4, 2)
        torch.nn.init.normal_(dense.decoder)
        torch.nn.init.normal_(dense.net.last.weight)
    model, _ = compress(
        dense,
        "ctd",
        ranks={group.name: (1, 1) for group in find_groups(dense)},
        options=CompressionOptions(execution="factorised"),
    )
    path = tmp_path / "small.safetensors"
    save(path, model.eval(), metadata=METADATA)
    found, metadata = load(path)
    assert metadata == METADATA and found.spec == dense.spec
    assert torch.equal(found(inputs), model(inputs)) and not torch.equal(found(inputs), dense.eval()(inputs))
    assert len(list(found.parameters())) == len(list(model.parameters())) < len(dict(found.state_dict()))
    assert found.num_parameters == model.num_parameters < dense.num_parameters
    assert found.compression["layers"] == json.loads(json.dumps(model.compression))["layers"]
    tensors, document = read_tensors(path, GENERATOR)
    assert tensors.keys() == unique_tensors(model).keys()
    del document["compression"]
    write_tensors(path, GENERATOR, tensors, document)
    with pytest.raises(CheckpointError, match="cannot build .*are not those of this model"):
        load(path)
