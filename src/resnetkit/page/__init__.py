"""Pages that need nothing else: sections said once, written as HTML and as Markdown."""
