"""What training and evaluation sets share: samples, sounds, texts, and what is nearly the same."""
