"""What a run prints and writes into its directory."""
