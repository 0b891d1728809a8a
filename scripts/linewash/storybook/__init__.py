"""The storybook: draws coloured picture-book scenes, the data set linewash learns from by default."""
