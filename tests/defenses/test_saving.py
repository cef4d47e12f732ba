"""A defence is a whole Keras model: what it saves it loads, exports, rebuilds and goes on with."""

from __future__ import annotations

import functools
import json
import shutil
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from aad_tf import Classifier, export
from aad_tf.attacks import GradientSignAttack, a3, fgsm, pgd, step_ll, trades_pgd
from aad_tf.attention import TopCells
from aad_tf.defenses import (
    AADModel,
    AdversarialModel,
    EnsembleAdversarialModel,
    PairingModel,
    StandardModel,
    TradesModel,
)
from aad_tf.losses import AADLosses
from tests.networks import (
    SHAPE,
    batch_norm_network,
    bytes_of,
    called,
    random_images,
    small_network,
)

layers = keras.layers
COUNT = 8
IMAGES = random_images(COUNT)
LABELS = (np.arange(COUNT) % 3).astype("int32")
RANDOM = pgd(0.1, 0.05, 1)

DEFENSES = {
    "standard": functools.partial(StandardModel, label_smoothing=0.1),
    "adversarial": functools.partial(AdversarialModel, attack=RANDOM, replace_clean=True),
    "ensemble": lambda network, **options: EnsembleAdversarialModel(
        network,
        sources=[small_network(seed=7), Classifier.from_keras(small_network(seed=8), "conv")],
        attack=RANDOM,
        **options,
    ),
    "trades": functools.partial(TradesModel, attack=trades_pgd(0.1, 0.05, 1), beta=2.5),
    "pairing": functools.partial(
        PairingModel, attack=RANDOM, logit_weight=0.25, attention_weight=2.0
    ),
    "aad": functools.partial(
        AADModel,
        attack=step_ll(0.1, 2, relabel=False),
        weights=(3, 2, 1),
        losses=AADLosses.preset("reference_code").replace(threshold=TopCells(4), fill=(0.25,)),
        rounds="last",
        attention_noise="none",
        label_smoothing=0.2,
    ),
}
every_defense = pytest.mark.parametrize("defense", DEFENSES)


def compiled(defense="aad", network=None, **options):
    model = DEFENSES[defense](network or small_network(), seed=3, warmup_steps=9, **options)
    model.compile(keras.optimizers.Adam(0.01), metrics=["accuracy"], run_eagerly=True)
    return model


def fit(model, **options):
    options = {"batch_size": 4, "shuffle": False, "verbose": 0, **options}
    return model.fit(IMAGES, LABELS, **options).history


def config_of(model):
    """The config as a file holds it; Keras writes some shapes as tuples, others as lists."""
    return json.loads(json.dumps(model.get_config()))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """An AAD model after one epoch, and every file that it and its network write."""
    directory = tmp_path_factory.mktemp("saved")
    model = compiled()
    fit(model)
    model.save(directory / "defence.keras")
    model.save_weights(directory / "defence.weights.h5")
    model.save_weights(directory / "defence.weights.json", max_shard_size=1e-6)
    model.network.save(directory / "network.keras")
    model.network.save_weights(directory / "network.weights.h5")
    model.network.save(directory / "network.h5")
    return model, directory


@every_defense
def test_a_loaded_defence_goes_on_exactly(defense, tmp_path):
    """Random starts, draws of sources and warm-up go by the number of updates."""
    model = compiled(defense)
    model.train_on_batch(IMAGES, LABELS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded) is type(model)
    assert config_of(loaded) == config_of(model)
    assert int(loaded.optimizer.iterations) == 1 and loaded.run_eagerly
    assert bytes_of(loaded.optimizer.variables) == bytes_of(model.optimizer.variables)
    for each in (loaded, model):
        each.reset_metrics()
    steps = [each.train_on_batch(IMAGES, LABELS, return_dict=True) for each in (loaded, model)]
    assert steps[0] == steps[1]
    assert bytes_of(loaded.network.variables) == bytes_of(model.network.variables)


def test_defences_of_earlier_versions_hid_pixels_in_black():
    config = compiled().get_config()
    del config["losses"]["fill"]
    assert AADModel.from_config(config).parts.fill == 0.0


def test_keras_saving_writes_what_the_method_writes(trained, tmp_path):
    model, directory = trained
    keras.saving.save_model(model, tmp_path / "other.keras")
    contents = []
    for path in (tmp_path / "other.keras", directory / "defence.keras"):
        with zipfile.ZipFile(path) as archive:
            contents.append(json.loads(archive.read("config.json")))
    assert contents[0] == contents[1]
    loaded = keras.saving.load_model(tmp_path / "other.keras", compile=False)
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))


