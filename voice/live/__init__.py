"""A conversation while it lasts: its socket (`relay`), its loop (`talking`) around the pure `voice.conversation`, the
language model (`llm`), and what is kept of it (`store`)."""
