"""The C library beside Python: speed, cold start and memory of the two hosts, in processes that do the same."""
