"""The formats of image files in the folder of a run, one module each."""
