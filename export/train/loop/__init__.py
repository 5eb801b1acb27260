"""What all trainings share: the loop, its options, the optimiser."""
