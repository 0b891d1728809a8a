"""Line styles: one module for each way of drawing lines from an image. None of them imports Beam."""
