"""What a loop over one level needs to draw its codes: inputs of the level, and uniform numbers."""