@pytest.mark.filterwarnings("error:Skipping variable loading:UserWarning")
@pytest.mark.parametrize("skip_mismatch", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "defence.keras",
        "defence.weights.h5",
        "defence.weights.json",
        "network.keras",
        "network.weights.h5",
        "network.h5",
    ],
)
def test_weights_of_a_defence_and_of_its_network_are_loaded(trained, name, skip_mismatch):
    model, directory = trained
    other = compiled(network=small_network(seed=1))
    other.load_weights(directory / name, skip_mismatch=skip_mismatch)
    assert bytes_of(other.network.variables) == bytes_of(model.network.variables)
    # Files of the defence hold the state of the optimizer too.
    assert int(other.optimizer.iterations) == (2 if name.startswith("defence") else 0)


def networks_of_one_child():
    """Files of a network and of its defence look alike when each level is a Sequential."""
    return keras.Sequential([keras.Input(SHAPE), small_network()])


def test_a_network_in_a_network_is_told_from_its_defence(tmp_path):
    model = StandardModel(networks_of_one_child())
    model.save_weights(tmp_path / "defence.weights.h5")
    model.network.save_weights(tmp_path / "network.weights.h5")
    for name in ("defence", "network"):
        other = StandardModel(networks_of_one_child())
        other.network.set_weights([0 * values for values in other.network.get_weights()])
        other.load_weights(tmp_path / f"{name}.weights.h5")
        assert bytes_of(other.network.variables) == bytes_of(model.network.variables)


@pytest.mark.parametrize("name", ["defence.keras", "network.weights.h5"])
def test_weights_of_another_network_change_nothing(trained, name):
    other = StandardModel(batch_norm_network())
    before = bytes_of(other.variables)
    with pytest.raises(ValueError, match=r"holds weights neither of this StandardModel nor of its"):
        other.load_weights(trained[1] / name)
    assert bytes_of(other.variables) == before


@pytest.mark.parametrize("name", ["defence.keras", "network.weights.h5"])
def test_layers_that_fit_are_loaded_on_request(trained, name):
    model, directory = trained
    scores = layers.Dense(5, name="scores")
    other = StandardModel(
        keras.Sequential([keras.Input(SHAPE), *small_network().layers[:-1], scores])
    )
    with pytest.warns(UserWarning, match="could not be loaded"):
        other.load_weights(directory / name, skip_mismatch=True)
    conv = other.get_layer("conv")
    assert bytes_of(conv.variables) == bytes_of(model.get_layer("conv").variables)


@pytest.mark.parametrize("name", ["cut.keras", "cut.weights.h5", "cut.h5", "notes.txt"])
def test_what_is_no_file_of_weights_is_said(trained, tmp_path, name):
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(ValueError, match="expected what save or save_weights of this model"):
        trained[0].load_weights(tmp_path / name)


def test_a_missing_file_is_said_to_be_missing(trained, tmp_path):
    with pytest.raises(FileNotFoundError):
        trained[0].load_weights(tmp_path / "missing.keras")


def test_h5_is_for_the_network_alone(trained, tmp_path):
    with pytest.raises(ValueError, match=r"The network alone can be written as \.h5: model\.net"):
        trained[0].save(tmp_path / "model.h5")


@pytest.mark.parametrize("name", ["best.keras", "best.weights.h5"])
def test_the_best_checkpoint_is_loaded_back(tmp_path, name):
    model = compiled("standard")
    best = keras.callbacks.ModelCheckpoint(
        tmp_path / name,
        monitor="val_loss",
        save_best_only=True,
        save_weights_only=name.endswith(".weights.h5"),
    )
    fit(model, epochs=2, validation_split=0.5, callbacks=[best])
    other = compiled("standard", small_network(seed=1))
    other.load_weights(tmp_path / name)
    scores = other.evaluate(IMAGES[4:], LABELS[4:], verbose=0, return_dict=True)
    assert scores["loss"] == pytest.approx(best.best, rel=1e-5)


