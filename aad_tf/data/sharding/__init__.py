"""How replicas share a data set, and streams that begin anywhere in an epoch."""
