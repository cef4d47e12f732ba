"""Five images with white boxes, as ImageNet stores images and boxes."""

from __future__ import annotations

import io
import tarfile

import numpy as np

from tests.data.imagenet.imagenet_copies import jpeg, write_imagenet

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
# Index in the split: label, (height, width) stored, objects (class, xmin, ymin, xmax, ymax).
IMAGES = {
    1: (1, (375, 500), [(1, 111, 108, 441, 193)]),
    2: (2, (333, 500), [(2, 250, 100, 500, 333), (2, 40, 60, 240, 300)]),
    3: (0, (500, 375), [(0, 0, 0, 375, 500), (3, 30, 50, 60, 90)]),
    # Annotated class other than the image's.
    4: (3, (375, 500), [(1, 100, 100, 200, 200)]),
    # Without an XML file.
    5: (3, (240, 320), None),
}


def stem(index):
    return f"ILSVRC2012_val_{index:08d}"


def drawn(index):
    """Black, and white within the boxes."""
    _, size, objects = IMAGES[index]
    image = np.zeros((*size, 3), np.uint8)
    for _, xmin, ymin, xmax, ymax in objects or []:
        image[ymin:ymax, xmin:xmax] = 255
    return image


def xml(index, size, objects, names=WNIDS):
    parts = [
        OBJECT.format(
            name=names[label], xmin=corners[0], ymin=corners[1], xmax=corners[2], ymax=corners[3]
        )
        for label, *corners in objects
    ]
    height, width = size
    return (
        f"<annotation>\n\t<folder>val</folder>\n\t<filename>{stem(index)}</filename>\n"
        "\t<source>\n\t\t<database>ILSVRC_2012</database>\n\t</source>\n"
        f"\t<size>\n\t\t<width>{width}</width>\n\t\t<height>{height}</height>\n"
        "\t\t<depth>3</depth>\n\t</size>\n\t<segmented>0</segmented>\n"
        f"{''.join(parts)}</annotation>\n"
    )


def official():
    return {
        f"val/{stem(index)}.xml": xml(index, size, objects)
        for index, (_, size, objects) in IMAGES.items()
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
    """Writes the images as a validation split alone."""
    images = [
        (jpeg(drawn(index)), label, f"{stem(index)}.JPEG")
        for index, (label, _, _) in IMAGES.items()
    ]
    return write_imagenet(root, {"validation": images}, names)
