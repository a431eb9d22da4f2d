"""CIFAR-10 in its layouts, the digits, image folders; and what damaged data says."""

import functools
import hashlib
import http.server
import io
import os
import pickle
import socket
import tarfile
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from cfgtoy.datasets import cifar10, digits, folder
from cfgtoy.datasets.resident import load_images

NAMES = (*cifar10.BATCHES["train"], *cifar10.BATCHES["test"])


def small_batches(per_batch: int = 7) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        name: (rng.integers(0, 256, (per_batch, 3072), np.uint8), rng.integers(0, 10, per_batch))
        for name in NAMES
    }


def pickled(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    batch = {
        b"batch_label": b"x",
        b"labels": [int(k) for k in labels],
        b"data": pixels,
        b"filenames": [b"f.png"],
    }
    return pickle.dumps(batch, protocol=2)


def write_folder(root, batches) -> None:
    (root / cifar10.FOLDER).mkdir(parents=True)
    for name, (pixels, labels) in batches.items():
        (root / cifar10.FOLDER / name).write_bytes(pickled(pixels, labels))


def write_archive(path, batches) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for name, (pixels, labels) in batches.items():
            raw = pickled(pixels, labels)
            member = tarfile.TarInfo(f"{cifar10.FOLDER}/{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))


def write_packed(root, batches) -> None:
    root.mkdir(parents=True)
    for name, (pixels, labels) in batches.items():
        nhwc = np.ascontiguousarray(pixels.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
        buffer = io.BytesIO()
        Image.fromarray(nhwc.reshape(-1, 32, 3)).save(buffer, "WEBP", lossless=True, exact=True)
        strip = np.frombuffer(buffer.getvalue(), np.uint8)
        digest = hashlib.sha256(nhwc.tobytes()).hexdigest()
        np.savez(root / f"{name}.npz", strip_00=strip, labels=labels.astype(np.uint8), sha256_nhwc=digest)


@pytest.fixture
def layouts(tmp_path):
    batches = small_batches()
    write_folder(tmp_path / "a", batches)
    write_archive(tmp_path / cifar10.ARCHIVE, batches)
    write_packed(tmp_path / "packed", batches)
    return tmp_path, batches


def test_every_layout_gives_the_same_arrays(layouts, monkeypatch):
    root, batches = layouts
    roots = [root / cifar10.ARCHIVE, root / "a", root / "a" / cifar10.FOLDER, root / "packed"]
    for split in ("train", "test"):
        pixels = np.concatenate([batches[name][0] for name in cifar10.BATCHES[split]])
        labels = np.concatenate([batches[name][1] for name in cifar10.BATCHES[split]])
        for path in roots:
            data = cifar10.load(split, path, verify=path.suffix != ".gz")
            assert np.array_equal(data.images.numpy().reshape(-1, 3072), pixels), path
            assert np.array_equal(data.labels.numpy(), labels), path
            assert data.classes == cifar10.CLASSES
    monkeypatch.setenv(cifar10.ENVIRONMENT, str(root / "packed"))
    assert torch.equal(cifar10.load("test").images, cifar10.load("test", root / "a").images)
    assert torch.equal(load_images("cifar10", "test").images, cifar10.load("test", root / "a").images)


@pytest.mark.skipif(not os.environ.get(cifar10.ENVIRONMENT), reason="no CIFAR-10 here")
def test_the_real_data(tmp_path):
    train, test = cifar10.load("train"), cifar10.load("test")
    assert train.images.shape == (50_000, 3, 32, 32)
    assert test.images.shape == (10_000, 3, 32, 32)
    assert train.labels.bincount().tolist() == [5000] * 10
    assert test.labels.bincount().tolist() == [1000] * 10
    mean = train.images.double().mean((0, 2, 3)) / 255
    assert torch.allclose(mean, torch.tensor([0.4914, 0.4822, 0.4465]).double(), atol=1e-4)
    rows = test.images.reshape(-1, 3072).numpy()
    write_folder(tmp_path, {name: (rows, test.labels.numpy()) for name in cifar10.BATCHES["test"]})
    again = cifar10.load("test", tmp_path / cifar10.FOLDER)
    assert torch.equal(again.images, test.images)


def test_an_archive_that_is_not_the_official_one_is_refused(layouts):
    root, _ = layouts
    with pytest.raises(ValueError, match="MD5"):
        cifar10.load("test", root / cifar10.ARCHIVE)


@pytest.mark.parametrize("keep", [0.02, 0.5, 0.95])
def test_a_truncated_archive_says_so(layouts, keep):
    path = layouts[0] / cifar10.ARCHIVE
    raw = path.read_bytes()
    path.write_bytes(raw[: int(len(raw) * keep)])
    with pytest.raises(ValueError, match=r"cifar-10-python\.tar\.gz: truncated or altered"):
        cifar10.load("test", path, verify=False)


@pytest.mark.parametrize("tenth", range(1, 10))
def test_an_altered_archive_says_so(layouts, tenth):
    path = layouts[0] / cifar10.ARCHIVE
    raw = bytearray(path.read_bytes())
    raw[len(raw) * tenth // 10] ^= 0xFF
    path.write_bytes(raw)
    with pytest.raises(ValueError, match="truncated or altered"):
        cifar10.load("test", path, verify=False)


def test_truncated_altered_and_missing_files_of_folders_are_named(layouts):
    root, _ = layouts
    batch = root / "a" / cifar10.FOLDER / "data_batch_3"
    batch.write_bytes(batch.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"data_batch_3: truncated or altered"):
        cifar10.load("train", root / "a")
    batch.unlink()
    with pytest.raises(FileNotFoundError, match="data_batch_3: missing"):
        cifar10.load("train", root / "a")
    packed = root / "packed" / "test_batch.npz"
    raw = packed.read_bytes()
    packed.write_bytes(raw[:-300])
    with pytest.raises(ValueError, match=r"test_batch\.npz: truncated or altered"):
        cifar10.load("test", root / "packed")
    packed.unlink()
    with pytest.raises(FileNotFoundError, match=r"test_batch\.npz: missing"):
        cifar10.load("test", root / "packed")
    with np.load(root / "packed" / "data_batch_1.npz") as stored:
        arrays = dict(stored)
    arrays["sha256_nhwc"] = np.array("0" * 64)
    np.savez(root / "packed" / "data_batch_1.npz", **arrays)
    with pytest.raises(ValueError, match="altered"):
        cifar10.load("train", root / "packed")


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.mkdir, (str(self.path),))


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    write_folder(tmp_path, small_batches())
    target = tmp_path / "made-by-the-pickle"
    (tmp_path / cifar10.FOLDER / "test_batch").write_bytes(
        pickle.dumps({b"data": Evil(target), b"labels": []})
    )
    with pytest.raises(ValueError, match=r"refuses to unpickle (posix|nt)\.mkdir"):
        cifar10.load("test", tmp_path)
    assert not target.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "not a dictionary"),
        ({b"labels": []}, "has no 'data'"),
        ({b"data": np.zeros((2, 5), np.uint8), b"labels": [0, 1]}, "not a CIFAR-10 batch"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0]}, "not a CIFAR-10 batch"),
        ({b"data": np.zeros((2, 3072), np.uint8), b"labels": [0, 10]}, "labels 0..10"),
        ({b"data": np.zeros((2, 3072), np.float32), b"labels": [0, 1]}, "takes bytes"),
        ({b"data": np.array([{}, {}], dtype=object), b"labels": [0, 1]}, "takes bytes"),
    ],
)
def test_a_batch_of_another_shape_is_refused(tmp_path, content, says):
    write_folder(tmp_path, small_batches())
    (tmp_path / cifar10.FOLDER / "test_batch").write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=says):
        cifar10.load("test", tmp_path)


