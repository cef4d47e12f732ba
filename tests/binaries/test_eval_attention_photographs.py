"""eval.attention on photo-sized images: ImageNet2012's own formats, InceptionV3, its 8x8 grid."""

from __future__ import annotations

from pathlib import Path

import keras
import pytest

from aad_tf.attention_study.records import KEYS
from aad_tf.records import read_record_lines, read_summary
from tests.binaries.many_runs import Run, run_many
from tests.data.imagenet.annotated_images import WNIDS, official, pack, write_images, xml


def run(*flags: object) -> Run:
    (done,) = run_many("eval.attention", [["--dataset=imagenet2012", *flags]])
    return done


@pytest.mark.slow
def test_inception_v3_on_imagenet_with_official_boxes(tmp_path: Path) -> None:
    copy = write_images(tmp_path / "data")
    boxes = pack(tmp_path / "ILSVRC2012_bbox_val_v3.tgz", official())
    output = tmp_path / "out" / "photographs.jsonl.gz"
    flags = ("--network=inception_v3", "--methods=grad_cam", "--split=test")
    attack = ("--attack=step_ll", "--epsilon=4/255", "--rounds=1", "--batch_size=2")
    done = run(
        *flags, *attack, f"--data_dir={copy}", f"--annotations={boxes}", f"--output={output}"
    )
    assert done.code == 0, done.errors
    records = list(read_record_lines(output, KEYS))
    areas = [record["box_area"] for record in records]
    # The crop takes off 23 rows and 31 columns on each side of 375 x 500: the box from 111 to 441
    # and 108 to 193 covers 410 - 80 of 438 columns and 170 - 85 of 329 rows.
    assert areas[0] == pytest.approx(330 / 438 * 85 / 329, abs=0.005)
    assert areas[2] == 1.0
    assert areas[3:] == [None, None]
    summary = read_summary(output, "study")
    assert summary["study"]["attention_layer"] == "mixed10"
    assert summary["study"]["grid"] == [8, 8]
    assert summary["study"]["image_shape"] == [299, 299, 3]
    assert summary["counts"]["without_box"] == 2
    described = summary["description"]
    assert described["model"] == {"network": "inception_v3", "weights": None}
    assert described["dataset"]["boxes"] == {
        "examples": 5,
        "without_annotation": 1,
        "without_label_box": 1,
        "dropped_boxes": 0,
    }


def test_an_archive_of_other_images_is_refused(tmp_path: Path) -> None:
    copy = write_images(tmp_path / "data")
    other = {"val/elsewhere_00000001.xml": xml(1, (375, 500), [(1, 1, 1, 9, 9)])}
    boxes = pack(tmp_path / "other.tgz", other)
    network = keras.Sequential(
        [
            keras.Input((299, 299, 3)),
            keras.layers.Conv2D(2, 37, strides=37),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(len(WNIDS)),
        ]
    )
    network.save(tmp_path / "network.keras")
    flags = (f"--keras_model={tmp_path / 'network.keras'}", "--split=test", f"--data_dir={copy}")
    attack = ("--attack=fgsm", "--epsilon=4/255", f"--output={tmp_path / 'x.jsonl'}")
    done = run(*flags, *attack, f"--annotations={boxes}")
    assert done.code == 2
    assert "has boxes for none of the 5 images" in done.errors.splitlines()[-1]
