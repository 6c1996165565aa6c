"""What touches the world: diffusion, language, vision, metrics, data, store."""
