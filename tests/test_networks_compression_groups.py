"""Groups of layers that share, on the structures of the paper and of our generators."""

import pytest
import torch
from torch import nn

from networks.compression.choice.groups import Group, check_groups, find_groups, layers, select, shapes_of
from networks.layers.decomposed import DecomposedConv, DenseConv


def named(**children: nn.Module) -> nn.Module:
    """A module with children and no forward."""
    module = nn.Module()
    for name, child in children.items():
        module.add_module(name, child)
    return module


def conv(inputs: int, outputs: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)


def names(groups: list[Group]) -> set[tuple[str, ...]]:
    return {group.names for group in groups}


def ista(blocks: int = 3, width: int = 4) -> nn.Module:
    """N blocks of layers 1 -> c -> c -> 1, [B] figure 2."""
    shapes = ((1, width), (width, width), (width, width), (width, 1))
    made = [named(**{f"conv{m}": conv(*shape) for m, shape in enumerate(shapes)}) for _ in range(blocks)]
    return named(blocks=nn.ModuleList(made))


def resnet() -> nn.Module:
    """Stages of two blocks; from the second stage on, the first block halves the image and doubles the channels."""
    widths = (4, 4, 8, 16)
    stages = {}
    for s in range(1, 4):
        before, width = widths[s - 1], widths[s]
        blocks = [
            named(conv1=conv(before, width, 2), conv2=conv(width, width)),
            named(conv1=conv(width, width), conv2=conv(width, width)),
        ]
        stages[f"layer{s}"] = nn.Sequential(*blocks)
    return named(stem=conv(3, 4), **stages, fc=nn.Linear(16, 10))


def trunks(fields: int = 2, stages: int = 3, depth: int = 2) -> nn.Module:
    """Twin trunks of stages of blocks, as networks.paper.trunks makes them; here of one width."""

    def trunk() -> nn.Module:
        blocks = [nn.Sequential(*(named(conv=DenseConv(4, 4, (3, 3))) for _ in range(depth))) for _ in range(stages)]
        return named(stem=nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 16)), stages=nn.ModuleList(blocks))

    return named(trunks=nn.ModuleList(trunk() for _ in range(fields)))


def test_of_equal_blocks_each_layer_makes_a_group() -> None:
    found = find_groups(ista())
    assert names(found) == {tuple(f"blocks.{n}.conv{m}" for n in range(3)) for m in range(4)}
    assert {group.kind for group in found} == {"equal"}


def test_layers_named_alone_are_looked_at() -> None:
    assert names(find_groups(ista(), ["blocks.*.conv1"])) == {("blocks.0.conv1", "blocks.1.conv1", "blocks.2.conv1")}


def test_twins_come_before_stages_and_blocks() -> None:
    found = names(find_groups(trunks()))
    assert all(len(group) == 2 and group[0].replace("trunks.0", "trunks.1") == group[1] for group in found)
    assert len(found) == 2 + 3 * 2


def test_without_twins_stages_share_then_blocks() -> None:
    found = names(find_groups(trunks(fields=1)))
    assert found == {tuple(f"trunks.0.stages.{i}.{j}.conv" for i in range(3)) for j in range(2)}
    found = names(find_groups(trunks(fields=1, stages=1)))
    assert found == {("trunks.0.stages.0.0.conv", "trunks.0.stages.0.1.conv")}


def test_stages_with_halved_input_couple_in_part() -> None:
    """[B] section V.B.1: first and third layers of a stage by NC-PCTD, second and fourth by NC-CTD."""
    found = {group.names: group.kind for group in find_groups(resnet(), partly=True)}
    for stage in (2, 3):
        assert found[f"layer{stage}.0.conv1", f"layer{stage}.1.conv1"] == "input"
        assert found[f"layer{stage}.0.conv2", f"layer{stage}.1.conv2"] == "equal"
    assert found["layer1.0.conv1", "layer1.1.conv1"] == "equal"
    assert all(group.kind == "equal" for group in find_groups(resnet()))


def test_equal_shapes_are_left_when_no_position_repeats() -> None:
    model = named(head=conv(4, 6), body=conv(4, 6), tail=conv(4, 5))
    assert names(find_groups(model)) == {("head", "body")}
    found = find_groups(named(one=conv(4, 6), two=conv(4, 5)), partly=True)
    assert found == []


