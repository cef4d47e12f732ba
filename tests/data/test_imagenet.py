"""ImageNet's own formats in small: TFDS's imagenet2012 and the archive of XML boxes."""

from __future__ import annotations

import gc
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.data import imagenet
from aad_tf.data.imagenet_boxes import parse_annotation, read_boxes
from aad_tf.data.imagenet_pictures import central_crop
from tests.data.imagenet_copies import jpeg, write_imagenet

WNIDS = ["n01440764", "n01751748", "n02256656", "n03000684"]
OBJECT = """\t<object>
\t\t<name>{name}</name>
\t\t<pose>Unspecified</pose>
\t\t<truncated>0</truncated>
\t\t<difficult>0</difficult>
\t\t<bndbox>
\t\t\t<xmin>{xmin}</xmin>
\t\t\t<ymin>{ymin}</ymin>
\t\t\t<xmax>{xmax}</xmax>
\t\t\t<ymax>{ymax}</ymax>
\t\t</bndbox>
\t</object>
"""
# Place in the split: label, (height, width) stored, objects (class, xmin, ymin, xmax, ymax).
PICTURES = {
    1: (1, (375, 500), [(1, 111, 108, 441, 193)]),
    2: (2, (333, 500), [(2, 250, 100, 500, 333), (2, 40, 60, 240, 300)]),
    3: (0, (500, 375), [(0, 0, 0, 375, 500), (3, 30, 50, 60, 90)]),
    # Annotated class other than the image's.
    4: (3, (375, 500), [(1, 100, 100, 200, 200)]),
    # Without an XML file.
    5: (3, (240, 320), None),
}


def stem(place):
    return f"ILSVRC2012_val_{place:08d}"


def drawn(place):
    """Black, and white within the boxes."""
    _, size, objects = PICTURES[place]
    image = np.zeros((*size, 3), np.uint8)
    for _, xmin, ymin, xmax, ymax in objects or []:
        image[ymin:ymax, xmin:xmax] = 255
    return image


def xml(place, size, objects, names=WNIDS):
    parts = [
        OBJECT.format(
            name=names[label], xmin=corners[0], ymin=corners[1], xmax=corners[2], ymax=corners[3]
        )
        for label, *corners in objects
    ]
    height, width = size
    return (
        f"<annotation>\n\t<folder>val</folder>\n\t<filename>{stem(place)}</filename>\n"
        "\t<source>\n\t\t<database>ILSVRC_2012</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n"
        "\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
        f"{''.join(parts)}</annotation>\n"
    )


def official():
    return {
        f"val/{stem(place)}.xml": xml(place, size, objects)
        for place, (_, size, objects) in PICTURES.items()
        if objects is not None
    }


def pack(path, files):
    with tarfile.open(path, "w:gz") as archive:
        directory = tarfile.TarInfo("val")
        directory.type = tarfile.DIRTYPE
        archive.addfile(directory)
        for name, content in files.items():
            encoded = content.encode()
            member = tarfile.TarInfo(name)
            member.size = len(encoded)
            archive.addfile(member, io.BytesIO(encoded))
    return path


def write_images(root, names=WNIDS):
    """Writes the pictures as a validation split alone."""
    pictures = [
        (jpeg(drawn(place)), label, f"{stem(place)}.JPEG")
        for place, (label, _, _) in PICTURES.items()
    ]
    return write_imagenet(root, {"validation": pictures}, names)


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def archive(tmp_path_factory) -> Path:
    return pack(tmp_path_factory.mktemp("archive") / "ILSVRC2012_bbox_val_v3.tgz", official())


def stream(images, archive, batch_size=5, **options):
    return data.boxed_batches(
        "imagenet2012", "validation", batch_size, images, annotations=archive, **options
    )


# One XML file -------------------------------------------------------------------------------


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


# The archive --------------------------------------------------------------------------------


def test_index_of_an_archive(archive):
    index = read_boxes(archive, WNIDS)
    assert index.stems == tuple(stem(place) for place in (1, 2, 3, 4))
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


# Pictures with their boxes ------------------------------------------------------------------


def test_batches(images, archive):
    (batch,) = stream(images, archive)
    assert batch["image"].shape == (5, 299, 299, 3)
    assert float(np.min(batch["image"])) >= 0 and float(np.max(batch["image"])) <= 1
    np.testing.assert_array_equal(batch["label"], [1, 2, 0, 3, 3])
    expected = [[1, -1], [2, 2], [0, 3], [1, -1], [-1, -1]]
    np.testing.assert_array_equal(batch["box_labels"], expected)
    # By hand: 375 rows lose int(375 / 16) = 23 on each side, 500 columns 31: 329 x 438 remain.
    first = [(108 - 23) / 329, (111 - 31) / 438, (193 - 23) / 329, (441 - 31) / 438]
    np.testing.assert_allclose(batch["boxes"][0, 0], first, rtol=0, atol=1e-6)
    # 333 rows lose 20: the second picture's first box reaches the lower right corner.
    np.testing.assert_allclose(batch["boxes"][1, 0, 2:], [1, 1])
    # The box of the whole picture is the whole crop.
    np.testing.assert_allclose(batch["boxes"][2, 0], [0, 0, 1, 1])


def test_boxes_lie_on_their_objects(images, archive):
    (batch,) = stream(images, archive)
    for place in (0, 1, 2):
        one = slice(place, place + 1)
        found = data.object_masks(
            batch["boxes"][one], batch["box_labels"][one], batch["label"][one], 299
        )[0]
        white = batch["image"][place, :, :, 0].numpy() > 0.5
        # JPEG and interpolation blur an edge by about a pixel.
        assert np.mean(found != white) < 0.005
        assert found.any()


