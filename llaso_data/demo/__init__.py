"""What the demo and the tests run on: real recordings and Whisper weights, obtained once and kept in the cache."""
