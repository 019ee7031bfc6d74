"""From what is asked for to stages, time and dollars."""
