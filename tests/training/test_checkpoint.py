"""Checkpoints: what is written comes back, and nothing that went wrong since is trusted."""

from __future__ import annotations

import logging
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cfgtoy.training import checkpoint


def tensors(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "net/w": torch.randn(64, 64, generator=generator),
        "random/0/cpu": torch.randint(0, 256, (16,), generator=generator, dtype=torch.uint8),
        "optimizer0/0/step": torch.tensor(float(seed)),
    }


def write(folder: Path, step: int) -> Path:
    return checkpoint.write(folder, step, tensors(step), {"step": step, "images": 10 * step})


def assert_holds(found: checkpoint.Checkpoint | None, step: int) -> None:
    assert found is not None
    assert found.state == {"step": step, "images": 10 * step}
    expected = tensors(step)
    assert found.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found.tensors[name], tensor)
        assert found.tensors[name].dtype == tensor.dtype


def test_roundtrip(tmp_path: Path) -> None:
    assert_holds(checkpoint.read(write(tmp_path, 3)), 3)


def test_channels_last_weights_come_back(tmp_path: Path) -> None:
    w = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    path = checkpoint.write(tmp_path, 1, {"w": w}, {})
    assert torch.equal(checkpoint.read(path).tensors["w"], w)


def test_newest_of_several(tmp_path: Path) -> None:
    for step in (5, 90, 1000):
        write(tmp_path, step)
    assert_holds(checkpoint.newest(tmp_path), 1000)


def test_none_in_an_empty_folder(tmp_path: Path) -> None:
    assert checkpoint.newest(tmp_path) is None


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _flip_one_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _lose_the_digest(path: Path) -> None:
    path.with_suffix(".sha256").unlink()


def _garble_the_digest(path: Path) -> None:
    path.with_suffix(".sha256").write_bytes(b"\xff\xfe")


@pytest.mark.parametrize("harm", [_truncate, _empty, _flip_one_bit, _lose_the_digest, _garble_the_digest])
def test_a_bad_one_is_named_and_the_one_before_is_used(
    harm: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path, 1)
    bad = write(tmp_path, 2)
    harm(bad)  # type: ignore[operator]
    with pytest.raises(ValueError, match="step-000000002"):
        checkpoint.read(bad)
    with caplog.at_level(logging.WARNING):
        assert_holds(checkpoint.newest(tmp_path), 1)
    assert "step-000000002" in caplog.text


def test_some_other_safetensors_file(tmp_path: Path) -> None:
    import hashlib

    from safetensors.torch import save

    path = tmp_path / "step-000000001.safetensors"
    path.write_bytes(save({"w": torch.zeros(3)}))
    path.with_suffix(".sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest())
    with pytest.raises(ValueError, match="not a checkpoint"):
        checkpoint.read(path)


def test_prune_keeps_the_newest(tmp_path: Path) -> None:
    for step in range(1, 6):
        write(tmp_path, step)
    checkpoint.prune(tmp_path, 2)
    assert [p.name for p in checkpoint.paths(tmp_path)] == [
        "step-000000004.safetensors",
        "step-000000005.safetensors",
    ]
    assert len(list(tmp_path.iterdir())) == 4  # two files each, nothing left over


@pytest.fixture
def small_files() -> Iterator[None]:
    """No file may grow past 8 kB: a write fails half-way, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_write_that_fails_half_way(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    write(tmp_path, 1)
    request.getfixturevalue("small_files")
    with pytest.raises(OSError, match=r"too large|space"):
        write(tmp_path, 2)
    assert_holds(checkpoint.newest(tmp_path), 1)
    assert [p.name for p in checkpoint.paths(tmp_path)] == ["step-000000001.safetensors"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]  # no half file stays


def test_a_rewrite_that_fails_half_way(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A run that is resumed may come to the same step again; if the disk is full then, the old checkpoint is good."""
    write(tmp_path, 1)
    write(tmp_path, 2)
    other = {"step": 2, "images": 7}
    request.getfixturevalue("small_files")
    for _ in range(2):
        with pytest.raises(OSError, match=r"too large|space"):
            checkpoint.write(tmp_path, 2, tensors(3), other)
        assert_holds(checkpoint.newest(tmp_path), 2)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    checkpoint.write(tmp_path, 2, tensors(3), other)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    found = checkpoint.newest(tmp_path)
    assert found is not None
    assert found.state == other
