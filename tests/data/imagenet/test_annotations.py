"""ImageNet's archive of XML boxes: what is read of it, and that wrong files are named."""

from __future__ import annotations

import re
import tarfile

import numpy as np
import pytest

from aad_tf import data
from aad_tf.data.imagenet.boxes import parse_annotation, read_boxes
from tests.data.imagenet.annotated_images import WNIDS, pack, stem, xml


def test_an_official_file():
    found = parse_annotation(xml(1, (375, 500), [(1, 111, 108, 441, 193)]).encode(), "it")
    assert (found.size, found.names) == ((375, 500), ("n01751748",))
    expected = [[108 / 375, 111 / 500, 193 / 375, 441 / 500]]
    np.testing.assert_allclose(found.boxes, expected, rtol=1e-6)
    assert parse_annotation(xml(1, (375, 500), []).encode(), "it").boxes.shape == (0, 4)


GOOD = xml(1, (375, 500), [(1, 111, 108, 441, 193)])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not XML at all", "val/a.xml is not XML: syntax error"),
        (GOOD[:300], "val/a.xml is not XML"),
        ("", "val/a.xml is not XML"),
        ("<html><body/></html>", "whose root is <annotation>, got <html>"),
        (GOOD.replace("size", "shape"), "val/a.xml: <size>/<height> is missing"),
        (GOOD.replace("height", "depth"), "<size>/<height> is missing"),
        (GOOD.replace("<width>500", "<width>0"), "<size> must be positive, got 0 x 375"),
        (GOOD.replace("bndbox", "box"), "val/a.xml: <object>/<bndbox>/<ymin> is missing"),
        (GOOD.replace("xmax", "right"), "<object>/<bndbox>/<xmax> is missing"),
        (GOOD.replace("441", "wide"), "<bndbox>/<xmax> must be a number, got 'wide'"),
        (GOOD.replace("441", "nan"), "must be a number, got 'nan'"),
        (GOOD.replace("n01751748", "n00000000"), "'n00000000' is none of the data set's 4 classes"),
        (GOOD.replace("<name>n01751748</name>", ""), "object '' is none of the data set's 4"),
    ],
)
def test_wrong_files_are_named(tmp_path, content, message):
    path = pack(tmp_path / "boxes.tgz", {"val/a.xml": content})
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_boxes(path, WNIDS)
    assert "val/a.xml" in str(caught.value)


def test_index_of_an_archive(archive):
    index = read_boxes(archive, WNIDS)
    assert index.stems == tuple(stem(number) for number in (1, 2, 3, 4))
    assert index.starts.tolist() == [0, 1, 3, 5, 6]
    assert index.labels.tolist() == [1, 2, 2, 0, 3, 1]
    assert index.sizes.tolist() == [[375, 500], [333, 500], [500, 375], [375, 500]]
    np.testing.assert_allclose(index.boxes[2], [60 / 333, 0.08, 300 / 333, 0.48], rtol=1e-6)
    assert (index.dropped, index.source) == (0, "ILSVRC2012_bbox_val_v3.tgz")


def test_unpacked_directory_gives_the_same(archive, tmp_path):
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path / "boxes", filter="data")
    unpacked, packed = read_boxes(tmp_path / "boxes", WNIDS), read_boxes(archive, WNIDS)
    assert unpacked.fingerprint == packed.fingerprint
    np.testing.assert_array_equal(unpacked.boxes, packed.boxes)


def test_boxes_beyond_the_edge_are_cut_and_useless_ones_counted(tmp_path):
    objects = [
        (1, -10, 5, 600, 380),
        (1, 300, 10, 200, 50),
        (1, 510, 10, 600, 50),
        (1, 5, 9, 5, 20),
    ]
    path = pack(tmp_path / "boxes.tgz", {"val/a.xml": xml(1, (375, 500), objects)})
    index = read_boxes(path, WNIDS)
    np.testing.assert_allclose(index.boxes, [[5 / 375, 0, 1, 1]], rtol=1e-6)
    assert (index.labels.tolist(), index.starts.tolist(), index.dropped) == ([1], [0, 1], 3)


def test_wrong_archives(archive, tmp_path):
    text = tmp_path / "boxes.tgz"
    text.write_text("<html>404</html>" * 100)
    with pytest.raises(ValueError, match="boxes.tgz is not a tar archive, or is cut short"):
        read_boxes(text, WNIDS)
    text.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(ValueError, match="boxes.tgz is not a tar archive, or is cut short"):
        read_boxes(text, WNIDS)
    with pytest.raises(data.DatasetNotFoundError, match="image-net.org and pass its path"):
        read_boxes(tmp_path / "absent.tgz", WNIDS)
    with pytest.raises(ValueError, match="holds no .xml file"):
        read_boxes(pack(tmp_path / "empty.tgz", {"val/readme.txt": "none"}), WNIDS)
    twice = {"val/a.xml": GOOD, "other/a.xml": GOOD}
    with pytest.raises(ValueError, match="holds a.xml twice"):
        read_boxes(pack(tmp_path / "twice.tgz", twice), WNIDS)
