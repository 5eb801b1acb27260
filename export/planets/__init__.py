"""A synthetic data set: pictures of imaginary planets, eight classes, drawn procedurally with NumPy.

One image is a pure function of (seed, part, class, index): ``scene`` decides size, light, tilt and rings and lights the
planet, ``surfaces`` gives the colours of each class on points of the unit sphere, drawn with the random functions of
``fields``; ``dataset`` writes files.
"""
