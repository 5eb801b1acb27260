"""A synthetic data set: pictures of imaginary planets, eight classes, drawn procedurally with NumPy.

One image is a pure function of (seed, part, class, index): ``scene`` decides size, light and tilt, ``surfaces`` the
colours of each class on points of the unit sphere, ``shading`` lights them, ``dataset`` writes files.
"""
