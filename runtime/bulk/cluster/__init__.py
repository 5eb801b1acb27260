"""Runs on many machines: workers that make shards, and the engines that start them."""
