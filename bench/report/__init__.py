"""Reports of results: Markdown, plots, comparisons, and the README's table."""
