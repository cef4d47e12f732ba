"""Tests of whether an attention map shows what the network uses; they need no ground truth.

`deletion` and `insertion` remove or add pixels in the order of the map, and record the probability
of the class. `max_sensitivity` measures how much the map changes under small changes of the image.
`randomization_check` measures whether the map depends on the weights of the network.

The last two take a *map function*: a function from classifier, images and classes, such as
`grad_cam` or `lime`, to maps `[batch, h, w]` or a `LimeExplanation`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from scipy import integrate, ndimage

from aad_tf.attention.areas import attention_area
from aad_tf.attention.grad_cam import class_scores
from aad_tf.attention.lime import LimeExplanation, constant_color, image_seeds
from aad_tf.classifier import Classifier, checked_inputs, tracing
from aad_tf.metrics import iou, rank_correlation
from aad_tf.utils.checks import check_choice, check_count
from aad_tf.utils.ops import at_least_float32, resize_maps

ClassifierMaps = Callable[[Classifier, Any, Any], Any]
# "mean", "blur", a number, or one number per channel.
Fill = Any

# What a map is compared with in the first entry of a randomisation check: itself, made again.
NO_LAYER = "none"
_FILLS = ("mean", "blur")
# Gaussian of RISE's insertion: standard deviation 5 pixels, 11 of them wide.
_BLUR_SIGMA = 5.0
# Radius of the ball of `max_sensitivity` as a fraction of the pixel range, as in Captum.
_RADIUS = 0.02


class PixelCurves(NamedTuple):
    """The probability of a class while pixels are removed or added in the order of a map.

    Attributes:
        fractions: float64 `[steps + 1]`, fraction of the pixels removed or added, from 0 to 1.
        probabilities: float64 `[batch, steps + 1]`, softmax probability of the class.

    Example:
        >>> PixelCurves(np.array([0.0, 0.5, 1.0]), np.array([[1.0, 0.5, 0.0]])).area
        array([0.5])
    """

    fractions: np.ndarray
    probabilities: np.ndarray

    @property
    def area(self) -> np.ndarray:
        """Area under each curve by the trapezoidal rule, float64 `[batch]` in [0, 1]."""
        return integrate.trapezoid(self.probabilities, self.fractions, axis=-1)


class RandomizedLayer(NamedTuple):
    """Similarity of attention maps before and after the weights of some layers are randomised.

    The layers from the logits back to `layer` have randomised weights, the others trained ones.

    Attributes:
        layer: name of the layer randomised last, after the names of the layers that contain it,
            such as `"block4_3_cbam/spatial/convolution"`; `"none"` if no layer is randomised.
        rank_correlation: float64 `[batch]`, Spearman's rank correlation with the maps of the
            trained network, in [-1, 1]; NaN where one of the two maps is constant.
        iou: float64 `[batch]` in [0, 1], IoU with the attention areas of the trained network; an
            area has the cells above the mean of their map.
    """

    layer: str
    rank_correlation: np.ndarray
    iou: np.ndarray


def deletion(
    classifier: Classifier,
    images: Any,
    maps: Any,
    class_ids: Any,
    *,
    num_steps: int = 50,
    fill: Fill = "mean",
    batch_size: int = 50,
) -> PixelCurves:
    """Probability of a class while pixels are removed, those of highest attention first.

    If the map shows what the network uses, the probability falls early and the area under the curve
    is small. Its size also depends on image and network, so compare it with the areas for
    `random_maps` and `center_map`, which do not depend on the network.

    Pixels are ranked by the map, resized bilinearly to the image. Of equal pixels the earlier one,
    row by row, is removed first. Every step removes `H * W / num_steps` pixels, rounded.

    Args:
        classifier: the network; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        maps: float `[batch, h, w]` of any grid and sign, such as those of `grad_cam`; or a
            `LimeExplanation`.
        class_ids: int `[batch]`, the class whose probability is recorded.
        num_steps: number of steps, at least 1.
        fill: what removed pixels become: `"mean"`, the mean colour of the image; `"blur"`, the
            image blurred by a Gaussian of standard deviation 5 pixels, cut off at 5 pixels; or a
            colour in the unit of the images, one number or one per channel.
        batch_size: number of images that go through the network at a time.

    Returns:
        PixelCurves; their `area` is the deletion metric, of which lower is better.

    Raises:
        TypeError: no Classifier, images or maps not floating point, counts not integers.
        ValueError: images or maps of wrong rank or shape, with NaN or out of range, unknown
            classes, a count below 1, or an unknown fill.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> maps = grad_cam(classifier, images, labels)
        >>> areas = deletion(classifier, images, maps, labels).area  # [batch]

    Petsiuk, Das, Saenko, "RISE: Randomized Input Sampling for Explanation of Black-box Models"
    (2018), Sec. 4.3. There removed pixels become a constant, the mean colour of the data.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    empty = _filled(classifier, images.numpy(), fill, "fill")
    return _curves(classifier, images, empty, maps, class_ids, num_steps, batch_size)


