"""What a training has to survive: programs that take too long for every day."""
