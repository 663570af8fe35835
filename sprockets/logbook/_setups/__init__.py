"""What reads, checks, builds and exchanges the set-ups of `sprockets.logbook.setups`."""