def insertion(
    classifier: Classifier,
    images: Any,
    maps: Any,
    class_ids: Any,
    *,
    num_steps: int = 50,
    start: Fill = "blur",
    batch_size: int = 50,
) -> PixelCurves:
    """Probability of a class while pixels are added to an empty image, highest attention first.

    If the map shows what the network uses, the probability rises early and the area under the curve
    is large. Its size also depends on image and network, so compare it with the areas for
    `random_maps` and `center_map`.

    Pixels are ranked by the map, resized bilinearly to the image. Of equal pixels the earlier one,
    row by row, is added first. Every step adds `H * W / num_steps` pixels, rounded.

    Args:
        classifier: the network; runs in inference mode.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        maps: float `[batch, h, w]` of any grid and sign, such as those of `grad_cam`; or a
            `LimeExplanation`.
        class_ids: int `[batch]`, the class whose probability is recorded.
        num_steps: number of steps, at least 1.
        start: the image to which pixels are added: `"blur"`, the image blurred by a Gaussian of
            standard deviation 5 pixels, cut off at 5 pixels; `"mean"`, the mean colour of the
            image; or a colour in the unit of the images, one number or one per channel.
        batch_size: number of images that go through the network at a time.

    Returns:
        PixelCurves; their `area` is the insertion metric, of which higher is better.

    Raises:
        TypeError: no Classifier, images or maps not floating point, counts not integers.
        ValueError: images or maps of wrong rank or shape, with NaN or out of range, unknown
            classes, a count below 1, or an unknown start.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> maps = grad_cam(classifier, images, labels)
        >>> areas = insertion(classifier, images, maps, labels, start=0.0).area  # [batch]

    Petsiuk, Das, Saenko (2018), Sec. 4.3.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    empty = _filled(classifier, images.numpy(), start, "start")
    return _curves(classifier, tf.constant(empty), images, maps, class_ids, num_steps, batch_size)


def random_maps(seeds: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Random maps as a baseline of `deletion` and `insertion`: independent uniform numbers.

    Make them on the grid of the maps that they are compared with. On a finer grid they would hide
    single pixels all over the image, which coarse maps never do, so that curves would differ
    because of the grid and not because of the places.

    Args:
        seeds: one non-negative integer per map.
        size: rows and columns of a map.

    Returns:
        float32 `[maps, rows, columns]` in [0, 1).

    Example:
        >>> baseline = random_maps(range(len(images)), maps.shape[1:])
    """
    draws = [np.random.default_rng(seed).random(size, np.float32) for seed in seeds]
    return np.stack(draws)


