"""The training loop: compiled steps, devices, schedules, and the checkpoints from which a run resumes."""
