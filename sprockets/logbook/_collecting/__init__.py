"""Rooms of `sprockets.logbook.collecting`."""
