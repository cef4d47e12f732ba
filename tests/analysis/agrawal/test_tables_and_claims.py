"""Tables I to III, figures and claims of the CBAM study, on records with chosen outcomes."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_hex

from analysis.agrawal import budgets, claims, classes, figures, gates, tables_1_3, transfers
from analysis.agrawal.claims import CLAIMS
from analysis.agrawal.seeds import OverSeeds, side, verdict
from analysis.agrawal.transfers import CBAM, FGSM, PGD, PRINTED, RESNET, VGG
from analysis.records import Results
from analysis.statistics import Estimate, fraction
from tests.analysis.agrawal.transfer_records import FEW, NETWORKS, write_seed, write_transfer
from train.configs.agrawal import MINUTES, SMALL_ATTACKS
from train.studies.study import available

PARTS = (tables_1_3, figures, claims, budgets, classes, gates)
PAIR = (RESNET, CBAM)


def kept(source: str, target: str, attack: str) -> int:
    """Of 10 images: white box 3 (ResNet), 1 (others) under FGSM 0.05, transfer 5; PGD leaves 0."""
    if attack != "fgsm(epsilon=0.05)":
        return 0
    if source == target:
        return 3 if source == RESNET else 1
    return 5


def row_of(page: str, *starts: str) -> list[str]:
    """The cells of the first row of a page that begins so."""
    line = next(line for line in page.splitlines() if line.startswith("| " + " | ".join(starts)))
    return [cell.strip() for cell in line.strip("|").split("|")]


def estimates(*values: float, count: int = 100) -> OverSeeds:
    return OverSeeds(tuple(Estimate(value, None, count) for value in values))


def test_without_records_there_is_nothing():
    for part in PARTS:
        assert part.files(Results("nowhere")) == {}
        assert part.readme(Results("nowhere")) == ""


def test_seeds_by_hand():
    found = OverSeeds((fraction(5, 10), fraction(7, 10), Estimate(None, None, 0), fraction(9, 10)))
    assert len(found.seeds) == 3
    assert found.mean == pytest.approx(0.7) and found.spread == pytest.approx(0.2)
    # Student's t of two degrees of freedom is 4.303; 0.2 / sqrt(3) = 0.1155.
    assert found.interval == pytest.approx((0.7 - 0.4968, 0.7 + 0.4968), abs=1e-4)
    assert found.percent() == "70.0 ± 20.0"
    assert found.over_seeds() == "+70.0 [+20.3, +119.7]"
    assert found.complement().percent() == "30.0 ± 20.0"
    one = OverSeeds((fraction(5, 10),))
    assert one.percent() == "50.0 [23.7, 76.3]" and one.over_seeds() == "–"
    assert one.complement().seeds[0].interval == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert estimates(0.2, 0.3).percent(sign=True) == "+25.0 ± 7.1"
    assert OverSeeds(()).percent() == "–" and OverSeeds(()).mean is None


@pytest.mark.parametrize(
    ("found", "direction", "word"),
    [
        (estimates(), 1, "nothing to compare"),
        (estimates(0.5), 1, "undecided: one seed"),
        (estimates(0.5, 0.5), 1, "undecided: two seeds"),
        (estimates(0.1, 0.11, 0.12), 1, "confirmed"),
        (estimates(0.1, 0.11, 0.12), -1, "contradicted"),
        (estimates(0.1, 0.11, -0.12), 1, "undecided"),
        (estimates(0.001, -0.002, 0.003), 0, "confirmed"),
        (estimates(0.1, 0.11, 0.12), 0, "contradicted"),
        (estimates(0.02, 0.03, 0.04), 0, "undecided"),
        (estimates(0.1, 0.11, 0.12, count=9), 1, "undecided: fewer than 10 images"),
    ],
)
def test_verdicts(found, direction, word):
    assert verdict(found, direction) == word


def test_sides():
    assert side(estimates(0.1, 0.11, 0.12)) == "above"
    assert side(estimates(-0.1, -0.11, -0.12)) == "below"
    assert side(estimates(0.1)) == "undecided: one seed"


def test_white_box_beside_the_paper(results: Path):
    write_seed(results, kept, attacks=FEW)
    made = tables_1_3.files(Results(results))
    page = made["tables/agrawal_table_2.md"]
    # Clean, ResNet-50 9 of 10, CBAM 8; both 8. FGSM 0.05: 3 and 1, of the 8 images as well.
    clean = row_of(page, "none")
    assert clean[2:6] == ["90.0 [59.6, 98.2]", "83.03", "80.0 [49.0, 94.3]", "80.40"]
    assert clean[7] == "+2.6" and clean[6].startswith("+10.0 [") and clean[8].startswith("100.0 [")
    small = row_of(page, "FGSM, ε = 0.05")
    assert small[2].startswith("30.0 [") and small[4].startswith("10.0 [")
    assert small[6].startswith("+20.0 [") and small[7] == "+13.2"
    assert small[8].startswith("37.5 [") and small[9].startswith("12.5 [")
    pgd = row_of(page, "PGD, 5 iterations (reach 0.05)", "error")
    assert pgd[2:6] == ["100.0 [72.2, 100.0]", "99.98", "100.0 [72.2, 100.0]", "100.00"]
    assert "One seed: 0; 10 test images" in page and "5 epochs at 0.25 of the width" in page
    assert "the rows are budgets" in page and "99.98 against 100.00" in page
    assert "JPEG copy of cifar10 (tfds cifar10, JPEG copy, lossy)" in page
    assert "ResNet-50 and CBAM+ResNet-50 has stride 2" in page and "VGG-16 has all" in page
    # 90, 80 and 70 % of 10 images; the paper prints 83.03, 80.4 and 80.5.
    assert "ResNet-50 7.0 points above, CBAM+ResNet-50 0.4 points below, VGG-16 10.5" in page


def test_transfer_beside_the_paper(results: Path):
    write_seed(results, kept, attacks=FEW)
    page = tables_1_3.files(Results(results))["tables/agrawal_table_3.md"]
    found = row_of(page, "ResNet-50", "CBAM+ResNet-50", "FGSM, ε = 0.05")
    assert found[4].startswith("50.0 [") and found[5] == "37.60"
    # The target's clean accuracy; of the 8 images that both get right, 5 stay so.
    assert found[6].startswith("80.0 [") and found[7].startswith("62.5 [") and found[8] == "8"
    own = row_of(page, "VGG-16", "VGG-16 (white box)", "PGD, 20 iterations (reach 0.2)")
    assert own[3] == "error" and own[5] == "100.00" and own[8] == "7"


def test_table_1_names_what_was_run(results: Path):
    write_seed(results, kept, networks=PAIR, attacks=FEW)
    page = tables_1_3.files(Results(results))["tables/agrawal_table_1.md"]
    assert "| FGSM | transfer, attention as source | CBAM+ResNet-50 | ResNet-50 | ε 0.05, " in page
    assert "| PGD | white box |" in page and "VGG-16" not in page


def test_several_seeds_and_a_stand_in(results: Path):
    for seed, right in enumerate((2, 4, 6)):
        options = {"dataset": "tiny_imagenet_100", "seed": seed, "classes": 100}
        write_seed(results, lambda *_, n=right: n, attacks=FEW, **options)
    made = tables_1_3.files(Results(results))
    page = made["tables/agrawal_table_2.md"]
    assert "## tiny_imagenet_100 (stands in for CIFAR-100)" in page and "other pictures" in page
    assert row_of(page, "FGSM, ε = 0.05")[2:4] == ["40.0 ± 20.0", "13.40"]
    assert "Seeds: 0, 1, 2; 10 test images for each" in page
    rows = list(csv.DictReader(io.StringIO(made["tables/agrawal_transfer.csv"])))
    assert len(rows) == 3 * 7 * (1 + len(FEW))
    (found,) = [
        row
        for row in rows
        if (row["seed"], row["source"], row["target"]) == ("1", RESNET, CBAM)
        and (row["attack"], row["strength"]) == ("fgsm", "0.1")
    ]
    assert float(found["accuracy"]) == 0.4 and float(found["clean_accuracy"]) == 0.8
    assert float(found["paper_accuracy"]) == 0.0563 and found["both_right_images"] == "8"
    assert float(found["both_right_accuracy"]) == 0.5
    assert "stands in for CIFAR-100" in tables_1_3.readme(Results(results))


def test_names_and_seeds_that_do_not_fit_are_refused(results: Path):
    write_transfer(results / "transfer" / "mine.jsonl.gz", attacks=FEW)
    with pytest.raises(ValueError, match=r"should be called cifar10_seed_<number>"):
        transfers.transfers(Results(results))
    (results / "transfer" / "mine.summary.json").unlink()
    write_transfer(results / "transfer" / "cifar10_seed_1.jsonl.gz", seed=2, attacks=FEW)
    with pytest.raises(ValueError, match="holds a resnet50 of seed 2"):
        transfers.transfers(Results(results))


def test_the_papers_own_numbers_bear_its_claims_out():
    datasets = {"CIFAR-10": "cifar10", "CIFAR-100": "cifar100", "Fashion MNIST": "fashion_mnist"}
    for claim in CLAIMS:
        paper = claim.paper(datasets[claim.printed])
        if claim.margin < 0.03:
            printed = {"CIFAR-10": 0.0037, "CIFAR-100": 0.0017}[claim.printed]
            assert paper == pytest.approx(printed) and abs(paper) <= claim.margin
        elif (claim.place, claim.kind, claim.direction) == ("V", "pgd", 0):
            # 5.7, 3.1 and 0.8: a little more than what is called equal here.
            assert paper == pytest.approx(0.0320, abs=1e-4)
        elif claim.direction == 0:
            assert abs(paper) <= 0.03, claim
        else:
            assert paper > 0, claim


def test_claims_are_paired_over_images_and_decided_over_seeds(results: Path):
    claim = CLAIMS[0]
    assert claim.compared() == "ResNet − CBAM; FGSM, ε 0.05, 0.1, 0.15, 0.2, 0.25, 0.3"

    def right(source, target, attack):
        return {RESNET: 4, CBAM: 1, VGG: 0}[target] if "fgsm" in attack else 0

    write_seed(results, right)
    found = claim.ours(transfers.transfers(Results(results))["cifar10"])
    # Of 10 images three differ by 1: mean 0.3; t of 9 is 2.262, deviation 0.483 / sqrt(10).
    assert found.values == pytest.approx([0.3])
    assert found.seeds[0].interval == pytest.approx((0.3 - 0.3456, 0.3 + 0.3456), abs=1e-3)
    page = claims.page(Results(results))
    row = row_of(page, "IV-A.1, Fig. 2(a)")
    assert row[3] == "cifar10" and row[8] == "above 0 (+7.2)" and row[9] == "undecided: one seed"
    assert row_of(page, "IV-A.1, Fig. 2(b)")[9].endswith("all at or under chance")
    # Clean, ResNet-50 9 of 10, CBAM 8; on the first 8 ResNet-50 keeps 4 and CBAM 1.
    assert row[4] == "ResNet 90.0, CBAM 80.0"
    assert row[6].startswith("+37.5 [")
    for seed in (1, 2):
        write_seed(results, right, seed=seed)
    page = claims.page(Results(results))
    assert row_of(page, "IV-A.1, Fig. 2(a)")[7:] == [
        *("+30.0 [+30.0, +30.0]", "above 0 (+7.2)", "confirmed")
    ]
    # ResNet-50 keeps 4 of 10 on CBAM's images, CBAM 1 on those of ResNet-50.
    assert row_of(page, "IV-B.1, Fig. 5(a)")[9] == "confirmed"
    assert row_of(page, "IV-B.1, Fig. 5(b)")[9] == "contradicted"
    # The mean of both, white box +3 and transfer +3 of 10.
    both = row_of(page, "V", "white box and transfer strongly favour the robustness of ResNet-50")
    assert both[2].startswith("½ ResNet − ½ CBAM + ½ ResNet on CBAM's images − ½ CBAM on")
    assert both[7].startswith("+30.0 [") and both[9] == "confirmed"
    text = claims.readme(Results(results))
    assert "confirmed" in text and "(results/tables/agrawal_claims.md)" in text


def test_claims_that_were_not_run_say_what_to_run(results: Path):
    write_seed(results, kept)
    page, text = claims.page(Results(results)), claims.readme(Results(results))
    paper, small = page.split("## Within small budgets")
    for part, claimed in ((paper, CLAIMS), (small, claims.SMALL_CLAIMS)):
        for claim in claimed:
            dataset = transfers.STUDIED[claim.printed]
            where = (claim.place, claim.says, claim.compared(), transfers.heading(dataset))
            row = row_of(part, *where)
            if part == paper and claim.printed == "CIFAR-10":
                assert "not run" not in row[9]
            else:
                assert row[9] == f"not run: `agrawal_{dataset}`"
                assert row[5] == row[7] == "–"
    assert row_of(paper, "abstract, V")[9] == "not run: `agrawal_classes`"
    assert row_of(small, "beyond the paper")[9] == "not run: `agrawal_cifar10`"
    # The paper's claims and the number of classes, under FGSM and PGD.
    run = sum(claim.printed == "CIFAR-10" for claim in CLAIMS)
    total = len(CLAIMS) + 2
    assert f"[of {total}, " in text and f"{total - run} not run" in text
    named = {word for word in page.replace("|", " ").split() if word.startswith("`agrawal_")}
    assert {word.strip("`") for word in named} <= set(available())


def test_transfer_within_small_budgets(results: Path):
    write_seed(results, kept)
    path = results / "transfer" / "cifar10_small_budgets_seed_0.jsonl.gz"

    def right(source, target, attack):
        return {RESNET: 7, CBAM: 6, VGG: 5}[target] - 2 * ("pgd" in attack)

    write_transfer(path, right, attacks=SMALL_ATTACKS)
    assert [len(seeds) for seeds in transfers.transfers(Results(results)).values()] == [1]
    page = claims.page(Results(results)).split("## Within small budgets")[1]
    row = row_of(page, "IV-B.1, Fig. 5(c)")
    assert row[2].endswith("PGD of 10 iterations, ε 1/255, 2/255, 4/255, 8/255")
    # 5 and 4 of 10; of the 8 images that both get right when clean the same ones.
    assert row[5].startswith("+10.0 [") and row[6].startswith("+12.5 [")
    assert row[8] == "above 0 (–)" and row[9] == "undecided: one seed"


def test_a_claim_without_its_networks_has_nothing_to_compare(results: Path):
    write_seed(results, kept, networks=PAIR)
    assert row_of(claims.page(Results(results)), "IV-B.1, Fig. 5(b)")[9] == "nothing to compare"


def test_figures_draw_the_accuracies_and_the_paper(results: Path):
    write_seed(results, kept)
    (seeds,) = transfers.transfers(Results(results)).values()
    drawn = figures.white_box("cifar10", seeds)
    accuracy, left = drawn.axes
    ours = {to_hex(line.get_color()): line for line in accuracy.lines if line.get_ls() == "-"}
    np.testing.assert_allclose(ours["#0072b2"].get_ydata()[:3], [90, 30, 0])
    np.testing.assert_allclose(ours["#d55e00"].get_ydata()[:3], [80, 10, 0])
    printed = [line for line in accuracy.lines if line.get_ls() == ":"]
    np.testing.assert_allclose([line.get_ydata()[1] for line in printed], [13.57, 0.37])
    assert [(line.get_marker(), line.get_mfc()) for line in printed] == [
        ("o", "none"),
        ("s", "none"),
    ]
    # What PGD leaves, on an axis on which 0.02 % is told from 0.
    np.testing.assert_allclose(left.lines[0].get_ydata(), [90, 0, 0, 0])
    np.testing.assert_allclose(left.lines[1].get_ydata(), [83.03, 0.02, 0, 0], atol=1e-9)
    assert left.get_yscale() == "symlog"
    four = figures.transfer("cifar10", seeds)
    assert [len(axes.lines) for axes in four.axes] == [8, 6, 8, 6]
    # White box and transfer of one network, told apart by the marker of the source.
    blue = [line for line in four.axes[0].lines if to_hex(line.get_color()) == "#0072b2"]
    assert [line.get_marker() for line in blue if line.get_ls() == ":"] == ["o", "s"]
    np.testing.assert_allclose(four.axes[2].lines[0].get_ydata(), [10, 100, 100, 100])
    made = figures.files(Results(results))
    names = ("fig_2", "fig_5", "matrix_fgsm", "matrix_pgd")
    assert set(made) == {f"figures/agrawal_{name}_cifar10.png" for name in names}
    matrix = figures.matrices(seeds)["pgd"]
    assert "5 steps" in matrix.get_suptitle()
    assert "agrawal_matrix_pgd_cifar10.png" in figures.readme(Results(results))
    assert all(data.startswith(b"\x89PNG") for data in made.values())


def test_small_budgets(results: Path, record):
    for number, name in enumerate(("resnet50", "cbam_resnet50")):
        outcomes = {
            "apgd(epsilon=1/255)": "+" * (8 - 2 * number) + "x" * (10 + 2 * number) + "!!",
            "apgd(epsilon=8/255)": "x" * 18 + "!!",
        }
        config = {"dataset": "cifar10", "model": name}
        record(f"cifar10_{name}", outcomes, data={"name": "cifar10"}, config=config)
    record("mnist_clean", {"apgd(epsilon=0.1)": "+"})
    (dataset, seeds), *others = budgets.evaluated(Results(results)).items()
    assert not others and dataset == "cifar10" and budgets.budgets(seeds) == [0.0, 1.0, 8.0]
    table = budgets.table(seeds)
    assert [row[0] for row in table.rows] == ["none", "1/255", "8/255"]
    assert table.rows[0][1].startswith("90.0 [") and table.rows[1][1].startswith("40.0 [")
    assert table.rows[1][2].startswith("30.0 [") and table.rows[1][3].startswith("+10.0 [")
    assert table.rows[1][4] == "undecided: one seed"
    row = row_of(claims.page(Results(results)), "beyond the paper")
    # Both are right on 18 images, of which they keep 8 and 6.
    assert row[4] == "ResNet 90.0, CBAM 90.0" and row[6].startswith("+11.1 [")
    assert row[9] == "undecided: one seed"
    made = budgets.files(Results(results))
    assert set(made) == {
        *("tables/agrawal_small_budgets.md", "figures/agrawal_small_budgets_cifar10.png")
    }
    axes = budgets.figure(dataset, seeds).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [90, 40, 0])


def test_stated_minutes_are_those_recorded():
    for network, minutes in MINUTES.items():
        path = Path(__file__).parents[3] / f"results/runs/cifar10_{network}/run.json"
        recorded = json.loads(path.read_text())
        assert round(recorded["seconds"] / 60) == minutes
        assert {start["cpu"] for start in recorded["starts"]} == {"AMD EPYC, AVX2"}


def test_the_number_of_classes(results: Path):
    def right(cbam):
        return lambda source, target, attack: cbam if target == CBAM else 3

    for seed in range(3):
        for count, cbam in ((10, 3), (100, 11)):
            write_seed(
                results,
                right(cbam),
                dataset=classes.DATASETS[count],
                seed=seed,
                images=20,
                classes=count,
                networks=PAIR,
                clean=lambda name: 20,
            )
    page = classes.page(Results(results))
    row = row_of(page, "FGSM, mean over ε 0.05 to 0.3")
    # CBAM keeps 3 of 20 images with 10 classes, 11 with 100, ResNet-50 3 always.
    assert [cell.split(" [")[0] for cell in row[1].split("; ")] == ["+0.0"] * 3
    assert [cell.split(" [")[0] for cell in row[2].split("; ")] == ["+40.0"] * 3
    assert row[4] == "above"
    # Images 0 and 10 of 100 classes are of the 10: CBAM keeps both, ResNet-50 the first.
    same = page.split("## On the pictures")[1]
    assert row_of(same, "FGSM, mean")[2].startswith("+50.0 [")
    found = row_of(claims.page(Results(results)), "abstract, V")
    assert found[9] == "confirmed" and found[7].startswith("+40.0 [")
    assert found[4].startswith("ResNet of 10 classes 100.0, CBAM of 10 classes")
    # By the seeds that both have, whatever their order.
    most, fewest = estimates(0.3, 0.5).seeds, estimates(0.1, 0.2).seeds
    grown = classes.growth({1: most[0], 2: most[1]}, {2: fewest[0], 3: fewest[1]})
    assert grown.values == pytest.approx([0.4])
    assert "tables/agrawal_classes.md" in classes.files(Results(results))


def test_classes_at_chance(results: Path):
    """Of 20 images of 10 classes 2 are chance; of 100 classes there is none."""
    for count in (10, 100):
        options = {"dataset": classes.DATASETS[count], "images": 20, "classes": count}
        write_seed(results, lambda *_: 2, networks=PAIR, clean=lambda name: 20, **options)
    (fgsm, pgd) = classes.claims(Results(results))
    words = "undecided: one seed; all at or under chance with 10 classes"
    assert fgsm[-1] == pgd[-1] == words
    assert "2 at or under chance" in claims.readme(Results(results))


def test_strongest_attacks_and_distances(results: Path, record):
    """An image is robust if it is under APGD, under the further attack, and farther than FAB's."""
    more, fab = "apgd(epsilon=1/255,loss='targeted_dlr')", "fab(epsilon=None)"
    data = {"data": {"name": "cifar10"}, "weights": "a"}
    record("cifar10_resnet50", {"apgd(epsilon=1/255)": "++++x+!+"}, **data)
    record("cifar10_resnet50_strongest", {more: "+++xx!", fab: "xxxx+!"}, **data)
    path = results / "robustness" / "cifar10_resnet50_strongest.jsonl.gz"
    lines = [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
    for line in lines[6:]:
        line["linf"] = (0.5, 2, 3, 4, 0, 0)[line["index"]] / 255
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, lines)).encode()))
    ((seed,),) = budgets.evaluated(Results(results)).values()
    # The sixth image is misclassified when clean, says the further evaluation of the first six.
    strongest = seed.robust(RESNET, 1.0, budgets.STRONGEST)
    assert strongest.tolist() == [False, True, True, False, False, False]
    assert seed.robust(RESNET, 0.0, budgets.STRONGEST).tolist() == [True] * 6
    assert seed.robust(RESNET, 2.0, budgets.STRONGEST) is None
    # Of 0.5, 2, 3, 4 and no image found.
    assert seed.median_distance(RESNET) == pytest.approx(3 / 255)
    page = budgets.files(Results(results))["tables/agrawal_small_budgets.md"]
    assert "The first 6 of them:" in page and "| median distance × 255 | 3.00 |" in page
    record("cifar10_resnet50_strongest", {more: "+"}, data={"name": "cifar10"}, weights="b")
    with pytest.raises(ValueError, match="other weights"):
        budgets.evaluated(Results(results))


