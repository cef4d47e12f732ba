"""ImageNet2012 with InceptionV3 [AAD Sec. 4.1]: synchronous training on 50 workers.

Batch 32 on each worker, RMSProp (decay 0.9, momentum 0.9, epsilon 1.0), learning rate 0.045 at
1,600 examples per step, multiplied by 0.94 every two epochs, keep probability 0.8, label smoothing
0.1, Inception crops, from pre-trained weights, 63 epochs. The paper does not name the number of
epochs and the label smoothing: [AAD Fig. 5] ends at update 50,000, which is 63 epochs, and the
smoothing is that of Szegedy et al. (2016). The epsilon 0.3 is taken on the
[-1, 1] range of Inception's images, which is 0.15 here, where images lie in [0, 1].

`aad_step_ll` is the paper's defence; `clean`, `step_ll` and `ensemble` are what [AAD Table 5]
compares it with. On other numbers of workers the learning rate follows the global batch. Weights
are those that Keras publishes, downloaded once per machine; without a network give a file:
`--config.model_options="{'dropout_rate': 0.2, 'weights': 'inception_v3.weights.h5'}"`.

    python -m train.main --config=train/configs/imagenet2012.py:aad_step_ll \
        --strategy=multi_worker --model_dir=runs/imagenet2012_aad_step_ll

`small` is `aad_step_ll` on 40 classes at 107x107 pixels, from fresh weights, for two processes on
one machine; its attention layer mixed7 has 5x5 cells there, where mixed10 has 2x2.

    python -m train.local_cluster --workers=2 -- \
        --config=train/configs/imagenet2012.py:small --model_dir=runs/imagenet2012_small
"""

from __future__ import annotations

import dataclasses

from ml_collections import config_dict

from aad_tf.configs import DefenseConfig, ExperimentConfig
from train.configs import presets

ATTACKS = (
    "fgsm(epsilon=0.15)",
    "ifgsm(epsilon=0.075, num_steps=3)",
    "step_ll(epsilon=0.15)",
    "pgd(epsilon=4/255, step_size=1/255, num_steps=20)",
)
CLEAN = ExperimentConfig(
    reference="AAD Table 5, ImageNet2012, row 'clean model'",
    budget="50 workers with a GPU each; days. Not measured here: small is",
    dataset="imagenet2012",
    image_size=299,
    model="inception_v3",
    model_options={"dropout_rate": 0.2, "weights": "imagenet"},
    optimizer="rmsprop",
    optimizer_options={"rho": 0.9, "momentum": 0.9, "epsilon": 1.0},
    learning_rate=0.045,
    learning_rate_schedule="exponential",
    decay_epochs=2.0,
    decay_rate=0.94,
    label_smoothing=0.1,
    augmentation="inception",
    batch_size=1600,
    replica_batch_size=32,
    epochs=63,
    validation_examples=10_000,
    checkpoint_steps=200,
    evaluation_attacks=ATTACKS,
)
STEP_LL = dataclasses.replace(
    CLEAN,
    reference="AAD Table 5, ImageNet2012, row 'Adv. train with StepLL'",
    defense=DefenseConfig("adversarial", "step_ll(epsilon=0.15)"),
)
ENSEMBLE = dataclasses.replace(
    CLEAN,
    reference="AAD Table 5, ImageNet2012, ensemble adversarial training (Tramer et al. 2018)",
    defense=DefenseConfig(
        "ensemble", "step_ll(epsilon=0.15)", sources=("runs/imagenet2012_clean",)
    ),
)
AAD = dataclasses.replace(
    CLEAN,
    reference="AAD Table 5, ImageNet2012, row 'AAD with StepLL'",
    defense=DefenseConfig("aad", "step_ll(epsilon=0.15, num_steps=2)"),
)
SMALL = dataclasses.replace(
    AAD,
    reference="AAD Sec. 4.1, ImageNet2012, reduced resolution and classes",
    budget="two processes of one core each; see results/ for the measured time of a step",
    dataset="tiny_imagenet_boxes",
    image_size=107,
    model_options={"dropout_rate": 0.2},
    attention_layer="mixed7",
    learning_rate=0.045 * 16 / 1600,
    batch_size=16,
    replica_batch_size=0,
    epochs=1,
    validation_examples=100,
    checkpoint_steps=20,
)
PRESETS = {
    "clean": CLEAN,
    "step_ll": STEP_LL,
    "ensemble": ENSEMBLE,
    "aad_step_ll": AAD,
    "small": SMALL,
}


def get_config(preset: str | None = None) -> config_dict.ConfigDict:
    """The ConfigDict of a preset; `aad_step_ll` by default."""
    return presets.choose(PRESETS, preset, "aad_step_ll")
