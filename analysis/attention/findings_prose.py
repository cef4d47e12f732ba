"""What `findings` says in words, about the network `WRITTEN_ABOUT`.

Numbers are filled in from the records, and what a sentence claims is checked against them: if the
report names one that they no longer support, rewrite it here, and the side of 0 beside it.
"""

from __future__ import annotations

from analysis.attention.caption import TOP_CELLS
from analysis.attention.chance_baselines import DISC, OTHERS, PARTNERS
from analysis.attention.matched import LOW_IOU
from analysis.attention.scatter import SHIFT
from analysis.findings import ABOVE, BELOW, READING, UNDECIDED

WRITTEN_ABOUT = "tiny_imagenet_boxes_clean"
LIMITS = (
    "How far this goes: one data set, one kind of network and one training seed; intervals speak "
    "of further images, not of further networks. Attention and success are observed together: "
    "matching on the clean image's confidence and box area takes these two away as explanations, "
    "no others, so nothing here shows that attention causes a label to flip or to stay. Success is "
    "judged after round 1, unless a row says otherwise, and differences are succeeded minus "
    f"failed; n counts images, succeeded / failed. {READING}"
)
# Where the box fills the image, an area as large as it overlaps it wherever attention lies.
SMALL_BOX = 0.5
SMALL = f"boxes under {100 * SMALL_BOX:.0f} % of the picture"
PAIRS = "among pairs alike in clean confidence and box area"
FIXED = "at fixed clean confidence and box area"
AFTER = "at fixed confidence before and after the attack"

# What the paper says.
MATCHES = "attention of images classified right matches the object (Sec. 2.1)"
EASY = "images whose attention misses the object are easier to attack"
MOVES = "successful attacks move attention further"
ROUNDS = "more rounds move attention further (Table 4)"
FLIPS = "rounds move attention until the label flips (Sec. 2.3)"
SCATTERS = "successful attacks scatter attention"
SHRINKS = "the attention area shrinks (Sec. 2.3)"

# What is measured, by which a sentence is found.
BOX = "IoU with the box, succeeded - failed"
CLEAN = "IoU with the clean attention, succeeded - failed"
LOW = f"success at IoU < {LOW_IOU} - success on other images"
ODDS = f"log odds of success for one standard deviation more IoU, {FIXED}"
LOW_ODDS = f"log odds of success for an IoU < {LOW_IOU}, {FIXED}"
OVER = "IoU with the box, less that of {}"
EXCESS = "IoU above other images' attention on the same box, succeeded - failed"
LATER = "IoU with the clean attention, round {rounds} - round 1"
FLIPPED = "IoU with the clean attention, first flipped in round {first} - not flipped yet"
ENTROPY = "change of entropy where the attack succeeds"
CHANGE = "change of {}, succeeded - failed"

# By where a sentence says that the number lies, and by what is measured. The means of both groups
# may follow a sentence.
_BY_SIDE = {
    ABOVE: {
        OVER.format(OTHERS): "Attention overlaps the box more than other images' attention would "
        "by chance",
        OVER.format(DISC): "Attention overlaps the box more than a disc in the centre of the "
        "picture",
        f"{OVER.format(OTHERS)}, {SMALL}": f"At {SMALL}, attention overlaps the box more than "
        "other images' attention would by chance",
        f"{OVER.format(DISC)}, {SMALL}": f"At {SMALL}, attention overlaps the box more than a disc "
        "in the centre of the picture",
        LOW: f"The attack succeeds more often on images of IoU < {LOW_IOU} than on the others",
        LOW_ODDS: f"A{FIXED[1:]}, an IoU < {LOW_IOU} raises the log odds that the attack succeeds",
        CHANGE.format("components"): "The change of components is higher where the attack succeeds",
        CHANGE.format(SHIFT): "The centroid shift is higher where the attack succeeds",
    },
    UNDECIDED: {
        BOX: "Clean attention overlaps the box about as much where the attack succeeds",
        f"{BOX}, {PAIRS}": f"A{PAIRS[1:]}, clean attention overlaps the box about as much where "
        "the attack succeeds",
        ODDS: f"A{FIXED[1:]}, one standard deviation more IoU does not measurably change the log "
        "odds that the attack succeeds",
        f"{LOW}, {PAIRS}": f"A{PAIRS[1:]}, the attack succeeds measurably neither less nor more "
        f"often on images of IoU < {LOW_IOU} than on the others",
        f"{BOX}, {SMALL}, {PAIRS}": f"At {SMALL} (looked at after the whole), {PAIRS}, clean "
        "attention overlaps the box about as much where the attack succeeds",
        EXCESS: "IoU above other images' attention on the same box is about the same where the "
        "attack succeeds",
        f"{CLEAN}, {AFTER}": f"A{AFTER[1:]}, attention moves measurably neither further nor less "
        "far where the attack succeeds",
        f"{{method}}: {BOX}": "By {method}, attention overlaps the box about as much where the "
        "attack succeeds",
    },
    BELOW: {
        f"{BOX}, {SMALL}": f"At {SMALL} (looked at after the whole), clean attention overlaps the "
        "box less where the attack succeeds",
        CLEAN: "A successful attack leaves less of the clean attention in place",
        f"{CLEAN}, {PAIRS}": f"A{PAIRS[1:]}, a successful attack leaves less of the clean "
        "attention in place",
        LATER: "From round 1 to {rounds} attention drifts on from the clean attention",
        FLIPPED: "Of images still right before round {first}, those it flips keep less of the "
        "clean attention",
        ENTROPY: "Attention loses entropy when an attack succeeds",
        CHANGE.format("entropy"): "The change of entropy is lower where the attack succeeds",
        CHANGE.format("positive share"): "The change of positive share is lower where the attack "
        "succeeds",
        f"{{method}}: {CLEAN}": "By {method}, attention overlaps the clean attention less where "
        "the attack succeeds",
    },
}
# By what is measured: the side, and the sentence.
SENTENCES = {
    measure: (side, sentence)
    for side, sentences in _BY_SIDE.items()
    for measure, sentence in sentences.items()
}
FLIPS_ALSO = "; the same verdict in rounds {later}"