def gate_entry(closed: float) -> dict:
    values = {"mean": 0.4, "spread": 0.1, "between_images": 0.05, "closed": closed, "open": 0.5}
    agreement = {"mean": 0.25, "interval": [0.2, 0.3], "count": 9}
    unknown = {"mean": None, "interval": None, "count": 0}
    kinds = {kind: {**values, "moved": 0.01, "gates": 16} for kind in ("channel", "spatial")}
    return {**kinds, "agreement": {"rank_correlation": agreement, "iou": unknown}}


def test_gates(results: Path):
    attack = "fgsm(epsilon=0.01)"
    layers = {"block1_1_cbam": {"clean": gate_entry(0.125), attack: gate_entry(0.25)}}
    found = {"reference_examples": 1000, "map_cells": 16, "area_cells": 4, "layers": layers}

    def right(source, target, attack):
        return {"own_gates": 4, "both_held": 2}.get(target, 3) + (source != target)

    path = results / "gates" / "cifar10_gates_seed_0.jsonl.gz"
    copies = ("own_gates", "channel_held", "spatial_held", "both_held")
    options = {"networks": copies, "attacks": [attack], "clean": lambda name: 8, "gates": found}
    write_transfer(path, right, **options)
    made = gates.files(Results(results))
    page, drawing = made["tables/agrawal_gates.md"], "figures/agrawal_gates_cifar10_seed_0.png"
    held = row_of(page, "both held", attack)
    assert held[2].startswith("20.0 [") and held[3].startswith("30.0 [")
    assert held[4].startswith("-20.0 [") and row_of(page, "gates as trained", attack)[4] == "–"
    # Mean and deviation, shut or open 12.5 + 50 %, from image to image, moved; of both kinds.
    of_each = ["0.400 ± 0.100", "62.5", "0.050", "0.010"]
    assert row_of(page, "block1_1_cbam")[1:] == [*of_each * 2, "+0.250 [+0.200, +0.300]", "–"]
    rows = list(csv.DictReader(io.StringIO(made["tables/agrawal_gates.csv"])))
    assert len(rows) == 3 * 2 and {row["images"] for row in rows} == {"clean", attack}
    assert [row["closed"] for row in rows if row["images"] == attack][:2] == ["0.250000"] * 2
    assert "1,000 train images" in page and "(chance 0.158)" in page and drawing in page
    assert made[drawing].startswith(b"\x89PNG")
    # Without CBAM, on the same images; under attack it was not evaluated.
    assert row_of(page, "ResNet-50", "none")[2:] == ["–"] * 3
    write_seed(results, kept, images=20, attacks=FEW, clean=lambda name: 6)
    page = gates.files(Results(results))["tables/agrawal_gates.md"]
    plain = row_of(page, "ResNet-50", "none")
    assert plain[2].startswith("60.0 [") and plain[4].startswith("-20.0 [")
    assert row_of(page, "ResNet-50", attack)[2:] == ["–"] * 3
    path.with_name("cifar10_gates_seed_0.summary.json").rename(
        path.with_name("other_gates_seed_0.summary.json")
    )
    with pytest.raises(ValueError, match="should be called cifar10_gates_seed_<number>"):
        gates.gated(Results(results))


def test_all_pages_name_only_data_sets_there_are():
    assert set(PRINTED) == set(figures.NUMBERS) and set(NETWORKS) == {*PAIR, VGG}
    assert {FGSM, PGD} == set(transfers.STRENGTHS)
