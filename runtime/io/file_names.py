"""Names of files and directories that several packages use."""

MANIFEST = "manifest.json"  # of a bundle, and of a set of engines
ENGINES = "engines"  # the subdirectory for sets of engines built from the bundle
JOURNAL = "journal.jsonl"  # of a run, in its folder of images
CARD, CARD_PICTURE = "README.md", "samples.png"  # of a bundle: for people and model hubs
