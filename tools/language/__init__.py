"""Language models behind the chat-completions protocol: what they are asked, and the decomposer."""
