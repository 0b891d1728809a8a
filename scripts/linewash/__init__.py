"""Colouring, the page, storybook scenes and sketches: what other programs may import."""
