"""How well a bundle encodes images: the bits of their codes, and how close the reconstructions are."""
