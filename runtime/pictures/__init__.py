"""Reading image files as people have them: finding, checking and decoding them to sRGB pixels of 8 bits."""
