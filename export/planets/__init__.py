"""A synthetic data set: images of imaginary planets, eight classes, drawn procedurally with NumPy.

An image is a pure function of (seed, part, class, index). ``scene`` draws an image: it determines size, light, tilt and
rings, and shades the planet. ``surfaces`` computes each class's colours at points of the unit sphere, with the random
functions of ``fields``. ``dataset`` writes the files.
"""
