import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cfgtoy.datasets.resident import ImageData, ResidentBatches, to_float, to_uint8


def numbered(n: int, h: int = 2, w: int = 3) -> ImageData:
    """Images whose every pixel says which image it is, save the left column, which says 255."""
    images = torch.arange(n, dtype=torch.uint8)[:, None, None, None].repeat(1, 1, h, w)
    images[..., 0] = 255
    return ImageData(images, torch.arange(n) % 3, ("a", "b", "c"))


def which(x: torch.Tensor) -> list[int]:
    return to_uint8(x)[:, 0, 0, 1].tolist()


def test_bytes_survive_the_round_trip():
    u8 = torch.arange(256, dtype=torch.uint8)
    x = to_float(u8)
    assert x.min() == -1
    assert x.max() == 1
    assert torch.equal(to_uint8(x), u8)
    assert torch.equal(to_uint8(torch.tensor([-7.0, 7.0])), torch.tensor([0, 255], dtype=torch.uint8))


def test_an_epoch_is_a_permutation_and_labels_follow_their_images():
    stream = ResidentBatches(numbered(30), 10, seed=3)
    epoch = [next(stream) for _ in range(3)]
    seen = [i for x, _ in epoch for i in which(x)]
    assert sorted(seen) == list(range(30))
    assert seen != list(range(30))
    for x, y in epoch:
        assert y.tolist() == [i % 3 for i in which(x)]
    assert stream.epoch == 1
    second = [i for _ in range(3) for i in which(next(stream)[0])]
    assert sorted(second) == list(range(30))
    assert second != seen


def test_flips_mirror_about_half_of_the_images_and_nothing_else():
    stream = ResidentBatches(numbered(200), 200, flip=True)
    x, _ = next(stream)
    left, right = x[:, 0, 0, 0] == 1, x[:, 0, 0, -1] == 1
    assert torch.equal(left, ~right | (left & right))
    assert 60 < int(right.sum()) < 140
    plain, _ = next(ResidentBatches(numbered(200), 200, flip=False))
    assert torch.equal(x[left], plain[left])
    assert torch.equal(x[~left].flip(-1), plain[~left])


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(1, 40),
    batch=st.integers(1, 17),
    world=st.integers(1, 4),
    skip=st.integers(0, 9),
    seed=st.integers(0, 2**40),
)
def test_resuming_and_any_number_of_ranks_give_the_same_global_batches(n, batch, world, skip, seed):
    data = numbered(n)
    whole = ResidentBatches(data, batch * world, seed=seed, flip=True)
    ranks = [ResidentBatches(data, batch, seed=seed, flip=True, rank=r, world=world) for r in range(world)]
    for _ in range(skip):
        next(whole)
    for rank in ranks:
        for _ in range(skip):
            next(rank)
        fresh = ResidentBatches(data, batch, flip=True, rank=rank.rank, world=world)
        fresh.load_state_dict(rank.state_dict())
        x, y = next(fresh)
        x_rank, y_rank = next(rank)
        assert torch.equal(x, x_rank)
        assert torch.equal(y, y_rank)
    ranks = [ResidentBatches(data, batch, seed=seed, flip=True, rank=r, world=world) for r in range(world)]
    for rank in ranks:
        rank.load_state_dict({"position": skip * batch * world, "seed": seed})
    x, y = next(whole)
    assert torch.equal(x, torch.cat([next(rank)[0] for rank in ranks]))


def test_seeds_differ_and_the_layout_is_what_was_asked():
    data = numbered(50)
    a, b = next(ResidentBatches(data, 50, seed=0)), next(ResidentBatches(data, 50, seed=1))
    assert which(a[0]) != which(b[0])
    x, _ = next(ResidentBatches(data, 8, dtype=torch.bfloat16, channels_last=True))
    assert x.dtype == torch.bfloat16
    colour = ImageData(torch.zeros(4, 3, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ("a",))
    x, _ = next(ResidentBatches(colour, 4, channels_last=True))
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("images", "labels", "name"),
    [
        (torch.zeros(2, 1, 2, 2), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.zeros(2, 2, 2, dtype=torch.uint8), torch.zeros(2, dtype=torch.int64), "images"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(3, dtype=torch.int64), "labels"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.zeros(2), "labels"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([0, 2]), "labels"),
        (torch.zeros(2, 1, 2, 2, dtype=torch.uint8), torch.tensor([-1, 0]), "labels"),
    ],
)
def test_data_that_does_not_agree_is_refused(images, labels, name):
    with pytest.raises(ValueError, match=name):
        ImageData(images, labels, ("a", "b"))


def test_bad_streams_are_refused():
    with pytest.raises(ValueError, match="batch"):
        ResidentBatches(numbered(4), 0)
    with pytest.raises(ValueError, match="rank"):
        ResidentBatches(numbered(4), 1, rank=2, world=2)
    with pytest.raises(ValueError, match="data"):
        ResidentBatches(numbered(4).take(slice(0, 0)), 1)
    with pytest.raises(ValueError, match="position"):
        ResidentBatches(numbered(4), 1).load_state_dict({"position": -1, "seed": 0})
