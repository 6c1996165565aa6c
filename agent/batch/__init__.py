"""Many prompts over one set of models: what is asked, the rows it leaves, and going on after a stop."""
