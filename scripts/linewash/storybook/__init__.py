"""The storybook: coloured picture-book scenes drawn by code, the default training data of linewash."""