def test_backup_and_restore(tmp_path):
    class Killed(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise KeyboardInterrupt

    # Its random starts differ from update to update.
    whole, killed = (compiled("adversarial") for _ in range(2))
    resumed = compiled("adversarial", small_network(seed=1))
    options = {"epochs": 2, "batch_size": COUNT}
    fit(whole, **options)
    with pytest.raises(KeyboardInterrupt):
        fit(killed, callbacks=[keras.callbacks.BackupAndRestore(tmp_path), Killed()], **options)
    fit(resumed, callbacks=[keras.callbacks.BackupAndRestore(tmp_path)], **options)
    assert bytes_of(resumed.network.variables) == bytes_of(whole.network.variables)


@every_defense
def test_a_config_is_json_and_rebuilds(defense):
    model = DEFENSES[defense](small_network(), name="mine")
    rebuilt = type(model).from_config(config_of(model))
    assert config_of(rebuilt) == config_of(model) and rebuilt.name == "mine"
    clone = keras.models.clone_model(model)
    assert config_of(clone) == config_of(model)
    # As of any model, the weights of a clone are its own.
    assert not {id(v) for v in clone.variables} & {id(v) for v in model.variables}


ATTACKS = {
    "name": fgsm(0.1).__class__(fgsm(0.1).objective, 0.1, name="mine"),
    "random start": pgd(0.1, 0.05, 2),
    "a3": a3(step_ll(0.1), sigma=10),
}


@pytest.mark.parametrize("kind", ATTACKS)
def test_attacks_come_back_with_their_names(kind):
    attack = ATTACKS[kind]
    rebuilt = AADModel.from_config(AADModel(small_network(), attack=attack).get_config())
    assert rebuilt.attack == attack and rebuilt.attack.name == attack.name


@keras.saving.register_keras_serializable("tests")
def largest_gap(one, other):
    return tf.reduce_max(tf.abs(one - other), axis=-1)


def test_distances_of_ones_own_are_written_as_keras_writes_functions(tmp_path):
    path = tmp_path / "model.keras"
    losses = AADLosses(rectification=largest_gap, threshold=0.25)
    model = AADModel(small_network(), attack=fgsm(0.1), losses=losses)
    model.save(path)
    assert keras.saving.load_model(path).parts == losses
    by_lambda = losses.replace(rectification=lambda one, other: largest_gap(one, other))
    with pytest.warns(UserWarning, match="includes a `lambda`"):
        AADModel(small_network(), attack=fgsm(0.1), losses=by_lambda).save(path)
    with pytest.raises(ValueError, match="safe_mode=False"):
        keras.saving.load_model(path)


def test_an_attack_of_ones_own_is_registered_before_it_is_loaded(tmp_path):
    def objective(classifier, images, labels):
        raise NotImplementedError

    objective.name = "mine"
    model = AdversarialModel(small_network(), attack=GradientSignAttack(objective, 0.1))
    model.save(tmp_path / "model.keras")
    with pytest.raises(ValueError, match="register_kind"):
        keras.saving.load_model(tmp_path / "model.keras")
    other = AdversarialModel(small_network(seed=1), attack=fgsm(0.1))
    other.load_weights(tmp_path / "model.keras")
    assert bytes_of(other.network.variables) == bytes_of(model.network.variables)


class Gate(layers.Layer):
    """Channel attention, as in CBAM, with a config of its own; not registered."""

    def __init__(self, reduction=2, **options):
        super().__init__(**options)
        self.reduction = reduction

    def build(self, shape):
        self.inner = layers.Dense(shape[-1] // self.reduction, activation="relu")
        self.outer = layers.Dense(shape[-1], activation="sigmoid")
        self.inner.build((None, shape[-1]))
        self.outer.build((None, shape[-1] // self.reduction))

    def call(self, features):
        gate = self.outer(self.inner(keras.ops.mean(features, axis=(1, 2))))
        return features * gate[:, None, None, :]

    def get_config(self):
        return {**super().get_config(), "reduction": self.reduction}


class Subclassed(keras.Model):
    """Layers without names of their own, called otherwise in every copy."""

    def __init__(self, filters=4, **options):
        super().__init__(**options)
        self.filters = filters
        self.first, self.second = layers.Conv2D(filters, 3), layers.Conv2D(filters, 3)
        self.scores = layers.Dense(3)

    def call(self, images):
        features = self.second(self.first(images))
        return self.scores(keras.ops.mean(features, axis=(1, 2)))

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


def functional():
    inputs = keras.Input(SHAPE)
    backbone = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3), layers.ReLU()])
    pooled = layers.GlobalAveragePooling2D()(backbone(inputs))
    return keras.Model(inputs, layers.Dense(3)(pooled))


CUSTOM = {"Gate": Gate, "Subclassed": Subclassed}


def sums() -> keras.Model:
    """Explained where `x + y` is computed, which makes no layer."""
    keras.utils.set_random_seed(0)
    images = keras.Input(SHAPE)
    x = layers.Conv2D(4, 3)(images)
    for _ in range(2):
        x = x + layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    return keras.Model(images, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def nested_sums() -> keras.Model:
    whole = sums()
    body = keras.Model(whole.input, whole.layers[-2].input)
    images = keras.Input(SHAPE)
    scores = layers.Dense(3)(layers.GlobalAveragePooling2D()(body(images)))
    return keras.Model(images, scores)


NETWORKS = {
    "functional with a nested model": functional,
    "batch normalization": batch_norm_network,
    "softmax at its end": lambda: small_network(final="softmax"),
    "layer of one's own": lambda: small_network(middle=[Gate()]),
    "subclassed": lambda: called(Subclassed()),
    "dropout": lambda: small_network(middle=[layers.Dropout(0.5, seed=1)]),
    "sums": sums,
    "sums in a nested model": nested_sums,
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_any_network_is_saved_with_its_defence(kind, tmp_path):
    model = StandardModel(NETWORKS[kind]())
    model.compile("sgd", run_eagerly=True)
    model.train_on_batch(IMAGES, LABELS)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras", custom_objects=CUSTOM)
    # Logits, also of a network that ends in a softmax.
    np.testing.assert_array_equal(loaded(IMAGES), model(IMAGES))
    features = [each.classifier(tf.constant(IMAGES)).features for each in (model, loaded)]
    np.testing.assert_array_equal(*features)
    model.network.save_weights(tmp_path / "network.weights.h5")
    loaded.load_weights(tmp_path / "network.weights.h5")
    assert loaded.input_shape == (None, *SHAPE) and loaded.output_shape == (None, 3)


@pytest.mark.parametrize("named", [None, "first"])
def test_the_layer_that_is_explained_and_the_bounds_come_back(named):
    network = called(Subclassed())
    name = None if named is None else network.first.name
    classifier = Classifier.from_keras(network, name, bounds=(-1, 1))
    model = AADModel(classifier, attack=fgsm(0.1))
    config = model.get_config()
    rebuilt = AADModel.from_config(config, CUSTOM)
    explained = rebuilt.classifier._attention
    assert explained is (rebuilt.network.first if named else rebuilt.network.second)
    assert explained.name != classifier.attention_layer
    assert rebuilt.classifier.bounds == (-1, 1)
    # A version that chooses another layer by itself still takes the one that was trained with.
    config["network"]["attention_index"] = 1 - config["network"]["attention_index"]
    other = AADModel.from_config(config, CUSTOM).classifier._attention
    assert other.name not in (None, explained.name)


def test_the_size_of_an_open_network_comes_back():
    network = keras.Sequential(
        [keras.Input((None, None, 1)), layers.Conv2D(3, 3), layers.GlobalAveragePooling2D()]
    )
    for given, expected in ((None, (None, None, 1)), ((9, 8, 1), (9, 8, 1))):
        model = StandardModel(network, input_shape=given)
        assert StandardModel.from_config(model.get_config()).classifier.input_shape == expected


def test_sources_are_saved_and_a_clone_asks_for_them(tmp_path):
    model = compiled("ensemble")
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert [bytes_of(each.variables) for each in loaded.sources] == [
        bytes_of(each.variables) for each in model.sources
    ]
    assert loaded.sources[1].attention_layer == "conv"
    clone = keras.models.clone_model(model)
    clone.compile("sgd", run_eagerly=True)
    uses = (
        lambda model: model.train_on_batch(IMAGES, LABELS),
        lambda model: model.save(tmp_path / "clone.keras"),
    )
    for use in uses:
        with pytest.raises(ValueError, match=r"holds no weights. Give trained ones: model.set_so"):
            use(clone)
    clone.set_sources(model.sources)
    assert np.isfinite(clone.train_on_batch(IMAGES, LABELS)).all()
    with pytest.raises(ValueError, match="sources holds no network"):
        clone.set_sources([])


def adapted(seed, mean):
    """A network behind a Normalization of variance 1/4; `mean` None leaves it as it was built."""
    normalization = layers.Normalization(axis=None)
    network = keras.Sequential(
        [keras.Input(SHAPE), normalization, *small_network(seed=seed).layers]
    )
    if mean is not None:
        normalization.adapt(np.float32([mean - 0.5, mean + 0.5]).reshape(2, 1, 1, 1))
    return network


def test_what_a_loaded_normalization_holds_is_seen(tmp_path):
    """Keras replaces its constants after the network was wrapped and traced."""
    options = {"attack": RANDOM, "sources": [adapted(7, 0.75)]}
    model = EnsembleAdversarialModel(adapted(3, 0.25), **options)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    other = EnsembleAdversarialModel(adapted(4, None), **options)
    other.classifier.predict_logits(IMAGES)
    other.load_weights(tmp_path / "model.keras")
    pairs = (
        (loaded.classifier, model.classifier, 0.25),
        (loaded.sources[0], model.sources[0], 0.75),
        (other.classifier, model.classifier, 0.25),
    )
    for found, expected, mean in pairs:
        logits = found.predict_logits(IMAGES)
        np.testing.assert_allclose(logits, expected.model(IMAGES), rtol=1e-4, atol=1e-6)
        assert found.zero_pixel == expected.zero_pixel == pytest.approx((mean,))
        attacked = fgsm(0.1)(found, IMAGES, LABELS)
        np.testing.assert_allclose(attacked, fgsm(0.1)(expected, IMAGES, LABELS))


def test_an_exported_source_has_no_config(tmp_path):
    source = Classifier.from_keras(small_network(seed=1))
    exported = export.load_classifier(export.export_saved_model(source, tmp_path / "source"))
    model = EnsembleAdversarialModel(small_network(), sources=[exported], attack=fgsm(0.1))
    with pytest.raises(NotImplementedError, match=r"save_weights, or \.network\.save"):
        model.save(tmp_path / "model.keras")
    model.save_weights(tmp_path / "model.weights.h5")


# What they export is one and the same; an ensemble holds networks besides.
@pytest.mark.parametrize("defense", ["ensemble", "aad"])
def test_an_export_gives_logits(defense, tmp_path):
    """After construction alone, as after fit."""
    network = small_network(final="softmax")
    model = DEFENSES[defense](network)
    model.export(tmp_path / "keras", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "keras")
    np.testing.assert_allclose(loaded.serve(IMAGES), model.predict(IMAGES, verbose=0), atol=1e-6)
    np.testing.assert_allclose(tf.nn.softmax(loaded.serve(IMAGES[:3])), network(IMAGES[:3]), 1e-5)
    if defense == "aad":
        # Of the classifier alone, which any defence holds alike.
        export.export_saved_model(model.classifier, tmp_path / "ours")
        served = tf.saved_model.load(tmp_path / "ours").signatures["serving_default"]
        np.testing.assert_allclose(served(images=IMAGES)["logits"], loaded.serve(IMAGES), atol=1e-6)


def test_shapes_layers_and_counts_are_those_of_the_network(trained, capsys):
    model, _ = trained
    network = model.network
    assert model.input_shape == network.input_shape and model.output_shape == network.output_shape
    assert model.inputs == network.inputs and model.outputs == network.outputs
    assert model.layers == [network]
    assert model.get_layer(index=0) is network is model.get_layer(network.name)
    assert model.get_layer("conv") is network.get_layer("conv")
    assert model.count_params() == network.count_params()
    features = keras.Model(model.inputs, model.get_layer("conv").output)
    assert features([IMAGES]).shape == (COUNT, 6, 6, 4)
    with pytest.raises(ValueError, match=r"No such layer: cnov.*'conv', 'pool'"):
        model.get_layer("cnov")
    model.summary(expand_nested=True)
    printed = capsys.readouterr().out
    assert "conv (Conv2D)" in printed and "(None, 3)" in printed
    assert not hasattr(StandardModel(called(Subclassed())), "inputs")


def test_a_subclass_with_a_compile_of_its_own_is_compiled_by_its_owner(tmp_path):
    class Own(StandardModel):
        def compile(self, rate):
            super().compile(keras.optimizers.SGD(rate))

    model = Own(small_network())
    model.compile(0.1)
    model.save(tmp_path / "model.keras")
    with pytest.warns(UserWarning, match="`compile\\(\\)` method is custom"):
        keras.saving.load_model(tmp_path / "model.keras", custom_objects={"Own": Own})


def test_a_directory_is_a_format_too(trained, tmp_path):
    trained[0].save(tmp_path / "model", zipped=False)
    shutil.move(tmp_path / "model", tmp_path / "moved")
    loaded = keras.saving.load_model(tmp_path / "moved")
    assert bytes_of(loaded.variables) == bytes_of(trained[0].variables)
