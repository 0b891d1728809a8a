"""linewash for other programs: colouring, the web page, storybook scenes and sketches."""
