"""The optimisation step that all trainings share: schedule, AdamW, weight average, precision."""