def center_map(size: tuple[int, int]) -> np.ndarray:
    """A map as a baseline of `deletion` and `insertion`: a Gaussian at the centre of the image.

    Args:
        size: rows and columns of the map.

    Returns:
        float32 `[rows, columns]` in (0, 1]; its standard deviation along each axis is a quarter of
        that side.

    Example:
        >>> float(center_map((3, 3))[1, 1])
        1.0
    """
    rows, columns = ((np.arange(count) + 0.5) / count - 0.5 for count in size)
    squares = rows[:, np.newaxis] ** 2 + columns**2
    return np.exp(-squares / (2 * 0.25**2)).astype(np.float32)


def max_sensitivity(
    map_function: ClassifierMaps,
    classifier: Classifier,
    images: Any,
    class_ids: Any,
    *,
    radius: float | None = None,
    num_draws: int = 10,
    seed: int | Sequence[int] = 0,
) -> np.ndarray:
    """Max-sensitivity: the largest relative change of a map under small changes of the image.

        max over images y with |y - x| <= radius of ||map(y) - map(x)|| / ||map(x)||

    Here |y - x| is the l-inf norm over pixels, and ||.|| the l2-norm over cells. The maximum is
    taken over random images y, uniform in the ball and clipped to the pixel range. The original
    definition has no denominator; it is added, as in Captum and Quantus, to make maps of
    different scale comparable. Lower is more stable.

    It computes `num_draws + 1` maps of each image: with the default 10 draws that takes 11 forward
    passes and gradients for `grad_cam`, but up to 11,000 passes for `lime` with 1,000 samples.

    Args:
        map_function: function from classifier, images and classes to maps, such as `grad_cam`. A
            function that is random itself, as `lime`, changes the map between calls, unless it gets
            fixed seeds: `functools.partial(lime, seed=[0] * len(images))`.
        classifier: the network.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained, the same for all draws.
        radius: radius of the l-inf ball, in the unit of the images; None for 0.02 times the width
            of the pixel range.
        num_draws: number of random images around each image, at least 1.
        seed: an integer, which together with the pixels of an image determines its draws; or one
            integer per image, which alone determines them, so that an image and its adversarial
            image can have the same draws.

    Returns:
        float64 `[batch]`, at least 0; 0 where the map never changes, NaN where the map of the image
        is all zero and another one is not.

    Raises:
        TypeError: no Classifier, images or maps not floating point, counts not integers, a radius
            that is not a number, or a `map_function` that is no function.
        ValueError: images of wrong rank or shape, with NaN or out of range, unknown classes, a
            radius out of range, or maps of different shapes.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> changes = max_sensitivity(grad_cam, classifier, images, labels)  # [batch]

    Yeh et al., "On the (In)fidelity and Sensitivity of Explanations" (2019), Definition 2.1 and
    its Monte Carlo estimate.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    check_count(num_draws, "num_draws")
    lower, upper = classifier.bounds
    radius = check_radius(radius, classifier)
    pixels = images.numpy()
    generators = [np.random.default_rng(entropy) for entropy in image_seeds(seed, pixels)]
    original = _maps_of(map_function, classifier, images, class_ids)
    largest = np.zeros(len(pixels))
    for _ in range(num_draws):
        noise = [generator.uniform(-radius, radius, pixels.shape[1:]) for generator in generators]
        drawn = np.clip(pixels + np.stack(noise), lower, upper).astype(pixels.dtype)
        changed = _maps_of(map_function, classifier, tf.constant(drawn), class_ids)
        if changed.shape != original.shape:
            raise ValueError(
                f"map_function returned maps of shape {original.shape}, then {changed.shape}."
            )
        largest = np.maximum(largest, _norms(changed - original))
    norms = _norms(original)
    known = np.where(norms > 0, largest / np.where(norms > 0, norms, 1.0), np.nan)
    return np.where(largest == 0, 0.0, known)


def randomization_check(
    map_function: ClassifierMaps,
    classifier: Classifier,
    images: Any,
    class_ids: Any,
    *,
    seed: int = 0,
) -> list[RandomizedLayer]:
    """Sanity check of an attention map: whether it depends on the trained weights.

    The weights of one layer after the other, from the logits to the image, are randomised and stay
    so (cascading randomisation). After each layer the maps are compared with those of the trained
    network. Maps that explain the network become dissimilar; maps that stay similar depend on the
    image alone, for instance on its edges.

    Randomising permutes the entries of each weight tensor. Unlike new values from the layer's
    initializer, this keeps the size of activations, and works with initializers of zeros.

    It computes a map of each image for every layer that has weights, and two more. For `grad_cam`
    each takes one pass of the network, for `lime` up to 1,000.

    The weights of the network itself are changed, so nothing else may use it meanwhile. They are
    restored bit for bit at the end, also after an error.

    Args:
        map_function: function from classifier, images and classes to maps, such as `grad_cam`.
        classifier: the network, a wrapped Keras model.
        images: float `[batch, H, W, C]` within the classifier's bounds.
        class_ids: int `[batch]`, the class that is explained for each image.
        seed: seed of the permutations, a non-negative integer.

    Returns:
        A list of RandomizedLayer, one for each layer that has weights, the one nearest to the
        logits first; all names differ. Before them comes one named `"none"`, which compares the
        maps with those of a second call without randomised weights: its similarity is 1 unless the
        map function is random.

    Raises:
        TypeError: no Classifier, an exported network (its layers are not known), images or maps not
            floating point, a seed that is not an integer, or a `map_function` that is no function.
        ValueError: images of wrong rank or shape, with NaN or out of range, unknown classes, a
            negative seed, or maps of wrong shape or with NaN.
        RuntimeError: a call inside a `tf.function`.

    Example:
        >>> for step in randomization_check(grad_cam, classifier, images, labels):
        ...     print(step.layer, np.nanmean(step.rank_correlation))

    Adebayo et al., "Sanity Checks for Saliency Maps" (2018), Sec. 3.1. There weights are drawn anew
    from their initial distributions, and maps are compared by SSIM too.
    """
    images, class_ids = checked_inputs(classifier, images, class_ids, name="class_ids")
    layers = weighted_layers(classifier)
    generator = np.random.default_rng(check_count(seed, "seed", least=0))
    trained = _maps_of(map_function, classifier, images, class_ids)
    steps = []
    with _weights_put_back(classifier.model):
        for name, weights in [(NO_LAYER, []), *layers]:
            for weight in weights:
                values = keras.ops.convert_to_numpy(weight)
                weight.assign(generator.permutation(values.reshape(-1)).reshape(values.shape))
            maps = _maps_of(map_function, classifier, images, class_ids)
            steps.append(RandomizedLayer(name, *_likeness(trained, maps)))
    return steps


def weighted_layers(classifier: Classifier) -> list[tuple[str, list[keras.Variable]]]:
    """Lists the layers that have weights, from the logits to the image.

    Args:
        classifier: a wrapped Keras model.

    Returns:
        Pairs of a path and the layer's own weights. The path is the layer's name after the names
        of the layers that contain it, such as `"cbam/spatial/convolution"`. A layer that is called
        several times is placed by its first call. Weights of the model outside of its layers come
        first.

    Raises:
        TypeError: an exported network, which has no Keras model.
    """
    model = getattr(classifier, "model", None)
    if model is None:
        raise TypeError(
            "randomization_check needs the layers of a Keras model, and an exported network has "
            "none. Load its .keras file and wrap it with Classifier.from_keras; a study leaves the "
            "check out with randomized_images=0."
        )
    key = "weighted_layers"
    if key in classifier.compiled:
        return classifier.compiled[key]
    calls: list[tracing.LayerCall] = []

    def forward(images: tf.Tensor) -> tf.Tensor:
        with tracing.recording(tracing.layers_and_operations(model), calls.append):
            return classifier(images).logits

    tf.function(forward, autograph=False).get_concrete_function(classifier.image_spec)
    paths = tracing.layer_paths(model)
    # Inner layers finish first, so a layer made of others is left with what is its own.
    found: list[tuple[str, list[keras.Variable]]] = []
    taken: set[int] = set()
    for layer in (*(call.layer for call in calls), model):
        own = [each for each in getattr(layer, "weights", ()) if id(each) not in taken]
        taken.update(map(id, own))
        if own:
            found.append((paths[id(layer)], own))
    classifier.compiled[key] = found[::-1]
    return classifier.compiled[key]


def check_fill(fill: Fill, classifier: Classifier, name: str) -> None:
    """Checks the colour of removed pixels for `deletion` and `insertion`.

    Args:
        fill: `"mean"`, the mean colour of the image; `"blur"`, the blurred image; or a colour in
            the unit of the images, one number or one per channel.
        classifier: the network whose images it is for.
        name: name of the argument in the error message.

    Raises:
        ValueError: another name, another number of channels, or a colour outside of the pixel
            range.
    """
    if isinstance(fill, str):
        check_choice(fill, _FILLS, name)
    else:
        constant_color(fill, classifier, name)


def check_radius(radius: float | None, classifier: Classifier) -> float:
    """Checks the radius of the l-inf ball of `max_sensitivity`.

    Args:
        radius: a number, in the unit of the images; None for the default.
        classifier: the network, whose bounds are the pixel range.

    Returns:
        The radius as a float; by default 0.02 times the width of the pixel range.

    Raises:
        TypeError: not a number.
        ValueError: not in (0, width of the pixel range].
    """
    lower, upper = classifier.bounds
    if radius is None:
        return _RADIUS * (upper - lower)
    if isinstance(radius, bool) or not isinstance(radius, (int, float, np.floating, np.integer)):
        raise TypeError(f"radius must be a number, got {radius!r}.")
    if not 0 < radius <= upper - lower:
        raise ValueError(
            f"radius must lie in (0, {upper - lower}], the width of the pixel range; got {radius}."
        )
    return float(radius)


def _filled(classifier: Classifier, images: np.ndarray, fill: Fill, name: str) -> np.ndarray:
    """The images with all pixels removed."""
    check_fill(fill, classifier, name)
    if isinstance(fill, str):
        # SciPy takes no half precision, and NumPy adds up bfloat16 in bfloat16, which stops at 256.
        precise = images.astype(np.result_type(images.dtype, np.float32))
        if fill == "mean":
            filled = np.broadcast_to(precise.mean((1, 2), keepdims=True), images.shape)
        else:
            sigma = (0, _BLUR_SIGMA, _BLUR_SIGMA, 0)
            filled = ndimage.gaussian_filter(precise, sigma, mode="nearest", truncate=1.0)
        return filled.astype(images.dtype)
    color = constant_color(fill, classifier, name)
    return np.broadcast_to(color, images.shape).astype(images.dtype)


def _curves(
    classifier: Classifier,
    first: tf.Tensor,
    last: Any,
    maps: Any,
    class_ids: tf.Tensor,
    num_steps: int,
    batch_size: int,
) -> PixelCurves:
    """The probabilities on the way from the first images to the last."""
    check_count(num_steps, "num_steps")
    check_count(batch_size, "batch_size")
    height, width = first.shape[1:3]
    ranks = _ranks(maps, len(first), (height, width))
    counts = np.round(np.linspace(0, height * width, num_steps + 1)).astype(np.int32)
    grid = tf.TensorSpec((None, *classifier.input_shape[:2]), tf.int32)
    images, integers = classifier.image_spec, classifier.labels_spec
    function = classifier.cached_function(
        "exchanged_pixels",
        lambda *inputs: _exchanged_probabilities(classifier, *inputs),
        [images, images, grid, integers, integers, integers],
    )
    fixed = [tf.convert_to_tensor(value) for value in (first, last, ranks, class_ids)]
    rows, steps = np.divmod(np.arange(len(first) * len(counts), dtype=np.int32), len(counts))
    found = [
        function(*fixed, tf.constant(rows[chosen]), tf.constant(counts[steps[chosen]])).numpy()
        for chosen in _slices(len(rows), batch_size)
    ]
    probabilities = np.concatenate(found).astype(np.float64).reshape(len(first), len(counts))
    return PixelCurves(counts / counts[-1], probabilities)


def _exchanged_probabilities(
    classifier: Classifier,
    first: tf.Tensor,
    last: tf.Tensor,
    ranks: tf.Tensor,
    class_ids: tf.Tensor,
    rows: tf.Tensor,
    counts: tf.Tensor,
) -> tf.Tensor:
    """Probabilities `[n]` of image `rows[i]` with its `counts[i]` highest pixels exchanged."""
    exchanged = tf.gather(ranks, rows) < counts[:, tf.newaxis, tf.newaxis]
    mixed = tf.where(exchanged[..., tf.newaxis], tf.gather(last, rows), tf.gather(first, rows))
    logits = classifier(mixed, training=False).logits
    return class_scores(tf.nn.softmax(at_least_float32(logits)), tf.gather(class_ids, rows))


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(begin, begin + size) for begin in range(0, count, size))


def _ranks(maps: Any, batch_size: int, size: tuple[int, int]) -> np.ndarray:
    """Rank of each pixel by maps, int32 `[batch, height, width]`: 0 for the highest."""
    maps = _checked_maps(maps, batch_size, "maps")
    # In float64, so that equal cells stay equal: their weights sum to 1 up to its last bits.
    resized = resize_maps(tf.constant(maps), size).numpy().astype(np.float32)
    order = np.argsort(-resized.reshape(batch_size, -1), axis=1, kind="stable")
    ranks = np.empty_like(order, np.int32)
    np.put_along_axis(ranks, order, np.arange(order.shape[1], dtype=np.int32)[np.newaxis], axis=1)
    return ranks.reshape(batch_size, *size)


def _maps_of(
    map_function: ClassifierMaps, classifier: Classifier, images: tf.Tensor, class_ids: tf.Tensor
) -> np.ndarray:
    if not callable(map_function):
        raise TypeError(
            f"map_function must be a function of classifier, images and classes, as grad_cam is, "
            f"got {map_function!r}."
        )
    found = map_function(classifier, images, class_ids)
    return _checked_maps(found, len(images), "maps of map_function")


def _checked_maps(maps: Any, batch_size: int, name: str) -> np.ndarray:
    """Maps as float64 `[batch, h, w]`, or says what is wrong with them."""
    if isinstance(maps, LimeExplanation):
        maps = maps.map()
    try:
        array = np.asarray(maps)
    except ValueError as error:
        raise ValueError(
            f"{name} must have shape [batch, h, w] with a batch of {batch_size}, got a "
            f"{type(maps).__name__} of arrays of several shapes."
        ) from error
    if not np.issubdtype(array.dtype, np.floating):
        raise TypeError(f"{name} must be floating point, got {array.dtype}.")
    if array.ndim != 3 or len(array) != batch_size or 0 in array.shape:
        raise ValueError(
            f"{name} must have shape [batch, h, w] with a batch of {batch_size}, got {array.shape}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} hold NaN or infinity.")
    return array.astype(np.float64)


def _norms(maps: np.ndarray) -> np.ndarray:
    return np.sqrt((maps**2).sum((1, 2)))


def _likeness(trained: np.ndarray, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    areas = (attention_area(tf.constant(each)) for each in (trained, maps))
    return rank_correlation(trained, maps), iou(*areas).numpy().astype(np.float64)


@contextlib.contextmanager
def _weights_put_back(model: keras.Model) -> Iterator[None]:
    """Puts the weights of a model back on leaving the context, also after an error."""
    before = [(weight, np.array(keras.ops.convert_to_numpy(weight))) for weight in model.weights]
    try:
        yield
    finally:
        for weight, value in before:
            weight.assign(value)
