"""Images in folders: Keras's files, decoding and sizes, in the range that is asked for."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import data
from aad_tf.types import Bounds

SIZE = (10, 12)
NAMES = ("a cat", "bird", "dog")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Seven pictures of different sizes in three folders, made in another order than by name."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for folder, count in (("dog", 2), ("a cat", 3), ("bird", 2)):
        (root / folder).mkdir()
        for number in range(count):
            pixels = generator.integers(0, 256, (16 + number, 14, 3)).astype(np.uint8)
            encoded = tf.io.encode_png(pixels) if number else tf.io.encode_jpeg(pixels)
            (root / folder / f"{number}.{'png' if number else 'jpg'}").write_bytes(encoded.numpy())
    (root / "dog" / "notes.txt").write_text("no image")
    (root / "list.csv").write_text("no folder")
    return root


def all_of(dataset):
    images, labels = zip(*dataset, strict=True)
    return np.concatenate(images), np.concatenate(labels)


@pytest.mark.parametrize("channels", [1, 3])
def test_as_keras_reads_them(photos, channels):
    mode = {1: "grayscale", 3: "rgb"}[channels]
    expected = keras.utils.image_dataset_from_directory(
        photos, color_mode=mode, image_size=SIZE, shuffle=False, batch_size=3, verbose=False
    )
    found = data.image_folder(photos, 3, SIZE, bounds=(0, 255), channels=channels)
    assert [len(labels) for _, labels in found] == [3, 3, 1]
    for one, other in zip(all_of(found), all_of(expected), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found.element_spec == (
        tf.TensorSpec((None, *SIZE, channels), tf.float32),
        tf.TensorSpec((None,), tf.int32),
    )


@pytest.mark.parametrize("bounds", [(0, 1), Bounds(-1.0, 1.0), (2.0, 4.0)])
def test_pixels_lie_in_the_bounds(photos, bounds):
    raw, _ = all_of(data.image_folder(photos, 3, 16, bounds=(0, 255)))
    found, _ = all_of(data.image_folder(photos, 3, 16, bounds=bounds))
    lower, upper = bounds
    np.testing.assert_allclose(found, lower + (upper - lower) * raw / 255, atol=1e-6)
    assert raw.max() > 250 and found.max() > lower + 0.98 * (upper - lower)


def test_labels_and_description(photos):
    info = data.image_folder_info(photos, SIZE, channels=1)
    assert info.class_names == NAMES and info.num_classes == 3
    assert info.image_shape == (*SIZE, 1) and info.num_examples == {"all": 7}
    assert info.source == "7 images in folders" and info.name == photos.name
    _, labels = all_of(data.image_folder(photos, 4, SIZE))
    assert labels.tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_names_of_classes_give_the_numbers(photos):
    names = ["dog", "fish", "bird", "a cat"]
    _, labels = all_of(data.image_folder(photos, 4, SIZE, class_names=names))
    assert labels.tolist() == [3, 3, 3, 2, 2, 0, 0]
    assert data.image_folder_info(photos, SIZE, class_names=names).num_classes == 4


def test_chosen_images_are_those_of_the_whole(photos):
    images, labels = all_of(data.image_folder(photos, 3, SIZE))
    found = all_of(data.image_folder(photos, 2, SIZE, indices=[6, 0, 3]))
    np.testing.assert_array_equal(found[0], images[[6, 0, 3]])
    np.testing.assert_array_equal(found[1], labels[[6, 0, 3]])


def test_files_that_are_left_out_are_not_read(photos, tmp_path):
    copy = tmp_path / "photos"
    for path in sorted(photos.rglob("*.*")):
        if path.parent != photos:
            (copy / path.parent.name).mkdir(parents=True, exist_ok=True)
            (copy / path.parent.name / path.name).write_bytes(path.read_bytes())
    before = data.image_folder_info(copy, SIZE).fingerprint
    assert before == data.image_folder_info(photos, SIZE).fingerprint
    (copy / "a cat" / "0.jpg").write_text("<html>not found</html>")
    assert data.image_folder_info(copy, SIZE).fingerprint != before
    assert len(all_of(data.image_folder(copy, 3, SIZE, indices=range(1, 7)))[1]) == 6
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"0\.jpg is no image in JPEG, PNG"):
        all_of(data.image_folder(copy, 3, SIZE))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_names": ["bird", "dog"]}, "Unknown class of the folder 'a cat'.*Known: bird, dog"),
        ({"class_names": [*NAMES, "dog"]}, "holds a name twice"),
        ({"image_size": 0}, "any size: give the image_size"),
        ({"channels": 2}, "channels must be 1 or 3, got 2"),
        ({"bounds": (1, 0)}, "lower < upper"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"indices": []}, "indices is empty"),
    ],
)
def test_what_cannot_be_is_named(photos, changes, message):
    with pytest.raises(ValueError, match=message):
        data.image_folder(**{"directory": photos, "batch_size": 2, "image_size": SIZE, **changes})


@pytest.mark.parametrize("kind", ["bmp", "gif"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_gray_images_of_formats_that_are_decoded_in_colour(tmp_path, kind, mode):
    """Few colours, which the palette of a GIF holds exactly; weights of gray as in a JPEG."""
    pixels = np.random.default_rng(0).choice([0, 90, 255], (10, 12, 3)).astype(np.uint8)
    gray = pixels[..., 0] if mode == "L" else pixels @ [0.299, 0.587, 0.114]
    for folder in ("cat", "dog"):
        (tmp_path / folder).mkdir()
        shown = pixels if mode == "RGB" else pixels[..., :1]
        keras.utils.save_img(tmp_path / folder / f"1.{kind}", shown, scale=False)
    found, labels = all_of(data.image_folder(tmp_path, 2, SIZE, bounds=(0, 255), channels=1))
    assert list(labels) == [0, 1] and found.shape == (2, *SIZE, 1)
    np.testing.assert_allclose(found, np.broadcast_to(gray, (2, *SIZE))[..., None], atol=1.01)


@pytest.mark.parametrize("indices", [[True] * 3 + [False] * 4, [0.9, 4.7], ["1"]])
def test_indices_that_are_no_integers_are_refused(photos, indices):
    with pytest.raises(TypeError, match="indices must be integers, got"):
        data.image_folder(photos, 2, SIZE, indices=indices)


def test_a_directory_without_images_is_named(photos, tmp_path):
    with pytest.raises(ValueError, match="is no directory"):
        data.image_folder_info(tmp_path / "none", SIZE)
    with pytest.raises(ValueError, match="holds no folders"):
        data.image_folder_info(photos / "dog", SIZE)
    (tmp_path / "empty" / "cat").mkdir(parents=True)
    with pytest.raises(ValueError, match="No images found in directory"):
        data.image_folder_info(tmp_path / "empty", SIZE)