# Before the findings on clean and adversarial attention.
BEFORE_AND_AFTER = (
    "Confidence held fixed is that of the clean image, unless a row says otherwise. The confidence "
    "after the attack is a result of the attack, as the label is. Holding it fixed too does not "
    "show that an attack leaves attention alone, but whether the flip of the label adds to what "
    "the fall of confidence brings. "
    "Over networks and rounds the IoU with the clean attention differs by {raw} where the attack "
    "succeeds, by {before} at the same confidence before it, and by {after} at the same confidence "
    "before and after it ([numbers](#success-of-the-attack-and-attention-with-confidence-fixed))."
)
# Of networks with global average pooling and one dense layer behind the attention layer, as these.
POOLED = (
    "So attention moves about as far as the confidence of the true class falls, and little is left "
    "for the flip of the label. These networks end in global average pooling and one dense layer. "
    "There the cells of the signed Grad-CAM map, before its ReLU, sum to the logit of the class "
    "explained less its bias: an attack that lowers that logit lowers the sum of the map, wherever "
    "it acts. AAD's preservation loss, were it trained here, would likewise pair the logits of the "
    "true class, spread over the cells."
)
EFFECTS = (
    "Least squares over images classified right: coefficient of success for the IoU with the clean "
    f"attention ({TOP_CELLS} cells), alone; with the log odds of the true class on the clean "
    "image; with these, the log odds after the round and their square. Counts are images."
)


# What the sentences on A3 below say of accuracy, by attack and index of the variant.
A3_SENTENCES = {
    1: (
        "With σ above 0 attention moves further under every attack; the attack is stronger under "
        "StepLL, and weaker under StepLL (target kept) and FGSM: scattering attention does not "
        "always make an attack stronger.",
        BELOW,
        {"StepLL": BELOW, "StepLL, target kept": ABOVE, "FGSM": ABOVE},
    ),
    2: (
        "With σ below 0 attention stays nearer to the clean attention under every attack; the "
        "attack is weaker under every attack.",
        ABOVE,
        {"StepLL": ABOVE, "StepLL, target kept": ABOVE, "FGSM": ABOVE},
    ),
}


BY_CHANCE = (
    "Random pixels: expected IoU of as many pixels drawn at random. Other images: the clean "
    f"attention of {PARTNERS} other images (classified right), laid on this box at equal "
    "area, from the 8-bit copies of their maps. Centred disc: equal area, in the middle."
)
GAPS = "Gaps are differences of means in standard deviations; below 0.1 counts as balanced."
REGRESSION = (
    "Change of the log odds of success for one standard deviation more of each covariate (for "
    "being low, where the measure is yes or no), all together; beside it that of the measure "
    "without the others."
)
BOX_AREA = (
    "Areas as large as a box that fills the picture overlap it whatever the network looks at."
)
FIRST_FLIPS = (
    "Images whose label has been right in all rounds before; later rounds may bring a label back."
)
WRONG = (
    "Label and attention of the same round. Two areas of so many cells share a whole number of "
    "them, so their IoU takes these values only."
)