def test_numbered_words_repeat_too() -> None:
    model = named(block1=named(a=conv(4, 6), b=conv(4, 6)), block2=named(a=conv(4, 6), b=conv(4, 6)))
    assert names(find_groups(model)) == {("block1.a", "block2.a"), ("block1.b", "block2.b")}


def test_equal_sizes_of_other_taps_do_not_share() -> None:
    model = named(layers=nn.ModuleList([nn.Conv2d(4, 4, (1, 3)), nn.Conv2d(4, 4, (3, 1)), nn.Conv1d(4, 4, 3)]))
    assert find_groups(model, partly=True) == []


def test_positions_shape_a_linear() -> None:
    model = named(layers=nn.ModuleList([nn.Linear(3, 12), nn.Linear(3, 12), nn.Linear(3, 16)]))
    positions = {"layers.0": 4, "layers.1": 4, "layers.2": 4}
    assert shapes_of(layers(model), positions)["layers.2"].folded == (3, 4, 4)
    assert names(find_groups(model, positions=positions)) == {("layers.0", "layers.1")}
    assert names(find_groups(model, positions={**positions, "layers.1": 1})) == set()
    with pytest.raises(ValueError, match=r"'layers.0'.*12 outputs.*5 positions"):
        shapes_of(layers(model), {"layers.0": 5})
    with pytest.raises(ValueError, match="fully connected"):
        shapes_of(layers(ista()), {"blocks.0.conv0": 2})


def test_explicit_groups_are_given_their_kind() -> None:
    model = resnet()
    given = [["layer2.0.conv1", "layer2.1.conv1"], ["layer1.*.conv*"], ["layer2.1.conv1", "layer3.0.conv1"]]
    kinds = [check_groups(model, [group])[0].kind for group in given]
    assert kinds == ["input", "equal", "output"]


@pytest.mark.parametrize(
    ("groups", "match"),
    [
        ([["stem", "layer1.0.conv1", "layer3.1.conv2"]], r"cannot share: stem 3 -> 4.*layer3.1.conv2 16 -> 16"),
        ([["stem"]], "two layers at least"),
        (
            [["layer1.0.conv1", "layer1.1.conv1"], ["layer1.0.conv1", "layer1.1.conv2"]],
            "'layer1.0.conv1' stands in two",
        ),
        ([["layer1.0.conv1", "layer1.1.conf1"]], "no layer 'layer1.1.conf1'; did you mean layer1.1.conv1"),
        ([["fc", "nothing.*"]], r"no layer that can be compressed matches 'nothing.\*'"),
    ],
)
def test_groups_that_cannot_be_are_refused(groups: list[list[str]], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        check_groups(resnet(), groups)


def test_unsupported_layers_are_skipped_and_refused_by_name() -> None:
    class Special(nn.Linear):
        """A layer with a forward of its own."""

    tied = nn.Linear(4, 4)
    other = nn.Linear(4, 4)
    other.weight = tied.weight
    model = named(
        plain=conv(4, 4),
        grouped=nn.Conv2d(4, 4, 3, groups=2),
        transposed=nn.ConvTranspose2d(4, 4, 3),
        split=DecomposedConv(4, 4, (3, 3)),
        special=Special(4, 4),
        tied=tied,
        other=other,
        normed=nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)),
    )
    assert list(layers(model)) == ["plain"]
    for name, match in [
        ("grouped", "groups = 2"),
        ("transposed", "ConvTranspose2d; those that can be compressed are Linear"),
        ("split", "DecomposedConv"),
        ("special", "Special"),
        ("tied", "tied"),
        ("normed", "Parametrized"),
    ]:
        with pytest.raises(ValueError, match=f"'{name}' cannot be compressed: .*{match}"):
            select(model, [name])


def test_integer_weights_are_left_out() -> None:
    model = named(layer=nn.Linear(4, 4))
    model.layer.weight = nn.Parameter(torch.zeros(4, 4, dtype=torch.int8), requires_grad=False)  # type: ignore
    with pytest.raises(ValueError, match="int8, not floating point"):
        select(model, ["layer"])
