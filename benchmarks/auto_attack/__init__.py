"""Compares this package's AutoAttack with the original code, on the same weights and images."""
