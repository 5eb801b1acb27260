"""Long runs of commands into a folder, in shards that are finished one after the other and listed in a journal."""
