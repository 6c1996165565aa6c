"""Looking at images with a chat model that sees: verdicts, corrected prompts, comparisons."""
