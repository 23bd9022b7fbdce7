"""How things are shown: on a terminal, in a notebook, in Markdown, as pictures."""