def test_crop_and_resize_equal_tensorflows_own(images):
    picture = tf.cast(drawn(2), tf.float32) / 255
    example = {"image": picture, "boxes": tf.zeros([0, 4]), "box_labels": tf.zeros([0], tf.int32)}
    expected = tf.image.resize(tf.image.central_crop(picture, 0.875), (299, 299))
    np.testing.assert_array_equal(central_crop(example, (299, 299))["image"], expected)


def test_boxes_outside_the_crop_vanish():
    boxes = tf.constant([[0, 0, 0.05, 1], [0, 0, 0.5, 0.5]])
    example = {"image": tf.zeros([160, 320, 3]), "boxes": boxes, "box_labels": tf.constant([1, 2])}
    cropped = central_crop(example, (8, 8))
    # 140 of 160 rows remain from row 10, 280 of 320 columns from column 20.
    np.testing.assert_allclose(cropped["boxes"], [[0, 0, 0.5, 0.5]], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(cropped["box_labels"], [2])


def test_any_part_and_size(images, archive):
    whole = list(stream(images, archive, batch_size=1, image_size=32))
    assert whole[0]["image"].shape == (1, 32, 32, 3)
    # Stored in shards of three: the part crosses from one to the next.
    part = list(stream(images, archive, batch_size=1, start=2, stop=4, image_size=32))
    assert len(part) == 2
    for found, expected in zip(part, whole[2:4], strict=True):
        for key in expected:
            np.testing.assert_array_equal(found[key], expected[key])


def test_boxes_outlive_the_names_they_were_made_from(images, archive):
    batches = stream(images, archive, batch_size=2, image_size=32)
    gc.collect()
    assert [len(batch["label"]) for batch in batches] == [2, 2, 1]


def test_coverage_counts_images_without_boxes(images, archive):
    found = imagenet.coverage("validation", archive, images)
    assert found == imagenet.BoxCoverage(
        examples=5, without_annotation=1, without_label_box=1, dropped_boxes=0
    )


def test_info(images, archive, tmp_path):
    info = data.boxed_info("imagenet2012", images)
    assert info.num_examples == {"validation": 5}
    assert (info.num_classes, info.class_names) == (4, tuple(WNIDS))
    assert (info.image_shape, info.source) == ((299, 299, 3), "tfds imagenet2012/5.1.0")
    boxed = data.boxed_info("imagenet2012", images, annotations=archive, image_size=224)
    assert boxed.source == "tfds imagenet2012/5.1.0, boxes ILSVRC2012_bbox_val_v3.tgz"
    assert boxed.image_shape == (224, 224, 3)
    files = official()
    del files[f"val/{stem(1)}.xml"]
    fewer = pack(tmp_path / "ILSVRC2012_bbox_val_v3.tgz", files)
    other = data.boxed_info("imagenet2012", images, annotations=fewer)
    assert len({info.fingerprint, boxed.fingerprint, other.fingerprint}) == 3


def test_annotation_at_another_scale_is_used(images, archive, tmp_path):
    files = official()
    label, _, objects = PICTURES[1]
    halved = [(name, *(corner / 2 for corner in corners)) for name, *corners in objects]
    files[f"val/{stem(1)}.xml"] = xml(1, (188, 250), halved)
    path = pack(tmp_path / "boxes.tgz", files)
    (found,), (expected,) = (
        stream(images, source, stop=1, batch_size=1) for source in (path, archive)
    )
    np.testing.assert_allclose(found["boxes"], expected["boxes"], atol=0.005)


def test_annotation_of_another_shape_is_refused(images, tmp_path):
    files = official()
    files[f"val/{stem(2)}.xml"] = xml(2, (500, 333), [])
    path = pack(tmp_path / "boxes.tgz", files)
    message = rf"{stem(2)}.*\[333 500\].*\[500 333\].*belong to other pictures"
    with pytest.raises(tf.errors.InvalidArgumentError, match=message):
        list(stream(images, path))


def test_class_names_that_do_not_match(archive, tmp_path):
    root = write_images(tmp_path, names=["tench", "viper", "butterfly", "church"])
    message = "object 'n01751748' is none of the data set's 4 classes (tench, viper, butterfly, ..."
    with pytest.raises(ValueError, match=re.escape(message)):
        stream(root, archive)


def test_bad_requests(images, archive, tmp_path):
    with pytest.raises(ValueError, match="pass annotations=, the path of"):
        stream(images, None)
    with pytest.raises(ValueError, match="Unknown split 'test' .* has: validation"):
        data.boxed_batches("imagenet2012", "test", 1, images, annotations=archive)
    with pytest.raises(data.DatasetNotFoundError, match="put ILSVRC2012_img_val.tar"):
        stream(tmp_path, archive)


def test_copies_that_are_not_whole(archive, tmp_path):
    root = write_images(tmp_path)
    shard = sorted((root / "imagenet2012" / "5.1.0").glob("*.tfrecord*"))[1]
    shard.unlink()
    with pytest.raises(data.DatasetNotFoundError, match=re.escape(f"it lacks {shard}")):
        stream(root, archive)


def test_another_data_set_in_its_place(write_copy, archive, tmp_path):
    write_copy(tmp_path, "imagenet2012", train=2, test=1)
    with pytest.raises(
        ValueError, match="is not TFDS's imagenet2012: it lacks the features file_name"
    ):
        stream(tmp_path, archive)
