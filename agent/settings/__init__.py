"""What a user chooses: settings, the sources that they come from, presets, and the models that they name."""
