"""How training is started on many machines, and on one machine as if it were many."""