def test_a_pickle_from_python_2_is_read(tmp_path):
    """The official files were written by Python 2: str for bytes, numpy.core for the array maker."""
    rows = bytes(range(256)) * 12
    raw = (
        b"\x80\x02}(U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        b"(K\x01K\x01M\x00\x0c\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff"
        b"\xffK\x00tb\x89T" + len(rows).to_bytes(4, "little") + rows + b"tbU\x06labels]K\x07au."
    )
    write_folder(tmp_path, small_batches())
    (tmp_path / cifar10.FOLDER / "test_batch").write_bytes(raw)
    data = cifar10.load("test", tmp_path)
    assert data.labels.tolist() == [7]
    assert data.images.flatten().tolist() == list(rows)
    expected = pickle.loads(raw, encoding="bytes")[b"data"]  # what numpy itself makes of it
    assert np.array_equal(data.images.numpy().reshape(1, -1), expected)


def test_nothing_to_read_says_what_is_taken(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"cifar-10-python\.tar\.gz"):
        cifar10.load("test", tmp_path)
    with pytest.raises(ValueError, match="split"):
        cifar10.load("val", tmp_path)
    monkeypatch.delenv(cifar10.ENVIRONMENT, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
    with pytest.raises(FileNotFoundError, match="download=False"):
        cifar10.load("test", download=False)


class Flaky(http.server.BaseHTTPRequestHandler):
    """Serves bytes, honours Range, and hangs up after a third of the file the first ``cuts`` times."""

    def __init__(self, payload, log, cuts, *args):
        self.payload, self.log, self.cuts = payload, log, cuts
        super().__init__(*args)

    def do_GET(self):
        begin = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.log.append(begin)
        rest = self.payload[begin:]
        self.send_response(206 if begin else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        if len(self.log) <= self.cuts:
            rest = rest[: len(self.payload) // 3]
        self.wfile.write(rest)

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    payload, log, servers = os.urandom(3 * 2**20), [], []

    def start(cuts):
        handler = functools.partial(Flaky, payload, log, cuts)
        servers.append(http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler))
        threading.Thread(target=servers[-1].serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{servers[-1].server_port}/{cifar10.ARCHIVE}", payload, log

    yield start
    for running in servers:
        running.shutdown()
        running.server_close()


def test_a_broken_download_goes_on_where_it_stopped(tmp_path, server):
    url, payload, log = server(cuts=2)
    md5 = hashlib.md5(payload).hexdigest()
    path = cifar10.fetch(tmp_path, url=url, md5=md5, progress=False)
    assert path.read_bytes() == payload
    assert log[0] == 0
    assert log[1] > 0
    assert log[2] > log[1]
    assert not path.with_name(path.name + ".part").exists()
    assert cifar10.fetch(tmp_path, url=url, md5=md5, progress=False) == path
    assert len(log) == 3  # nothing was asked again


def test_a_download_of_something_else_is_refused(tmp_path, server):
    url, _, _ = server(cuts=0)
    with pytest.raises(ValueError, match="hash"):
        cifar10.fetch(tmp_path, url=url, md5="0" * 32, progress=False)
    assert not (tmp_path / cifar10.ARCHIVE).exists()


def test_a_download_that_never_works_gives_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(OSError, match="could not download"):
        cifar10.fetch(tmp_path, url=f"http://127.0.0.1:{port}/{cifar10.ARCHIVE}", progress=False, retries=2)
    assert not (tmp_path / cifar10.ARCHIVE).exists()


def test_digits_are_split_once_and_keep_their_grey_levels():
    from sklearn.datasets import load_digits

    train, test, everything = digits.load("train"), digits.load("test"), digits.load("all")
    assert (len(train), len(test), train.shape) == (1498, 299, (1, 8, 8))
    assert len(everything) == 1797
    grey = torch.from_numpy(load_digits().images)
    assert torch.equal((everything.images[:, 0] * (16 / 255)).round().double(), grey)
    assert torch.equal(everything.images[5::6], test.images)
    assert (test.labels.bincount() > 20).all()
    with pytest.raises(ValueError, match="split"):
        digits.load("valid")


def test_a_folder_is_read_in_order_cropped_and_resized(tmp_path):
    for name, level in (("cats", 10), ("ants", 200)):
        (tmp_path / name).mkdir()
        for i in range(2):
            pixels = np.full((20, 40, 3), level + i, np.uint8)
            pixels[:, :10] = 0  # left quarter: cropped away
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    (tmp_path / "cats" / "notes.txt").write_text("not an image")
    data = folder.load(tmp_path, size=8)
    assert data.classes == ("ants", "cats")
    assert data.labels.tolist() == [0, 0, 1, 1]
    assert data.shape == (3, 8, 8)
    assert [int(image.unique()) for image in data.images] == [200, 201, 10, 11]
    assert folder.load(tmp_path, size=4, channels=1).shape == (1, 4, 4)
    assert torch.equal(load_images(tmp_path, size=8).images, data.images)


def test_a_folder_with_splits_numbers_classes_by_train(tmp_path):
    for part, names in (("train", "abc"), ("test", "c")):
        for name in names:
            (tmp_path / part / name).mkdir(parents=True)
            Image.new("L", (4, 4), 7).save(tmp_path / part / name / "0.png")
    assert folder.load(tmp_path, "test", size=4).labels.tolist() == [2]
    assert len(folder.load(tmp_path, "train", size=4)) == 3


def test_bad_folders_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        folder.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no images"):
        folder.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="'digits', 'cifar10'"):
        load_images("mnist")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    with pytest.raises(ValueError, match=r"broken\.png"):
        folder.load(tmp_path)
    for bad in ({"split": "all"}, {"split": "test"}, {"size": 0}, {"channels": 4}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            folder.load(tmp_path, **bad)
