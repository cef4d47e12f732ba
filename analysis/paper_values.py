"""The numbers that [AAD] prints, as data, with notes where the paper contradicts itself.

`TABLE_5` is a mapping by data set. The numbers of the CBAM study are in
`analysis/agrawal_values.py`.

    [AAD]      Wu et al., "Attention, Please! Adversarial Defense via Attention Rectification and
               Preservation", 2018.

Percentages are in percent, IoU and confidence in [0, 1], and epsilon is in the paper's own unit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class PaperTable:
    """One printed table.

    Attributes:
        source: where it is printed, e.g. `AAD Table 5, MNIST`.
        caption: what it shows.
        columns: names of the columns.
        rows: values by row name, in the order of `columns`.
        notes: what a reader must know before comparing, contradictions in the paper first.

    Example:
        >>> TABLE_5["mnist"].value("AAD with StepLL", "PGD30")
        76.44
    """

    source: str
    caption: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[float, ...]]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, values in self.rows.items():
            if len(values) != len(self.columns):
                raise ValueError(
                    f"{self.source}, row {name!r}: {len(values)} values for "
                    f"{len(self.columns)} columns."
                )

    def value(self, row: str, column: str) -> float:
        """The printed number of a cell.

        Args:
            row: name of the row.
            column: name of the column.

        Returns:
            The number, in the unit of the table.

        Raises:
            KeyError: no such row or column; the message lists the known ones.
        """
        if row not in self.rows or column not in self.columns:
            raise KeyError(
                f"{self.source} has no cell ({row!r}, {column!r}); rows: {list(self.rows)}, "
                f"columns: {list(self.columns)}."
            )
        return self.rows[row][self.columns.index(column)]


_GROUPS = ("succeeded percent", "succeeded IoU", "failed percent", "failed IoU")

# Images of ImageNet2012's validation part, how many InceptionV3 gets right (the set I_att), and
# how many of those have an IoU with the box below 0.5 [AAD Sec. 2.1].
VALIDATION_IMAGES, RIGHT_IMAGES, LOW_IOU_IMAGES = 50_000, 38_245, 5_857

TABLE_1 = PaperTable(
    "AAD Table 1",
    "IoU of attention area and ground-truth area, by success of StepLL.",
    _GROUPS,
    {"all": (74.1, 0.647, 25.9, 0.701)},
    (
        "25.9 % of the attacks fail here, 17.2 % in round 1 of Table 4, beside the same 74.1 % "
        "that succeed; 17.2 % is also the share of failures in Table 2.",
    ),
)
TABLE_2 = PaperTable(
    "AAD Table 2",
    "Images whose IoU with the box is below 0.5: shares and confidence of the right label.",
    ("succeeded percent", "succeeded confidence", "failed percent", "failed confidence"),
    {"IoU < 0.5": (82.8, 0.8944, 17.2, 0.7941)},
    (
        "The text concludes that low-IoU images have low confidence and are attacked more easily, "
        "but the successes in this table are the more confident ones (0.8944 against 0.7941).",
    ),
)
TABLE_3 = PaperTable(
    "AAD Table 3",
    "IoU of the clean and the adversarial image's attention areas, by number of grid cells kept.",
    ("succeeded IoU", "failed IoU"),
    {"5": (0.393, 0.574), "10": (0.490, 0.677), "20": (0.609, 0.766), "30": (0.676, 0.807)},
)
TABLE_4 = PaperTable(
    "AAD Table 4",
    "Success and IoU of clean and adversarial attention areas after each round of StepLL.",
    _GROUPS,
    {
        "1": (74.1, 0.451, 17.2, 0.643),
        "2": (96.8, 0.277, 3.2, 0.605),
        "3": (98.1, 0.209, 1.9, 0.547),
    },
    (
        "Round 1: 74.1 % and 17.2 % do not add up to 100 %; Table 1 has 25.9 % failures.",
        "The number of grid cells behind these IoU is not stated; in round 1 they lie between "
        "those of 5 and of 10 cells in Table 3, where 8 cells would, and Tables 7 and 8 keep 8 "
        "features.",
    ),
)

TABLE_5 = {
    "mnist": PaperTable(
        "AAD Table 5, MNIST",
        "Accuracy in percent of LeNet under attack.",
        ("original", "FGSM", "IFGSM", "StepLL", "PGD30", "PGD100"),
        {
            "clean model": (99.24, 74.83, 43.26, 80.23, 0.0, 0.0),
            "Adv. train with FGSM": (99.21, 97.46, 79.67, 97.64, 8.93, 1.93),
            "Adv. train with StepLL": (99.23, 96.42, 83.09, 96.82, 2.54, 0.36),
            "Madry et al.": (98.61, 97.95, 96.17, 91.41, 94.36, 88.37),
            "AAD with PGD": (98.83, 98.26, 94.97, 91.67, 94.92, 90.09),
            "AAD with StepLL": (99.03, 98.69, 98.13, 98.23, 76.44, 71.60),
        },
        (
            "The paper gives no pixel range; epsilon is read in [0, 1] here, as Madry et al. use "
            "it on MNIST.",
            "The PGD-trained rows lose more under one StepLL step of 0.15 (91.41, 91.67) than "
            "under 30 PGD steps within 0.3 (94.36, 94.92), a budget that contains that step.",
            "Whether three rounds of IFGSM stay within 0.15 is not stated; here they do, by steps "
            "of 0.05.",
            "The text says that AAD always improves on adversarial training; under IFGSM AAD with "
            "PGD (94.97) stands below Madry et al. (96.17).",
        ),
    ),
    "cifar10": PaperTable(
        "AAD Table 5, CIFAR-10",
        "Accuracy in percent of CifarNet under attack.",
        ("original", "FGSM", "IFGSM", "StepLL", "PGD5", "PGD20"),
        {
            "clean model": (78.25, 53.22, 42.87, 3.65, 0.0, 0.0),
            "Adv. train with StepLL": (78.67, 59.13, 43.74, 66.29, 1.29, 0.02),
            "AAD with StepLL": (80.85, 68.96, 60.29, 76.59, 7.93, 0.36),
        },
        (
            "The authors' images lie in [-1, 1]: their 0.15, 0.05 and 0.1 are 0.075, 0.025 and "
            "0.05 in [0, 1].",
            "AAD with StepLL keeps 60.29 under three rounds of IFGSM and 0.36 under PGD20: the "
            "gain does not hold under a strong iterative attack.",
            "The clean model keeps 53.22 under FGSM and 3.65 under StepLL at the same epsilon, "
            "though FGSM is the stronger of the two on an undefended network.",
            "PGD is said to follow Madry et al., who use 8/255 on CIFAR-10, not 0.1. Their steps, "
            "2/255, are those of PGD5 and PGD20 alike, and fit 7.93 and 0.36 better than the steps "
            "of these columns, which let either fill the budget.",
            "Whether three rounds of IFGSM stay within 0.05 is not stated; here they do. Rounds of "
            "0.05 each add up to FGSM's 0.15, a stronger attack.",
            "Table 6: AAD trained on one round of StepLL has 77.7 clean and 62.4 under StepLL, "
            "below plain StepLL training here (78.67, 66.29). By these numbers the attention "
            "losses with one round do not improve on it; the gain comes with round 2, AAD's row.",
        ),
    ),
    "imagenet2012": PaperTable(
        "AAD Table 5, ImageNet2012",
        "Accuracy in percent of InceptionV3 under attack.",
        ("original", "FGSM", "IFGSM", "StepLL"),
        {
            "clean model": (76.42, 30.03, 12.61, 25.14),
            "Tramèr et al.": (75.97, 60.35, 10.88, 60.40),
            "AAD with StepLL": (74.62, 61.76, 34.11, 53.82),
        },
        (
            "38,245 of 50,000 images right (Sec. 2.1) is 76.49 %, the table has 76.42 %.",
            "Under StepLL, AAD (53.82) stands below Tramèr et al. (60.40), against the text.",
            "The clean model and Tramèr et al.'s are published networks that were only evaluated; "
            "the paper does not say which of Tramèr et al.'s.",
            "The pixel range is not stated. Epsilon is read in [0, 1], as the authors' scripts for "
            "ImageNet feed images; in [-1, 1] it would be half of it.",
            "Whether three rounds of IFGSM stay within 0.15 is not stated; here they do. Rounds of "
            "0.15 each reach 0.45, more than FGSM's 0.3.",
        ),
    ),
}
TABLE_6 = PaperTable(
    "AAD Table 6",
    "CIFAR-10 accuracy in percent by rounds of StepLL that AAD trains on.",
    ("original", "StepLL", "Iter-LL"),
    {
        "1": (77.7, 62.4, 6.0),
        "2": (80.85, 76.59, 71.5),
        "3": (79.9, 73.2, 67.9),
        "4": (79.7, 62.9, 50.9),
    },
    (
        "One round (77.7, 62.4) lies below Table 5's plain StepLL training (78.67, 66.29), which "
        "the text says AAD improves on; two rounds are Table 5's row of AAD. Whether the first row "
        "was trained at the same epsilon is not stated. By this row a single round with both "
        "attention losses gains nothing, while the text on Fig. 7 says that accuracy declines "
        "significantly without either of them: both can hold only if Fig. 7 is of two rounds.",
        "Accuracy under Iter-LL rises from 6.0 to 71.5 with the second round, within 5.1 points of "
        "that under StepLL, a single step, while Table 5 leaves that row 0.36 under PGD20: the "
        "pattern of masked gradients, or of an attack whose rounds undo each other.",
        "Budget and rounds of Iter-LL are not stated, nor whether its target is kept. The authors' "
        "scripts print accuracy under two rounds of StepLL with the target chosen anew and without "
        "a projection; whether that is Iter-LL is not known.",
    ),
)
_LIME_COLUMNS = ("succeeded IoU", "failed IoU")
TABLE_7 = PaperTable(
    "AAD Table 7",
    "IoU of LIME's attention area and the ground-truth area, by number of features kept.",
    _LIME_COLUMNS,
    {"8": (0.413, 0.442), "10": (0.484, 0.516)},
)
TABLE_8 = PaperTable(
    "AAD Table 8",
    "IoU of LIME's attention areas of the clean and the adversarial image, by features kept.",
    _LIME_COLUMNS,
    {"8": (0.138, 0.212), "10": (0.159, 0.241)},
)
TABLE_9 = PaperTable(
    "AAD Table 9",
    "Accuracy in percent on images InceptionV3 gets right, under attacks with and without A3.",
    ("without A3", "with A3"),
    {"StepLL": (3.8, 3.3), "FGSM": (13.6, 10.8)},
    (
        "Epsilon 4/255 with 3 iterations; whether the iterations stay within 4/255 is not stated.",
        "Table 4 leaves 1.9 % right after three rounds of StepLL, at another epsilon.",
        "After the same three iterations StepLL leaves 3.8 %, FGSM 13.6 %: the targeted attack is "
        "the stronger one, which is unusual and not discussed.",
    ),
)
AAD_TABLES = (
    TABLE_1,
    TABLE_2,
    TABLE_3,
    TABLE_4,
    *TABLE_5.values(),
    TABLE_6,
    TABLE_7,
    TABLE_8,
    TABLE_9,
)
