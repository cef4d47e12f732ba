"""AutoAttack here beside the original code on the same weights, images and cores."""
