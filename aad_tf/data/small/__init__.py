"""Data sets that are kept in memory: MNIST, CIFAR, Tiny ImageNet and others."""
