"""Commands that write a folder in shards, and go on where an earlier process stopped."""
