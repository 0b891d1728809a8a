"""The training loop: steps, devices, schedules, and the state from which a run resumes."""
