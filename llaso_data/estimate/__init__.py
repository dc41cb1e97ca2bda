"""What nobody said of a recording, estimated from its sound: quality, surroundings, and who speaks."""
