"""Images a second, and memory, over batch sizes, threads, processes, precisions and hosts."""
