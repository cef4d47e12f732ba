"""Logits of TF-slim's own networks with weights by a recipe, for test_slim.py.

python -m tests.models.slim_reference PATH writes slim_reference.json beside this file. PATH holds
the package `nets` of research/slim of https://github.com/tensorflow/models; tf_slim 1.1 must be
installed, which needs TensorFlow 2.12 or older. The file has, of each network, the names and shapes
of its variables as slim declares them, and its logits for `images`. Weights follow from the
variables' names, so that none are kept.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).with_name("slim_reference.json")
# Height, width, channels and number of logits; those of InceptionV3 begin with a background class.
NETWORKS = {
    "InceptionV3": ((107, 107, 3), 6),
    "CifarNet": ((16, 16, 3), 4),
    "LeNet": ((12, 12, 1), 4),
}
EXAMPLES = 2


def values_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The value of a variable, float32: He's uniform distribution for weights.

    `RandomState` draws the same numbers in every version of NumPy.
    """
    drawn = np.random.RandomState(zlib.crc32(name.encode())).random_sample(shape)
    if name.endswith("/weights"):
        bound = np.sqrt(6.0 / np.prod(shape[:-1]))
        return (bound * (2.0 * drawn - 1.0)).astype(np.float32)
    if name.endswith("/moving_variance"):
        return (0.5 + drawn).astype(np.float32)
    return (0.4 * drawn - 0.2).astype(np.float32)


def images(shape: tuple[int, ...]) -> np.ndarray:
    """Images `[EXAMPLES, height, width, channels]` in [0, 1], float32."""
    return np.random.RandomState(0).random_sample((EXAMPLES, *shape)).astype(np.float32)


def main(path: str) -> None:
    """Runs slim's networks in inference mode and writes what they give."""
    sys.path.insert(0, path)
    import tensorflow.compat.v1 as tf
    import tf_slim
    from nets import cifarnet, lenet
    from tf_slim.nets import inception

    tf.disable_eager_execution()
    found: dict[str, Any] = {}
    for network, (shape, classes) in NETWORKS.items():
        with tf.Graph().as_default(), tf.Session() as session:
            given = tf.constant(images(shape))
            # LeNet takes pixels in [0, 1], the others in [-1, 1].
            if network == "LeNet":
                logits, _ = lenet.lenet(given, classes)
            elif network == "CifarNet":
                logits, _ = cifarnet.cifarnet(2.0 * given - 1.0, classes)
            else:
                with tf_slim.arg_scope(inception.inception_v3_arg_scope()):
                    logits, _ = inception.inception_v3(
                        2.0 * given - 1.0, classes, is_training=False
                    )
            variables = {each.op.name: each for each in tf.global_variables()}
            for name, variable in variables.items():
                variable.load(values_of(name, tuple(variable.shape.as_list())), session)
            found[network] = {
                "logits": session.run(logits).tolist(),
                "variables": {name: each.shape.as_list() for name, each in variables.items()},
            }
    lines = []
    for network, values in found.items():
        names = ",\n".join(
            f"   {json.dumps(name)}: {json.dumps(shape)}"
            for name, shape in values["variables"].items()
        )
        lines.append(
            f' "{network}": {{\n  "logits": {json.dumps(values["logits"])},\n'
            f'  "variables": {{\n{names}\n  }}\n }}'
        )
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
