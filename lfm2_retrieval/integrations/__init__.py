"""Components of other frameworks over a Retriever; each module needs the extra of its name."""
